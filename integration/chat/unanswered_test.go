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

// TestUnanswered has clients answer some of several calls, or none: the others are left out of
// what goes back, and what the model has thought and said with them stays.
func TestUnanswered(t *testing.T) {
	up := harness.NewUpstream(t)

	const (
		thinking = `{"type":"thinking","thinking":"hm","signature":"c2ln"}`
		search   = `{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{"query":"x"}},{"type":"web_search_tool_result","tool_use_id":"srv_1","content":[]}`
		text     = `{"type":"text","text":"both"}`
		calls    = `{"type":"tool_use","id":"toolu_1","name":"f","input":{}},{"type":"tool_use","id":"toolu_2","name":"f","input":{}}`
		result   = `{"type":"tool_result","tool_use_id":"toolu_2","content":"2"}`
		more     = `{"type":"text","text":"more"}`
	)
	c := harness.Start(t, harness.PlainTenants, messagesSite(up))
	for name, test := range map[string]struct{ said, next, want string }{
		"one of two":                      {thinking + "," + text + "," + calls, result, "thinking text tool_use"},
		"one of two, without a text":      {thinking + "," + calls, result, "thinking tool_use"},
		"one of two, with a search":       {thinking + "," + search + "," + text + "," + calls, result, "thinking server_tool_use web_search_tool_result text tool_use"},
		"none, with a text":               {thinking + "," + text + "," + calls, more, "thinking text"},
		"none, with a search and a text":  {thinking + "," + search + "," + text + "," + calls, more, "thinking server_tool_use web_search_tool_result text"},
		"none, with thinking behind text": {search + "," + text + "," + thinking + "," + calls, more, "server_tool_use web_search_tool_result text"},
		"none, without a text":            {thinking + "," + calls, more, ""},
	} {
		t.Run("messages/"+name, func(t *testing.T) {
			s := messagesSession{asks{t, harness.NewClient(c, "acme", "ann")}, harness.NewSession()}
			up.Plays(harness.Messages("tool_use", "["+test.said+"]"))
			s.ask(`{"role":"user","content":"hi"}`)
			up.Plays(harness.Messages("end_turn", `[{"type":"text","text":"done"}]`))
			for range 2 {
				s.ask(`{"role":"user","content":[` + test.next + `]}`)
				var types []string
				for _, b := range gjson.Get(up.Last().Body, `messages.#(role=="assistant").content.#.type`).Array() {
					types = append(types, b.Str)
				}
				if got := strings.Join(types, " "); got != test.want && (test.want != "" || got != "text") {
					t.Errorf("%s goes back in %s", got, up.Last().Body)
				}
				test.next = more
			}
		})
	}

	hm, both := providertest.Part{Reasoning: "hm"}, providertest.Part{Text: "both"}
	one, two := providertest.Part{Call: 1, ID: "call_1", Name: "f", Arguments: "{}"}, providertest.Part{Call: 2, ID: "call_2", Name: "exec", Arguments: "ls"}
	output := map[string]any{"type": "custom_tool_call_output", "call_id": "call_2", "output": "2"}
	question := map[string]any{"role": "user", "content": "more"}
	tools := []any{map[string]any{"type": "custom", "name": "exec"}}
	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	cl := harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")
	for name, test := range map[string]struct {
		said []providertest.Part
		next any
		want string
	}{
		"one of two":                              {[]providertest.Part{hm, both, one, two}, output, "reasoning message custom_tool_call"},
		"one of two, without a text":              {[]providertest.Part{hm, one, two}, output, "reasoning custom_tool_call"},
		"one of two, each with reasoning":         {[]providertest.Part{hm, one, hm, two}, output, "reasoning custom_tool_call"},
		"one of two, in the other order":          {[]providertest.Part{hm, two, hm, one}, output, "reasoning custom_tool_call"},
		"none, with a text":                       {[]providertest.Part{hm, both, one, two}, question, "reasoning message"},
		"none, with reasoning behind the text":    {[]providertest.Part{both, hm, one, two}, question, "message"},
		"none, with a text, each with reasoning":  {[]providertest.Part{hm, both, hm, one, hm, two}, question, "reasoning message"},
		"none, without a text":                    {[]providertest.Part{hm, one, two}, question, ""},
		"none, without a text, two with thoughts": {[]providertest.Part{hm, one, hm, two}, question, ""},
	} {
		for _, by := range []string{"the session", "the previous response"} {
			t.Run("responses/"+name+", by "+by, func(t *testing.T) {
				a, session, id, next := asks{t, cl}, harness.NewSession(), "", test.next
				ask := func(input any) gjson.Result {
					t.Helper()
					body := map[string]any{"input": []any{input}, "tools": tools}
					if by == "the session" {
						body["conversation"] = session
					} else if id != "" {
						body["previous_response_id"] = id
					}
					got := a.create(body)
					if id = got.Get("id").Str; got.Get("status").Str != "completed" {
						t.Fatalf("%s for %s", got, up.Last().Body)
					}
					return gjson.Get(up.Last().Body, "input")
				}
				up.Plays(harness.Responses(providertest.Reply{Model: "gpt-5", Finish: "tool_calls", Parts: test.said}))
				ask(map[string]any{"role": "user", "content": "hi"})
				up.Plays(harness.Responses(providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Text: "done"}}}))
				for turn := range 2 {
					var types []string
					for _, item := range ask(next).Array() {
						if item.Get("role").Str != "user" && !strings.HasSuffix(item.Get("type").Str, "_output") {
							types = append(types, item.Get("type").Str)
						}
					}
					if turn == 1 {
						types = types[:len(types)-1] // what was done
					}
					if got := strings.Join(types, " "); got != test.want {
						t.Errorf("turn %d: %s goes back in %s", turn, got, up.Last().Body)
					}
					next = question
				}
			})
		}
	}
	t.Run("the client's own", func(t *testing.T) {
		resp := cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(`{"model":"fast","conversation":%q,"input":[{"type":"function_call","call_id":"call_1","name":"f","arguments":"{}"},{"role":"user","content":"more"}]}`, harness.NewSession()))
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(text, "No tool output found") {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
	})
}
