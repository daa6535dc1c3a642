package providertest

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// besideCompletion has the server's answer come as chat completions and in its own API at
// once: each is what it is without the other.
func (s *subject) besideCompletion(t *testing.T, w *doorway, r Reply) {
	t.Helper()
	s.forget()
	_, req, body := s.openedNative(t, w, false, "")
	req.Native, req.Beside = nil, req.Native
	check := func(what string, got Answer) {
		t.Helper()
		if got.Err != nil || got.Text != r.Text() || got.Reasoning != r.Reasoning() || got.Finish != r.Finish || got.Model != r.Model || !reflect.DeepEqual(got.ToolCalls, r.Calls()) {
			t.Errorf("%s is %+v, want %+v", what, got, r)
		}
		if got.Counted == nil || r.Usage != nil && *got.Counted != *r.Usage {
			t.Errorf("%s counts %+v, want %+v", what, got.Counted, r.Usage)
		}
	}
	sent := ResponseEvents(body, r)
	s.Answer(http.StatusOK, eventType, join(sent), Bytes)
	check("a stream", streamOf(t.Context(), t, s, req))
	s.accepted(t, "a request for a stream")

	s.Answer(http.StatusOK, eventType, join(sent), Whole)
	chunks, err := s.Stream(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer chunks.Close()
	for i, want := range sent {
		c, err := chunks.Next()
		if err != nil {
			t.Fatalf("after %d events: %v", i, err)
		}
		events(want, func(data gjson.Result) {
			if got := gjson.GetBytes(c.Raw, provider.MemberNative).Raw; got != strings.TrimSpace(data.Raw) {
				t.Errorf("event %d is\n%s\nwant\n%s", i, got, data)
			}
		})
	}

	document := WholeResponse(body, r)
	s.Answer(http.StatusOK, jsonType, document, Whole)
	check("a document", completionOf(t.Context(), t, s, req))
	s.Answer(http.StatusOK, jsonType, document, Whole)
	c, err := s.Complete(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if got := gjson.GetBytes(c.Body, provider.MemberNative).Raw; got != string(document) {
		t.Errorf("the document is\n%s\nwant\n%s", got, document)
	}
}
