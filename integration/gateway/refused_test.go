package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// picky answers as OpenAI does a model that reasons with some efforts.
func picky(c *harness.Call) {
	effort := c.Get("reasoning_effort").Str
	switch effort {
	case "", "low", "medium", "high":
		harness.Echoes(c)
	default:
		harness.Document(http.StatusBadRequest, fmt.Sprintf(`{"error":{"message":"Unsupported value: 'reasoning_effort' does not support '%s' with this model. Supported values are: 'low', 'medium', and 'high'.","type":"invalid_request_error","param":"reasoning_effort","code":"unsupported_value"}}`, effort))(c)
	}
}

// TestRefusedEffort has a client ask for an effort that the model does not have: it gets the
// nearest one, and the next client is none the worse for it.
func TestRefusedEffort(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, picky)
	for name, site := range map[string]string{"alone": harness.GatewaySite(up), "kept": up.Sessions("")} {
		t.Run(name, func(t *testing.T) {
			cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, site), "globex", "ann")
			for i, tc := range []struct{ asked, sent, dropped string }{
				{"high", "high", ""}, {"xhigh", "high", "reasoning_effort"}, {"high", "high", ""}, {"minimal", "low", "reasoning_effort"}, {"low", "low", ""},
			} {
				for _, stream := range []bool{false, true} {
					resp := cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(`{"model":"fast","input":"%d","stream":%v,"reasoning":{"effort":%q}}`, i, stream, tc.asked))
					got := harness.ReadAll(t, resp)
					if stream {
						_, got, _ = strings.Cut(got, "event: response.completed\ndata: ")
						got = gjson.Get(got, "response").Raw
					}
					if sent := up.Last().Get("reasoning_effort").Str; resp.StatusCode != http.StatusOK || sent != tc.sent || !strings.HasPrefix(resp.Header.Get("X-Ai-Dropped"), tc.dropped) {
						t.Errorf("%s: %d, sent %q, dropped %q: %s", tc.asked, resp.StatusCode, sent, resp.Header.Get("X-Ai-Dropped"), got)
					}
					want := tc.asked
					if tc.dropped != "" {
						want = ""
					}
					if claimed := gjson.Get(got, "reasoning.effort"); claimed.Str != want {
						t.Errorf("%s: the response claims %s", tc.asked, claimed.Raw)
					}
				}
			}
			resp := cl.Do(http.MethodPost, "/v1/messages", `{"model":"fast","max_tokens":9,"thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"},"messages":[{"role":"user","content":"hi"}]}`)
			if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || up.Last().Get("reasoning_effort").Str != "high" {
				t.Errorf("%d %s, sent %s", resp.StatusCode, got, up.Last().Body)
			}
		})
	}
}
