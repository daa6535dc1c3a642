package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

type object = map[string]any

// spoken is a piece of a conversation in all APIs.
type spoken struct {
	completions, messages, responses []any

	asks bool // the model's turn comes next
}

// prefixDialects are the types of providers, and where a request has its prompt: what does
// not change, and the list that grows.
var prefixDialects = []struct {
	name, options string
	fixed         []string
	grows         string
}{
	{"openai", "", []string{"tools"}, "messages"},
	{"anthropic", "", []string{"system", "tools"}, "messages"},
	{"anthropic", "cache_prompts on", []string{"system", "tools"}, "messages"},
	{"gemini", "", []string{"systemInstruction", "tools"}, "contents"},
	{"ollama", "", []string{"tools"}, "messages"},
	{"bedrock", "region us-east-1\naccess_key_id a\nsecret_access_key {env.HOME}", []string{"system", "toolConfig"}, "messages"},
	{"cloudflare", "account_id acct\ngateway_id gw", []string{"tools"}, "messages"},
}

// TestPrefix has conversations grow, through each API and to each provider: what was sent
// for a turn is, byte for byte, what the request for the next one begins with. Prompt
// caches depend on it.
func TestPrefix(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Document(http.StatusBadRequest, `{"error":{"message":"not today"}}`))
	var site strings.Builder
	site.WriteString("\n\ttenant_resolve\n\tai_gateway {\n")
	for i, d := range prefixDialects {
		key := "api_key k\n"
		if d.name == "bedrock" {
			key = ""
		}
		fmt.Fprintf(&site, "\t\tprovider p%d %s {\n\t\t\tbase_url %s\n%s%s\n\t\t}\n\t\tmodel m%d {\n\t\t\tto p%d/claude-sonnet-4-5\n\t\t}\n", i, d.name, up.Origin(), key, d.options, i, i)
	}
	site.WriteString("\t\tretries 0\n\t\tcircuit_breaker off\n\t}\n")
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, site.String()), "globex", "ann")

	for i, d := range prefixDialects {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/v1/responses"} {
			t.Run(fmt.Sprint(d.name, d.options != "", path), func(t *testing.T) {
				for seed := range uint64(12) {
					talk := conversation(rand.New(rand.NewPCG(seed, 1)))
					var before gjson.Result
					for n := range talk {
						if !talk[n].asks {
							continue
						}
						count := up.Count()
						text := harness.ReadAll(t, cl.Do(http.MethodPost, path, prefixRequest(path, fmt.Sprint("m", i), talk[:n+1])))
						if up.Count() != count+1 {
							t.Fatalf("seed %d: %d calls for %d pieces: %s", seed, up.Count()-count, n+1, text)
						}
						now := gjson.Parse(up.Last().Body)
						for _, name := range d.fixed {
							if a, b := before.Get(name).Raw, now.Get(name).Raw; b == "" || before.Exists() && a != b {
								t.Errorf("seed %d: %s was\n%s\nand is\n%s", seed, name, a, b)
							}
						}
						was, is := before.Get(d.grows).Array(), now.Get(d.grows).Array()
						if len(is) <= len(was) {
							t.Fatalf("seed %d: %d messages became %d", seed, len(was), len(is))
						}
						for j := range was {
							if was[j].Raw != is[j].Raw {
								t.Fatalf("seed %d: message %d was\n%s\nand is\n%s", seed, j, was[j].Raw, is[j].Raw)
							}
						}
						before = now
					}
				}
			})
		}
	}
}

// prefixRequest returns the request for a conversation so far.
func prefixRequest(path, model string, talk []spoken) object {
	schema := object{"type": "object", "properties": object{"q": object{"type": "string"}}}
	body := object{"model": model}
	var list []any
	for _, piece := range talk {
		switch path {
		case "/v1/messages":
			list = append(list, piece.messages...)
		case "/v1/responses":
			list = append(list, piece.responses...)
		default:
			list = append(list, piece.completions...)
		}
	}
	switch path {
	case "/v1/messages":
		body["max_tokens"], body["system"], body["messages"] = 100, "Be <kind>.", list
		body["tools"] = []any{object{"name": "look_up", "description": "looks up", "input_schema": schema}}
	case "/v1/responses":
		body["instructions"], body["input"] = "Be <kind>.", list
		body["tools"] = []any{object{"type": "function", "name": "look_up", "description": "looks up", "parameters": schema, "strict": false}}
	default:
		body["messages"] = append([]any{object{"role": "system", "content": "Be <kind>."}}, list...)
		body["tools"] = []any{object{"type": "function", "function": object{"name": "look_up", "description": "looks up", "parameters": schema}}}
	}
	return body
}

// conversation returns some turns: questions of texts and images, reasoning, texts, calls
// with their results, and instructions at every place.
func conversation(r *rand.Rand) (talk []spoken) {
	calls := 0
	words := func() string {
		all := []string{"hello", "wörld", "\"quoted\"", "<b>", "日本", "1.50", "a\nb", "😀", "\\u0041"}
		var text []string
		for range 1 + r.IntN(5) {
			text = append(text, all[r.IntN(len(all))])
		}
		return strings.Join(text, " ")
	}
	// what the model answers next is preceded and followed by up to two instructions
	asks := func(pieces ...spoken) {
		var all spoken
		for i := range len(pieces) + 1 {
			for range max(0, r.IntN(5)-2) {
				all.add(instruction(words(), r.IntN(2) == 0))
			}
			if i < len(pieces) {
				all.add(pieces[i])
			}
		}
		talk = append(talk, all)
	}
	for range 2 + r.IntN(4) {
		asks(question(words(), r.IntN(3) == 0))
		for range r.IntN(3) {
			n := 1 + r.IntN(2)
			talk = append(talk, called(words(), r.IntN(2) == 0, calls, n))
			asks(results(words(), calls, n))
			calls += n
		}
		talk = append(talk, concluded(words(), r.IntN(2) == 0))
	}
	return talk
}

func (s *spoken) add(next spoken) {
	s.completions = append(s.completions, next.completions...)
	s.messages = append(s.messages, next.messages...)
	s.responses = append(s.responses, next.responses...)
	s.asks = s.asks || next.asks
}

// instruction is a message that comes from neither side, as a text or as a list of parts.
func instruction(text string, parts bool) spoken {
	system, developer := object{"role": "system", "content": text}, object{"role": "developer", "content": text}
	if !parts {
		return spoken{completions: []any{developer}, messages: []any{system}, responses: []any{developer}}
	}
	list := object{"role": "system", "content": []any{object{"type": "text", "text": text}}}
	return spoken{[]any{list}, []any{list}, []any{object{"type": "message", "role": "developer", "content": []any{object{"type": "input_text", "text": text}}}}, false}
}

const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

func question(text string, image bool) spoken {
	if !image {
		m := object{"role": "user", "content": text}
		return spoken{[]any{m}, []any{m}, []any{m}, true}
	}
	url := "data:image/png;base64," + pixel
	return spoken{
		[]any{object{"role": "user", "content": []any{object{"type": "text", "text": text}, object{"type": "image_url", "image_url": object{"url": url}}}}},
		[]any{object{"role": "user", "content": []any{object{"type": "text", "text": text}, object{"type": "image", "source": object{"type": "base64", "media_type": "image/png", "data": pixel}}}}},
		[]any{object{"role": "user", "content": []any{object{"type": "input_text", "text": text}, object{"type": "input_image", "image_url": url}}}},
		true,
	}
}

// concluded is the end of a turn, with or without reasoning.
func concluded(text string, thinks bool) spoken {
	answer := object{"role": "assistant", "content": text}
	if !thinks {
		return spoken{[]any{answer}, []any{answer}, []any{object{"role": "assistant", "content": []any{object{"type": "output_text", "text": text}}}}, false}
	}
	return spoken{
		[]any{object{"role": "assistant", "reasoning_content": "so " + text, "content": text}},
		[]any{object{"role": "assistant", "content": []any{object{"type": "thinking", "thinking": "so " + text, "signature": "c2ln"}, object{"type": "text", "text": text}}}},
		[]any{
			object{"type": "reasoning", "id": "rs_1", "summary": []any{object{"type": "summary_text", "text": "so " + text}}, "encrypted_content": "c2VhbGVk"},
			object{"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": []any{object{"type": "output_text", "text": text, "annotations": []any{}}}},
		},
		false,
	}
}

// called is a turn's calls of a tool, with a text before them or not.
func called(text string, speaks bool, first, n int) (s spoken) {
	content, blocks, calls := any(nil), []any{}, []any{}
	if speaks {
		content = text
		blocks = append(blocks, object{"type": "text", "text": text})
		s.responses = append(s.responses, object{"role": "assistant", "content": []any{object{"type": "output_text", "text": text}}})
	}
	for i := first; i < first+n; i++ {
		id, arguments := fmt.Sprint("call_", i), fmt.Sprintf(`{"q": "%d"}`, i)
		calls = append(calls, object{"id": id, "type": "function", "function": object{"name": "look_up", "arguments": arguments}})
		blocks = append(blocks, object{"type": "tool_use", "id": id, "name": "look_up", "input": object{"q": fmt.Sprint(i)}})
		s.responses = append(s.responses, object{"type": "function_call", "call_id": id, "name": "look_up", "arguments": arguments})
	}
	s.completions = []any{object{"role": "assistant", "content": content, "tool_calls": calls}}
	s.messages = []any{object{"role": "assistant", "content": blocks}}
	return s
}

// results are those of calls.
func results(text string, first, n int) (s spoken) {
	s.asks = true
	var blocks []any
	for i := first; i < first+n; i++ {
		id := fmt.Sprint("call_", i)
		s.completions = append(s.completions, object{"role": "tool", "tool_call_id": id, "content": text})
		blocks = append(blocks, object{"type": "tool_result", "tool_use_id": id, "content": text})
		s.responses = append(s.responses, object{"type": "function_call_output", "call_id": id, "output": text})
	}
	s.messages = []any{object{"role": "user", "content": blocks}}
	return s
}
