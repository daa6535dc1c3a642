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
	rec.AddHeader(w, "vary", "Origin")
	rec.AddHeader(w, "Vary", "Origin")
	rec.AddHeader(w, "X-List", "ours")
	rec.DropHeader(w, "x-dropped")
	rec.DropHeader(w, "X-Back")
	rec.SetHeader(w, "X-Back", "again")
	if h.Get("X-Model-Id") != "fast" || h.Get(HeaderTrace) != "two" {
		t.Errorf("before the answer begins: %v", h)
	}

	h[HeaderTrace][0] = "in place"
	h.Add("X-Model-Id", "added")
	h.Del(HeaderTenant)
	h.Set("Content-Type", "text/plain")
	h.Set("Vary", "Accept")
	h.Set("X-Dropped", "there")
	rec.ApplyHeaders(h)
	for name, want := range map[string]string{
		"X-Model-Id": "fast", HeaderTrace: "two", HeaderTenant: "acme", HeaderUser: "anna", "Content-Type": "text/plain",
	} {
		if got := h[http.CanonicalHeaderKey(name)]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string][]string{"Vary": {"Accept", "Origin"}, "X-List": {"ours"}, "X-Dropped": nil, "X-Back": {"again"}} {
		if got := h[name]; !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
