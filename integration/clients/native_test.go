package clients

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestStrictResponses runs the clients of Responses against a server of them as strict as
// OpenAI's own, which gets their requests as they came, and all that it has said back.
func TestStrictResponses(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Serves(http.HandlerFunc(providertest.StrictResponses)))
	c := harness.Start(t, "chat {\n tenant acme {\n api_key acme-client-key\n }\n }\n", `
		tenant_resolve
		ai_gateway {
			provider openai {
				base_url `+up.URL+`
				responses on
			}
			model thinks {
				to openai/gpt-5
			}
			retries 0
		}
	`)
	for _, client := range officialClients {
		if !strings.Contains(client.name, "responses") && client.name != "agents" {
			continue
		}
		t.Run(client.name, func(t *testing.T) {
			var cases []clientCase
			for _, do := range []string{"chat", "stream", "tools"} {
				cases = append(cases, clientCase{Name: do, Do: do, BaseURL: c.URL + "/v1", Model: "thinks", Key: "acme-client-key", User: client.name})
			}
			cases[2].Tools = []string{"weather"}
			before := up.Count()
			for _, s := range client.run(t, client.name, cases) {
				ran := 0
				if s.Name == "tools" {
					ran = 1
				}
				if s.Error != nil || s.Text != "done" || s.Finish != "stop" || s.Ran != ran {
					t.Errorf("%s sees %+v, %+v", s.Name, s, s.Error)
				}
			}
			if n := up.Count() - before; n != 4 {
				t.Errorf("the server was asked %d times, want 4", n)
			}
			if asked := up.Last(); asked.Path != "/v1/responses" || !strings.Contains(asked.Body, toolResult) {
				t.Errorf("the server got at %s\n%s", asked.Path, asked.Body)
			}
		})
	}
}
