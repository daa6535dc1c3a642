package record

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// Headers that the chain sets are the ones that the client gets, whatever
// others do to them meanwhile.
func TestSetHeader(t *testing.T) {
	rec, w := new(Record), httptest.NewRecorder()
	h := w.Header()
	rec.SetHeader(w, "x-model-id", "fast")
	rec.SetHeader(w, HeaderTrace, "one")
	rec.SetHeader(w, HeaderTrace, "two") // the last one counts
	rec.SetHeader(w, HeaderTenant, "acme")
	rec.SetHeader(w, HeaderUser, "anna")
	if h.Get("X-Model-Id") != "fast" || h.Get(HeaderTrace) != "two" {
		t.Errorf("before the answer begins: %v", h)
	}

	h[HeaderTrace][0] = "in place"
	h.Add("X-Model-Id", "added")
	h.Del(HeaderTenant)
	h.Set("Content-Type", "text/plain")
	rec.ApplyHeaders(h)
	for name, want := range map[string]string{
		"X-Model-Id": "fast", HeaderTrace: "two", HeaderTenant: "acme", HeaderUser: "anna", "Content-Type": "text/plain",
	} {
		if got := h[http.CanonicalHeaderKey(name)]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
