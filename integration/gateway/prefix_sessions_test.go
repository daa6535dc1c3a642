package gateway

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// prefixDoor is an API whose requests a provider gets, with the history of a session in
// front.
type prefixDoor struct {
	name, path, grows string
	request           object

	// said is what a client says in a turn, answers what it returns for the calls of the
	// last answer, and plays what the server answers with n calls.
	said    func(r *rand.Rand, n int) []any
	answers func(r *rand.Rand, calls []string) []any
	plays   func(r *rand.Rand, calls []string) harness.Script
}

var prefixDoors = []prefixDoor{
	{
		"messages", "/v1/messages", "messages",
		object{"model": "claude", "max_tokens": 100, "tools": []any{object{"name": "look_up", "input_schema": object{"type": "object"}}}},
		richMessages, richResults, richBlocks,
	},
	{
		"messages in chat completions", "/v1/messages", "messages",
		object{"model": "chat", "max_tokens": 100, "system": "be brief", "tools": []any{object{"name": "look_up", "input_schema": object{"type": "object"}}}},
		richMessages, richResults, richChoice,
	},
	{
		"responses", "/v1/responses", "input",
		object{"model": "gpt", "tools": []any{object{"type": "function", "name": "look_up", "parameters": object{"type": "object"}, "strict": false}, object{"type": "custom", "name": "exec"}, object{"type": "web_search"}}},
		richItems, richOutputs, richReply,
	},
}

// TestPrefixInSessions has a client say only what is new, in a session that it names: what
// was sent for a turn is, byte for byte, what the request for the next one begins with.
func TestPrefixInSessions(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, fmt.Sprintf(`
		tenant_resolve
		chat_session {
			context_messages 1000
			context_tokens 1000000
		}
		ai_gateway {
			provider anthropic {
				base_url %s
				api_key k
			}
			provider openai {
				base_url %s
				api_key k
				responses on
			}
			provider chat openai {
				base_url %s
				api_key k
			}
			model claude {
				to anthropic/claude-sonnet-4-5
			}
			model gpt {
				to openai/gpt-5
			}
			model chat {
				to chat/gpt-4o
			}
			retries 0
			circuit_breaker off
		}
	`, up.Origin(), up.URL, up.URL)), "globex", "ann")
	for _, d := range prefixDoors {
		t.Run(d.name, func(t *testing.T) {
			for seed := range uint64(12) {
				d.grow(t, up, cl, rand.New(rand.NewPCG(seed, 2)))
			}
		})
	}
}

// grow has one conversation grow.
func (d *prefixDoor) grow(t *testing.T, up *harness.Upstream, cl *harness.Client, r *rand.Rand) {
	t.Helper()
	session := harness.NewSession()
	var before gjson.Result
	var open []string
	calls := 0
	for turn := range 4 + r.IntN(5) {
		request := object{d.grows: d.said(r, turn), "stream": r.IntN(2) == 0}
		if len(open) > 0 {
			request[d.grows] = d.answers(r, open)
		}
		maps.Copy(request, d.request)
		open = nil
		for range r.IntN(3) {
			calls++
			open = append(open, fmt.Sprint("call_", calls))
		}
		up.Plays(d.plays(r, open))
		resp := cl.Do(http.MethodPost, d.path, request, "X-Session-Id", session)
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || strings.Contains(text, `"error":{`) {
			t.Fatalf("turn %d: %d %s\nfor %s", turn, resp.StatusCode, text, up.Last().Body)
		}
		now := gjson.Parse(up.Last().Body)
		was, is := before.Get(d.grows).Array(), now.Get(d.grows).Array()
		if turn > 0 && len(is) <= len(was)+1 {
			t.Fatalf("turn %d: %d pieces became %d", turn, len(was), len(is))
		}
		for i := range was {
			if was[i].Raw != is[i].Raw {
				t.Fatalf("turn %d: piece %d was\n%s\nand is\n%s", turn, i, was[i].Raw, is[i].Raw)
			}
		}
		before = now
	}
}

// pick returns some of a list.
func pick(r *rand.Rand, list ...any) []any {
	var some []any
	for _, v := range list {
		if r.IntN(2) == 0 {
			some = append(some, v)
		}
	}
	if len(some) == 0 {
		return list[:1]
	}
	return some
}

func imageBlock() object {
	return object{"type": "image", "source": object{"type": "base64", "media_type": "image/png", "data": pixel}}
}

func richMessages(r *rand.Rand, n int) []any {
	text := fmt.Sprintf("question %d <b>", n)
	if r.IntN(3) == 0 {
		return withReminder(r, object{"role": "user", "content": text})
	}
	return withReminder(r, object{"role": "user", "content": pick(r,
		object{"type": "text", "text": text},
		imageBlock(),
		object{"type": "document", "title": "A", "context": "of the user's", "citations": object{"enabled": true}, "source": object{"type": "text", "media_type": "text/plain", "data": "some text"}},
		object{"type": "document", "source": object{"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, "citations": object{"enabled": true}},
		object{"type": "search_result", "source": "https://x.example", "title": "X", "content": []any{object{"type": "text", "text": "found"}}, "citations": object{"enabled": true}},
		object{"type": "text", "text": "more"},
	)})
}

// withReminder has a system message stand behind the user's, as Claude Code sends it.
func withReminder(r *rand.Rand, user object) []any {
	const text = "remember: <b> é"
	switch r.IntN(4) {
	case 0:
		return []any{user, object{"role": "system", "content": text}}
	case 1:
		return []any{user, object{"role": "system", "content": []any{object{"type": "text", "text": text}, object{"type": "text", "text": "and"}}}}
	}
	return []any{user}
}

func richResults(r *rand.Rand, calls []string) []any {
	var blocks []any
	for _, id := range calls {
		result := object{"type": "tool_result", "tool_use_id": id, "content": "text"}
		if r.IntN(2) == 0 {
			result["content"] = pick(r, imageBlock(), object{"type": "text", "text": "see"}, object{"type": "search_result", "source": "s", "title": "T", "content": []any{object{"type": "text", "text": "found"}}})
		}
		blocks = append(blocks, result)
	}
	if r.IntN(2) == 0 {
		blocks = append(blocks, object{"type": "text", "text": "and this?"})
	}
	return withReminder(r, object{"role": "user", "content": blocks})
}

func richChoice(r *rand.Rand, calls []string) harness.Script {
	message, finish := object{"role": "assistant", "content": nil}, "stop"
	if len(calls) == 0 || r.IntN(2) == 0 {
		message["content"] = "answer"
	}
	var list []any
	for i, id := range calls {
		finish = "tool_calls"
		list = append(list, object{"index": i, "id": id, "type": "function", "function": object{"name": "look_up", "arguments": `{"q": "1"}`}})
	}
	if list != nil {
		message["tool_calls"] = list
	}
	completion := func(kind, member string) string {
		choice := object{"index": 0, member: message, "finish_reason": finish}
		return string(provider.Encode(object{"id": "c1", "object": kind, "created": 1, "model": "gpt-4o", "choices": []any{choice}, "usage": object{"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}}))
	}
	return func(c *harness.Call) {
		if c.Streams() {
			c.Send("data: "+completion("chat.completion.chunk", "delta")+"\n\n", "data: [DONE]\n\n")
			return
		}
		harness.Document(http.StatusOK, completion("chat.completion", "message"))(c)
	}
}

func richBlocks(r *rand.Rand, calls []string) harness.Script {
	var blocks []string
	if r.IntN(2) == 0 {
		blocks = append(blocks, `{"type":"thinking","thinking":"hm","signature":"c2ln"}`)
	}
	if r.IntN(3) == 0 {
		blocks = append(blocks, `{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{"query":"x"}}`,
			`{"type":"web_search_tool_result","tool_use_id":"srv_1","content":[{"type":"web_search_result","url":"https://x.example","encrypted_content":"ZW5j"}]}`)
	}
	if len(calls) == 0 || r.IntN(2) == 0 {
		blocks = append(blocks, `{"type":"text","text":"answer"}`)
	}
	stop := "end_turn"
	for _, id := range calls {
		stop = "tool_use"
		blocks = append(blocks, fmt.Sprintf(`{"type":"tool_use","id":%q,"name":"look_up","input":{"q":"1"}}`, id))
	}
	return harness.Messages(stop, "["+strings.Join(blocks, ",")+"]")
}

func imagePart() object {
	return object{"type": "input_image", "detail": "high", "image_url": "data:image/png;base64," + pixel}
}

func richItems(r *rand.Rand, n int) []any {
	text := fmt.Sprintf("question %d <b>", n)
	items := []any{object{"role": "user", "content": text}}
	if r.IntN(3) > 0 {
		items[0] = object{"type": "message", "role": "user", "content": pick(r,
			object{"type": "input_text", "text": text},
			imagePart(),
			object{"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
			object{"type": "input_text", "text": "more"},
		)}
	}
	switch r.IntN(4) {
	case 0:
		items = append([]any{object{"type": "compaction", "id": fmt.Sprint("cmp_", n), "encrypted_content": "Y29t"}}, items...)
	case 1:
		items = append([]any{object{"role": "developer", "content": "be brief"}}, items...)
	case 2:
		items = append([]any{
			object{"role": "user", "content": "before"},
			object{"type": "reasoning", "id": fmt.Sprint("rs_c", n), "summary": []any{}, "encrypted_content": "gAAAAB"},
			object{"type": "web_search_call", "id": fmt.Sprint("ws_c", n), "status": "completed", "action": object{"type": "search", "query": "x"}},
			object{"type": "message", "role": "assistant", "id": fmt.Sprint("msg_c", n), "status": "completed", "content": []any{object{"type": "output_text", "text": "so", "annotations": []any{}}}},
		}, items...)
	}
	return items
}

func richOutputs(r *rand.Rand, calls []string) []any {
	var items []any
	for i, id := range calls {
		item := object{"type": "function_call_output", "call_id": id, "output": "text"}
		if i == 1 {
			item["type"] = "custom_tool_call_output"
		}
		if r.IntN(2) == 0 {
			item["output"] = pick(r, imagePart(), object{"type": "input_text", "text": "see"})
		}
		items = append(items, item)
	}
	if r.IntN(2) == 0 {
		items = append(items, object{"role": "user", "content": "and this?"})
	}
	return items
}

func richReply(r *rand.Rand, calls []string) harness.Script {
	reply := providertest.Reply{Model: "gpt-5", Finish: "stop"}
	if r.IntN(2) == 0 {
		reply.Parts = append(reply.Parts, providertest.Part{Reasoning: "hm"})
	}
	if len(calls) == 0 || r.IntN(2) == 0 {
		reply.Parts = append(reply.Parts, providertest.Part{Text: "answer"})
	}
	for i, id := range calls {
		reply.Finish = "tool_calls"
		call := providertest.Part{Call: i + 1, ID: id, Name: "look_up", Arguments: `{"q": "1"}`}
		if i == 1 {
			call.Name, call.Arguments = "exec", "ls"
		}
		reply.Parts = append(reply.Parts, call)
	}
	return harness.Responses(reply)
}
