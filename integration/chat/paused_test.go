package chat

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// searchBlocks are the blocks of an answer that is only the work of a server's own tool.
func searchBlocks(n int) string {
	return fmt.Sprintf(`[{"type":"server_tool_use","id":"srvtoolu_%d","name":"web_search","input":{"query":"x"}},`+
		`{"type":"web_search_tool_result","tool_use_id":"srvtoolu_%[1]d","content":[{"type":"web_search_result","url":"https://x.example","encrypted_content":"ZW5j","page_age":null}]}]`, n)
}

// assistantSays is a message of the assistant with these blocks.
func assistantSays(blocks string) string { return `{"role":"assistant","content":` + blocks + `}` }

// withOther adds a model of a server with OpenAI's API to a site.
func withOther(site, url string) string {
	return strings.Replace(site, "model fast {", `provider openai {
			base_url `+url+`
			api_key k
		}
		model other {
			to openai/gpt-up
		}
		model fast {`, 1)
}

// TestPausedTurn has a server pause an answer in which it has only used its own tools. A
// client goes on as Anthropic says, by sending back what it got. The session has all of it
// once, and so does the request.
func TestPausedTurn(t *testing.T) {
	const (
		question, next, more = `{"role":"user","content":"search"}`, `{"role":"user","content":"next"}`, `{"role":"user","content":"more"}`
		found                = `[{"type":"text","text":"found"}]`
	)
	first, second := searchBlocks(1), searchBlocks(2)
	joined := assistantSays(strings.TrimSuffix(first, "]") + "," + strings.TrimPrefix(second, "["))
	a1, a2, a3 := assistantSays(first), assistantSays(second), assistantSays(found)

	up, other := harness.NewUpstream(t), harness.NewTarget(t, "other")
	cl := harness.NewClient(harness.Start(t, harness.PlainTenants, withOther(messagesSite(up), other.URL)), "acme", "ann")
	for name, turns := range map[string][]struct{ sent, asked, stop, answer string }{
		"continued_twice": {
			{question, question, "pause_turn", first},
			{question + "," + a1, question + "," + a1, "pause_turn", second},
			{question + "," + a1 + "," + a2, question + "," + a1 + "," + a2, "end_turn", found},
			{next, question + "," + a1 + "," + a2 + "," + a3 + "," + next, "end_turn", found},
			{question + "," + a1 + "," + a2 + "," + a3 + "," + next + "," + a3 + "," + more, question + "," + a1 + "," + a2 + "," + a3 + "," + next + "," + a3 + "," + more, "end_turn", found},
		},
		"joined_to_one_message": {
			{question, question, "pause_turn", first},
			{question + "," + a1, question + "," + a1, "pause_turn", second},
			{question + "," + joined, question + "," + joined, "end_turn", found},
			{next, question + "," + a1 + "," + a2 + "," + a3 + "," + next, "end_turn", found},
		},
		"the_pause_alone": {
			{question, question, "pause_turn", first},
			{a1, question + "," + a1, "pause_turn", second},
			{a2, question + "," + a1 + "," + a2, "end_turn", found},
			{next, question + "," + a1 + "," + a2 + "," + a3 + "," + next, "end_turn", found},
		},
		"followed_by_a_question": {
			{question, question, "end_turn", first},
			{question + "," + a1 + "," + next, question + "," + a1 + "," + next, "end_turn", second},
			{more, question + "," + a1 + "," + next + "," + a2 + "," + more, "end_turn", found},
		},
		"the_question_again": {
			{question, question, "end_turn", first},
			{question, question + "," + a1 + "," + question, "end_turn", second},
		},
		"without_what_was_asked_before": {
			{question + "," + a1 + "," + next, question + "," + a1 + "," + next, "end_turn", found},
			{more, question + "," + a1 + "," + next + "," + a3 + "," + more, "end_turn", found},
		},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream_%v", name, stream), func(t *testing.T) {
				session, stored := harness.NewSession(), 0
				for i, turn := range turns {
					up.Plays(harness.Messages(turn.stop, turn.answer))
					body := fmt.Sprintf(`{"model":"fast","max_tokens":100,"stream":%v,"messages":[%s]}`, stream, turn.sent)
					resp := cl.Do(http.MethodPost, "/v1/messages", body, "X-Session-Id", session)
					if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || strings.Contains(got, `"error"`) {
						t.Fatalf("turn %d: %d %s", i, resp.StatusCode, got)
					}
					got, want := gjson.Get(up.Last().Body, "messages").Raw, "["+turn.asked+"]"
					if stream { // the blocks of a stream are put together, in an order of their own
						got, want = gjson.Get(got, "@pretty:{\"sortKeys\":true}").Raw, gjson.Get(want, "@pretty:{\"sortKeys\":true}").Raw
					}
					if got != want {
						t.Errorf("turn %d: the server is asked\n%s\nwant\n%s", i, got, want)
					}
					stored = int(gjson.Get("["+turn.asked+"]", "#").Int()) + 1
				}
				if name == "joined_to_one_message" || len(cl.History(session)) == stored {
					return
				}
				t.Errorf("the session has %d messages, want %d", len(cl.History(session)), stored)
			})
		}
	}

	t.Run("for_another_provider", func(t *testing.T) {
		session := harness.NewSession()
		up.Plays(harness.Messages("pause_turn", first))
		ask := func(model, sent string) string {
			resp := cl.Do(http.MethodPost, "/v1/messages", fmt.Sprintf(`{"model":%q,"max_tokens":100,"messages":[%s]}`, model, sent), "X-Session-Id", session)
			return harness.ReadAll(t, resp)
		}
		ask("fast", question)
		other.Plays(harness.Says(9, 7, "there"))
		if ask("other", next); gjson.Get(other.Last().Body, "messages").Raw != "["+question+","+next+"]" {
			t.Errorf("the server is asked %s", other.Last().Body)
		}
		if got := gjson.Get(ask("other", a1), "error.message").Str; !strings.Contains(got, "messages.0.content.1.type") || !strings.Contains(got, "at least one message") {
			t.Errorf("the pause alone gets %q", got)
		}
		up.Plays(harness.Messages("end_turn", found))
		if ask("fast", more); gjson.Get(up.Last().Body, "messages.#.role").Raw != `["user","assistant","user","assistant","user"]` {
			t.Errorf("the server is asked %s", up.Last().Body)
		}
	})
}

// TestHostedCallsAlone has a server answer by calls of its own tools, without a word.
func TestHostedCallsAlone(t *testing.T) {
	up := harness.NewUpstream(t)
	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	cl := harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")
	const question, next, more = `{"role":"user","content":"search"}`, `{"role":"user","content":"next"}`, `{"role":"user","content":"more"}`
	call := func(n int) string {
		return fmt.Sprintf(`{"type":"reasoning","id":"rs_%d","summary":[],"encrypted_content":"gAAAAB"},{"type":"web_search_call","id":"ws_%[1]d","status":"completed","action":{"type":"search","query":"x"}}`, n)
	}
	const computer, screen = `{"type":"computer_call","id":"cu_1","call_id":"call_1","status":"completed","action":{"type":"screenshot"},"pending_safety_checks":[]}`,
		`{"type":"computer_call_output","call_id":"call_1","output":{"type":"computer_screenshot","image_url":"data:image/png;base64,AAAA"}}`
	for name, turns := range map[string][]struct{ sent, asked, answer string }{
		"sent_as_a_whole": {
			{question, question, call(1)},
			{question + "," + call(1) + "," + next, question + "," + call(1) + "," + next, call(2)},
			{question + "," + call(1) + "," + next + "," + call(2) + "," + more, question + "," + call(1) + "," + next + "," + call(2) + "," + more, call(3)},
		},
		"only_what_is_new": {
			{question, question, call(1)},
			{next, question + "," + call(1) + "," + next, call(2)},
			{question + "," + call(1) + "," + next + "," + call(2) + "," + more, question + "," + call(1) + "," + next + "," + call(2) + "," + more, call(3)},
		},
		"a_clients_output": {
			{question, question, computer},
			{screen, question + "," + computer + "," + screen, call(1)},
			{question + "," + computer + "," + screen + "," + call(1) + "," + next, question + "," + computer + "," + screen + "," + call(1) + "," + next, call(2)},
			{more, question + "," + computer + "," + screen + "," + call(1) + "," + next + "," + call(2) + "," + more, call(3)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			session := harness.NewSession()
			for i, turn := range turns {
				up.Plays(harness.Document(http.StatusOK, fmt.Sprintf(`{"id":"resp_%d","object":"response","created_at":1,"status":"completed","model":"up-fast","output":[%s],"usage":{"input_tokens":9,"output_tokens":7,"total_tokens":16}}`, i, turn.answer)))
				resp := cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(`{"model":"fast","input":[%s]}`, turn.sent), "X-Session-Id", session)
				if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
					t.Fatalf("turn %d: %d %s", i, resp.StatusCode, got)
				}
				if got := gjson.Get(up.Last().Body, "input").Raw; got != "["+turn.asked+"]" {
					t.Errorf("turn %d: the server is asked\n%s\nwant\n%s", i, got, turn.asked)
				}
			}
			want := 2 * len(turns)
			if n := len(cl.History(session)); n != want {
				t.Errorf("the session has %d messages, want %d", n, want)
			}
		})
	}
}
