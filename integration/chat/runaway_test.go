package chat

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestRunawayStream has upstreams whose streams under /v1 do not end, whatever is in them:
// all of a turn is held for those who follow it, so that it has to end.
func TestRunawayStream(t *testing.T) {
	const most = 72 << 20 // 64 MiB, and what is under way
	filler := strings.Repeat("x", 64<<10)
	for _, event := range []struct {
		name, data string
		site       func(*harness.Upstream, string) string
		alone      bool // with chat completions: each request takes seconds
	}{
		{"text", harness.Content(filler), (*harness.Upstream).Sessions, false},
		{"reasoning", harness.Delta(`{"reasoning_content":"` + filler + `"}`), (*harness.Upstream).Sessions, true},
		{"noise through reverse_proxy", "data: {\"object\":\"x\",\"x\":\"" + filler + "\"}\n\n", (*harness.Upstream).Proxied, true},
	} {
		t.Run(event.name, func(t *testing.T) {
			var taken atomic.Int64
			up := harness.NewUpstream(t, harness.Runaway(&taken, event.data))
			c := harness.Start(t, harness.PlainTenants, event.site(up, ""))
			a := asks{t, harness.NewClient(c, "acme", "ann")}
			ends := func(what, stream, code string) {
				t.Helper()
				if !strings.Contains(stream, code) || strings.Contains(stream, "[DONE]") {
					t.Errorf("%s: %d bytes end with %.300s", what, len(stream), stream[max(0, len(stream)-300):])
				}
				if n := taken.Swap(0); n > most {
					t.Errorf("%s: the upstream sent %d MiB", what, n>>20)
				}
			}
			read := func(path string, body any, header ...string) string {
				return harness.ReadAll(t, a.cl.Do(http.MethodPost, path, body, header...))
			}
			session := harness.NewSession()
			ends("chat completions", read("/v1/chat/completions", harness.UserSays("go", harness.Streamed), "X-Session-Id", session), `"ai_error"`)
			if event.alone {
				return
			}
			ends("messages", read("/v1/messages", map[string]any{
				"model": "fast", "max_tokens": 9, "stream": true, "messages": []any{map[string]string{"role": "user", "content": "go"}},
			}, "X-Session-Id", harness.NewSession()), "event: error\n")

			stream := read("/v1/responses", map[string]any{"model": "fast", "input": "one", "stream": true})
			ends("a response", stream, "event: response.failed\n")
			_, data, _ := strings.Cut(stream, "data: ")
			a.wantTooLong(gjson.Get(data, "response.id").Str)

			got := a.create(map[string]any{"input": "one", "background": true})
			a.wantStatus("/v1/responses/"+got.Get("id").Str, "failed")
			a.wantTooLong(got.Get("id").Str)
			ends("a response in the background", "ai_error", "ai_error")

			previous := a.create(map[string]any{"input": "one", "background": true}).Get("id").Str
			a.wantStatus("/v1/responses/"+previous, "failed")
			taken.Store(0)
			ends("a response that is not kept", read("/v1/responses", map[string]any{
				"model": "fast", "input": "two", "stream": true, "store": false, "previous_response_id": previous,
			}), "event: response.failed\n")
		})
	}
}

// wantTooLong checks that a response is kept as one that has failed by its length.
func (a asks) wantTooLong(id string) {
	a.t.Helper()
	got := a.call(http.MethodGet, "/v1/responses/"+id, nil)
	if got.Get("status").Str != "failed" || got.Get("error.code").Str != "ai_error" || !strings.Contains(got.Get("error.message").Str, "longer than") {
		a.t.Errorf("it is %.300s", got.Raw)
	}
	stream := harness.ReadAll(a.t, a.cl.Do(http.MethodGet, "/v1/responses/"+id+"?stream=true", nil))
	if n := strings.Count(stream, "event: response.failed\n"); n != 1 {
		a.t.Errorf("its followers read %d ends", n)
	}
}
