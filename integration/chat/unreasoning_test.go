package chat

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestResponsesOfAModelThatDoesNotReason asks a server as strict as OpenAI's for responses of
// a model that refuses all that has to do with reasoning. What it has refused once it is not
// sent again.
func TestResponsesOfAModelThatDoesNotReason(t *testing.T) {
	t.Parallel()
	const include = `,"include":["reasoning.encrypted_content"]`
	for name, tc := range map[string]struct {
		body    string
		calls   int // the first time
		dropped string
	}{
		"kept":                  {"", 2, ""},
		"kept, with an include": {include, 2, "include"},
		"not kept":              {`,"store":false`, 1, ""},
		"Codex":                 {`,"store":false,"reasoning":{"effort":"low","summary":"auto"}` + include, 4, "reasoning.effort, reasoning.summary, include"},
		"kept, with a summary":  {`,"reasoning":{"summary":"auto"}`, 3, "reasoning.summary"},
		"AI SDK":                {`,"store":false` + include, 2, "include"},
	} {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, stream %v", name, stream), func(t *testing.T) {
				t.Parallel()
				up := harness.NewUpstream(t, harness.Serves(http.HandlerFunc(providertest.StrictResponses)))
				site := strings.NewReplacer("base_url", "responses on\n\t\tbase_url", "openai/upstream-fast", "openai/gpt-4o-mini").Replace(up.Sessions(""))
				a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")}
				for i := range 2 {
					before := up.Count()
					resp := a.cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(`{"model":"fast","input":"hi %d","stream":%v%s}`, i, stream, tc.body))
					got := harness.ReadAll(t, resp)
					if stream {
						_, got, _ = strings.Cut(got, "event: response.completed\ndata: ")
						got = gjson.Get(got, "response").Raw
					}
					if resp.StatusCode != http.StatusOK || gjson.Get(got, "status").Str != "completed" {
						t.Fatalf("%d %s", resp.StatusCode, got)
					}
					calls := up.Count() - before
					if i == 0 && calls != tc.calls || i > 0 && calls != 1 {
						t.Errorf("%d calls for request %d", calls, i)
					}
					if named := resp.Header.Get("X-Ai-Dropped"); named != tc.dropped {
						t.Errorf("X-Ai-Dropped is %q, want %q", named, tc.dropped)
					}
					if last := up.Last(); last.Get("include").Exists() || last.Get("reasoning").Exists() {
						t.Errorf("the server was sent %s", last.Body)
					}
				}
			})
		}
	}
}
