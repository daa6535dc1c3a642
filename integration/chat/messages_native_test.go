package chat

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// searched are the events of an answer with much that chat completions do not have.
const searched = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-up","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":2,"cache_read_input_tokens":4,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"query\":\"x\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://x.example","encrypted_content":"ZW5j"}]}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"text","text":"","citations":[]}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"Hello"}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"https://x.example","encrypted_index":"aQ"}}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"pause_turn","stop_sequence":null},"usage":{"output_tokens":7}}

event: message_stop
data: {"type":"message_stop"}

`

// TestSessionInMessages remembers what a server of Anthropic's API has said as it was.
func TestSessionInMessages(t *testing.T) {
	up, other := harness.NewUpstream(t), harness.NewTarget(t, "other")
	a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, `
		tenant_resolve
		chat_session
		ai_gateway {
			provider anthropic {
				base_url `+up.Origin()+`
				api_key k
			}
			provider openai {
				base_url `+other.URL+`
				api_key k
			}
			model fast {
				to anthropic/claude-up
				to openai/gpt-up
			}
			retries 0
			circuit_breaker off
		}
	`), "acme", "ann")}
	session := harness.NewSession()
	ask := func(body string) (*http.Response, string) {
		resp := a.cl.Do(http.MethodPost, "/v1/messages", body, "X-Session-Id", session, "Anthropic-Beta", "some-beta", "Anthropic-Version", "2023-06-01")
		return resp, harness.ReadAll(t, resp)
	}
	const first = `{"model":"fast","max_tokens":100,"stream":true,"tools":[{"type":"web_search_20250305","name":"web_search"}],"messages":[{"role":"user","content":"\u0068i"}],"context_management":{"edits":[]}}`
	up.Plays(harness.Sends(searched))
	resp, got := ask(first)
	if got != searched || resp.Header.Get("X-Ai-Dropped") != "" {
		t.Errorf("dropped %q, got\n%s\nwant\n%s", resp.Header.Get("X-Ai-Dropped"), got, searched)
	}
	if asked := up.Last(); asked.Body != strings.Replace(first, `"fast"`, `"claude-up"`, 1) || asked.Header.Get("Anthropic-Beta") != "some-beta" {
		t.Errorf("the server is asked %s, with the betas %q", asked.Body, asked.Header.Get("Anthropic-Beta"))
	}

	const called = `{"id":"msg_2", "type":"message","role":"assistant","model":"claude-up","content":[{"type":"thinking","thinking":"so","signature":"dHdv"},{"type":"tool_use","id":"toolu_1","name":"f","input":{"a": 1}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":7}}`
	up.Plays(harness.Document(http.StatusOK, called))
	if _, got := ask(`{"model":"fast","max_tokens":100,"tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"look"}]}`); got != called {
		t.Errorf("got\n%s\nwant\n%s", got, called)
	}
	content := up.Last().Get("messages.1.content")
	if up.Last().Get("messages.#").Int() != 3 || content.Get("0.signature").Str != "c2ln" || content.Get("1.input.query").Str != "x" ||
		content.Get("2.content.0.encrypted_content").Str != "ZW5j" || content.Get("3.citations.0.encrypted_index").Str != "aQ" || content.Get("3.text").Str != "Hello" {
		t.Errorf("what was said goes back as %s", up.Last().Get("messages"))
	}

	const stopped = `{"id":"msg_3","type":"message","role":"assistant","model":"claude-up","content":[{"type":"text","text":"It is"}],"stop_reason":"stop_sequence","stop_sequence":"warm","usage":{"input_tokens":9,"output_tokens":7}}`
	up.Plays(harness.Document(http.StatusOK, stopped))
	if _, got := ask(`{"model":"fast","max_tokens":100,"stop_sequences":["warm"],"tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"21"}]}]}`); got != stopped {
		t.Errorf("got\n%s\nwant\n%s", got, stopped)
	}
	messages := up.Last().Get("messages")
	if messages.Get("#").Int() != 5 || messages.Get("3.content.0.signature").Str != "dHdv" || messages.Get("3.content.1.id").Str != "toolu_1" || messages.Get("4.content.0.type").Str != "tool_result" {
		t.Errorf("the result goes with %s", messages)
	}

	// another provider, and back
	up.Plays(harness.Refuses(500, "x"))
	other.Plays(harness.Says(9, 7, "there"))
	if resp, got := ask(`{"model":"fast","max_tokens":100,"messages":[{"role":"user","content":"more"}]}`); gjson.Get(got, "content.0.text").Str != "there" || strings.Contains(other.Last().Body, "content_blocks") {
		t.Errorf("%d %s for %s", resp.StatusCode, got, other.Last().Body)
	}
	up.Plays(harness.Sends(searched))
	if resp := a.cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "and here?"}); !strings.Contains(harness.ReadAll(t, resp), "Hello") || strings.Contains(up.Last().Body, "content_blocks") {
		t.Errorf("under /chat the server is asked %s", up.Last().Body)
	}
	up.Plays(harness.Sends(searched))
	if _, got := ask(`{"model":"fast","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"end"}]}`); got != searched {
		t.Errorf("got\n%s", got)
	}
	messages = up.Last().Get("messages")
	roles := messages.Get("#.role").String()
	if roles != `["user","assistant","user","assistant","user","assistant","user","assistant","user","assistant","user"]` || messages.Get("4.content.0.content").Str != "21" || messages.Get("7.content.0.text").Str != "there" {
		t.Errorf("all of it is %s", messages)
	}

	t.Run("a cut", func(t *testing.T) {
		events := strings.SplitAfter(searched, "\n\n")
		for n := range len(events) - 3 {
			session = harness.NewSession()
			up.Plays(func(c *harness.Call) { c.Send(append([]string{": \n\n"}, events[:n]...)...) })
			other.Plays(harness.Refuses(500, "x"))
			_, got := ask(first)
			if strings.Contains(got, "message_stop") || !strings.Contains(got, `"type":"error"`) {
				t.Errorf("cut after %d events:\n%s", n, got)
			}
		}
	})
	t.Run("forced elsewhere", func(t *testing.T) {
		up.Plays(harness.Refuses(500, "x"))
		resp, got := ask(`{"model":"fast","max_tokens":100,"tools":[{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"web_search"},"messages":[{"role":"user","content":"hi"}]}`)
		if resp.StatusCode < 400 {
			t.Errorf("%d %s", resp.StatusCode, got)
		}
	})
}
