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

// TestPatchesSentWhole has a client send all of a conversation in each turn, in a session that
// it names. Its patches are nothing in chat completions, and go on once.
func TestPatchesSentWhole(t *testing.T) {
	up := harness.NewUpstream(t)
	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	cl := harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")
	session, talk := harness.NewSession(), `{"role":"user","content":"hi"}`
	ask := func() {
		t.Helper()
		resp := cl.Do(http.MethodPost, "/v1/responses", `{"model":"fast","tools":[{"type":"apply_patch"}],"conversation":"`+session+`","input":[`+talk+`]}`)
		got := gjson.Parse(harness.ReadAll(t, resp))
		if got.Get("status").Str != "completed" {
			t.Fatalf("%s for %s", got, up.Last().Body)
		}
		for _, item := range got.Get("output").Array() {
			talk += "," + item.Raw
		}
	}
	for n := range 3 {
		up.Plays(func(c *harness.Call) {
			if refused := providertest.RefuseResponse([]byte(c.Body)); refused != nil {
				t.Errorf("turn %d: %s", n, refused)
			}
			harness.Document(http.StatusOK, fmt.Sprintf(`{"id":"resp_x","object":"response","status":"completed","model":"gpt-5","output":[{"id":"rs_%[1]d","type":"reasoning","summary":[],"encrypted_content":"gAAAAB"},{"id":"apc_%[1]d","type":"apply_patch_call","call_id":"call_%[1]d","status":"completed","operation":{"type":"create_file","path":"a","diff":"+a"}}],"usage":{"input_tokens":9,"output_tokens":5,"total_tokens":14}}`, n))(c)
		})
		ask()
		talk += fmt.Sprintf(`,{"type":"apply_patch_call_output","call_id":"call_%d","status":"completed","output":"ok"}`, n)
	}
	up.Plays(harness.Responses(providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Text: "done"}}}))
	for range 3 {
		ask()
		talk += `,{"role":"user","content":"more"}`
	}
}
