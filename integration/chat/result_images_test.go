package chat

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestResultImages has tools return images, which stay with their results in the turns after:
// chat completions have them in a message of the user.
func TestResultImages(t *testing.T) {
	up := harness.NewUpstream(t)

	t.Run("messages", func(t *testing.T) {
		s := messagesSession{asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, messagesSite(up)), "acme", "ann")}, harness.NewSession()}
		up.Plays(harness.Messages("tool_use", `[{"type":"tool_use","id":"toolu_1","name":"f","input":{}},{"type":"tool_use","id":"toolu_2","name":"f","input":{}}]`))
		s.ask(`{"role":"user","content":"look"}`)
		up.Plays(harness.Messages("end_turn", `[{"type":"text","text":"seen"}]`))
		const results = `{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"url","url":"https://x.example/a.png"}}]},{"type":"tool_result","tool_use_id":"toolu_2","content":[{"type":"image","source":{"type":"url","url":"https://x.example/b.png"}}],"is_error":false},{"type":"text","text":"and?"}]}`
		s.ask(results)
		s.ask(`{"role":"user","content":"more"}`)
		if got := gjson.Get(up.Last().Body, "messages"); got.Get("#").Int() != 5 || got.Get("2").Raw != results {
			t.Errorf("the next turn has %s", got)
		}
		harness.WantList(t, "history", harness.Contents(s.cl.History(s.session)), []string{
			"user: look", "assistant: ", "tool: a", "tool: The result is in the user's next message.", "user: and?", "assistant: seen", "user: more", "assistant: seen",
		})
	})

	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	c := harness.Start(t, harness.PlainTenants, site)
	const output = `[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"https://x.example/a.png","detail":"low"}]`
	called := providertest.Reply{Model: "gpt-5", Finish: "tool_calls", Parts: []providertest.Part{{Reasoning: "hm"}, {Call: 1, ID: "call_1", Name: "f", Arguments: "{}"}}}
	done := providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Text: "seen"}}}
	for name, goesOn := range map[string]func(session, previous string) string{
		"responses, by the session":           func(session, _ string) string { return `"conversation":"` + session + `"` },
		"responses, by the previous response": func(_, previous string) string { return `"previous_response_id":"` + previous + `"` },
	} {
		t.Run(name, func(t *testing.T) {
			a, session := asks{t, harness.NewClient(c, "acme", "ann")}, harness.NewSession()
			up.Plays(harness.Responses(called))
			first := `"store":true`
			if strings.Contains(name, "session") {
				first = goesOn(session, "")
			}
			id := a.call(http.MethodPost, "/v1/responses", `{"model":"fast","input":"look",`+first+`}`).Get("id").Str
			up.Plays(harness.Responses(done))
			id = a.call(http.MethodPost, "/v1/responses", `{"model":"fast","input":[{"type":"function_call_output","call_id":"call_1","output":`+output+`}],`+goesOn(session, id)+`}`).Get("id").Str
			got := a.call(http.MethodPost, "/v1/responses", `{"model":"fast","input":"more",`+goesOn(session, id)+`}`)
			if input := gjson.Get(up.Last().Body, "input"); got.Get("status").Str != "completed" || input.Get("#").Int() != 6 || input.Get("3.output").Raw != output {
				t.Errorf("%s for %s", got, input)
			}
		})
	}

	t.Run("chat completions, then responses", func(t *testing.T) {
		a, session := asks{t, harness.NewClient(c, "acme", "ann")}, harness.NewSession()
		up.Plays(harness.Says(9, 7, "seen"))
		harness.ReadAll(t, a.cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"fast","messages":[{"role":"user","content":"look"},{"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://x.example/a.png","detail":"low"}}]}]}`, "X-Session-Id", session))
		up.Plays(harness.Responses(done))
		got := a.call(http.MethodPost, "/v1/responses", `{"model":"fast","input":"more","conversation":"`+session+`"}`)
		if output := gjson.Get(up.Last().Body, "input.2.output"); got.Get("status").Str != "completed" || output.Get("1.image_url").Str != "https://x.example/a.png" || output.Get("1.detail").Str != "low" {
			t.Errorf("%s for %s", got, up.Last().Body)
		}
	})
}
