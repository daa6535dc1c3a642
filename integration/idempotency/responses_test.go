package idempotency

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestResponses has a stream of the Responses API fail, for the first request with a key
// and for another: both are told so by the next events of the same response.
func TestResponses(t *testing.T) {
	onSites(t, "", func(s *site) {
		for _, store := range []bool{false, true} {
			if !store && s.handler == "proxy" {
				continue // what is not stored passes on
			}
			body := map[string]any{"model": "fast", "input": "hi", "stream": true, "store": store}
			key := "unstored"
			if store {
				key = "stored"
			}
			ask := func() *harness.Pending {
				return s.ann.Start(s.ann.Request(http.MethodPost, "/v1/responses", body, headerKey, key))
			}
			asked := ask()
			call := s.up.Call()
			call.Say("part")
			first := asked.Raw().UpTo(`"part"`)
			second := ask().Raw().UpTo(`"part"`)
			call.End(harness.TornOff)
			one, two := first.Rest(), second.Rest()
			if !strings.Contains(one, "event: response.failed\n") {
				s.t.Errorf("it ends with %.300s", one)
			}
			for _, stream := range []string{one, two} {
				wantNumbered(s.t, stream)
			}
			if store {
				if three := ask().Raw().Rest(); three != one {
					s.t.Errorf("the replay is\n%s\nand was\n%s", three, one)
				}
			}
		}
	}, "session")
}

// wantNumbered checks the numbers of a stream's events, and that all are of one response.
func wantNumbered(t *testing.T, stream string) {
	t.Helper()
	n, id := int64(0), ""
	for line := range strings.Lines(stream) {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		v := gjson.Parse(data)
		if got := v.Get("sequence_number").Int(); got != n {
			t.Errorf("event %d has the number %d: %.200s", n, got, data)
		}
		n++
		if r := v.Get("response.id").Str; id == "" {
			id = r
		} else if r != "" && r != id {
			t.Errorf("an event is of the response %s, want %s", r, id)
		}
	}
}
