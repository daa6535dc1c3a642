package chat

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestForeignReasoning has a conversation begin with the reasoning of another server: in each
// turn that alone is left out, and the server's own stays.
func TestForeignReasoning(t *testing.T) {
	up := harness.NewUpstream(t)
	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")}
	session := harness.NewSession()
	input := `[{"role":"user","content":"hi"},{"type":"reasoning","id":"rs_a","summary":[],"encrypted_content":"gAAAother"},{"type":"message","id":"msg_a","role":"assistant","status":"completed","content":[{"type":"output_text","text":"so","annotations":[]}]},{"role":"user","content":"and?"}]`
	for turn := range 4 {
		answer := harness.Responses(providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Reasoning: "hm"}, {Text: "it is"}}})
		up.Plays(answer, answer)
		resp := a.cl.Do(http.MethodPost, "/v1/responses", `{"model":"fast","conversation":"`+session+`","input":`+input+`}`)
		if got := harness.ReadAll(t, resp); gjson.Get(got, "status").Str != "completed" || resp.Header.Get("X-Ai-Dropped") != "input.id, input.reasoning" && resp.Header.Get("X-Ai-Dropped") != "input.reasoning, input.id" {
			t.Fatalf("turn %d: %q, %s", turn, resp.Header.Get("X-Ai-Dropped"), got)
		}
		asked := gjson.Get(up.Last().Body, `input.#(type=="reasoning")#.id`)
		if n := int(asked.Get("#").Int()); n != turn || strings.Contains(asked.Raw, "rs_a") {
			t.Errorf("turn %d has the reasoning %s", turn, asked)
		}
		input = `"more"`
	}
}
