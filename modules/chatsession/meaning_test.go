package chatsession

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func stored(t testing.TB, raw string) *store.Message {
	t.Helper()
	m, err := fromWire(gjson.Parse(raw))
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return m
}

func TestMeaning(t *testing.T) {
	// Each group says the same in other words, and something else than all others.
	groups := [][]string{
		{
			`{"role":"user","content":"hi"}`,
			`{"content":"hi","role":"user","name":null}`,
			`{"role":"user","content":[{"type":"text","text":"hi"}]}`,
			`{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}`,
			`{"role":"user","content":[{"type":"text","text":"h"},{"text":"i","type":"text"}],"cache_control":{"type":"ephemeral"}}`,
		},
		{`{"role":"user","content":"hi "}`},
		{`{"role":"user","content":"hi","name":"ann"}`, `{"role":"user","name":"ann","content":[{"type":"text","text":"hi"}]}`},
		{`{"role":"user","content":"hi","name":"bob"}`},
		{`{"role":"user","content":""}`, `{"role":"user","content":[]}`, `{"role":"user","content":null}`},
		{`{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"https://a/1"}}]}`,
			`{"role":"user","content":[{"type":"text","text":"hi"},{"image_url":{"url":"https://a/1","detail":"auto"},"type":"image_url"}]}`,
			`{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":"https://a/1","cache_control":{"type":"ephemeral"}}]}`},
		{`{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"https://a/2"}}]}`},
		{`{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a/1"}},{"type":"text","text":"hi"}]}`},
		{`{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"https://a/1","detail":"high"}}]}`},
		{
			`{"role":"assistant","content":"hi"}`,
			`{"role":"assistant","content":"hi","tool_calls":[],"refusal":null,"annotations":[],"reasoning_content":"hm","thinking_blocks":[1]}`,
			`{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"hi","annotations":[]}]}`,
			`{"role":"assistant","content":null,"refusal":"hi"}`,
			`{"role":"assistant","content":[{"type":"refusal","refusal":"hi"}]}`,
		},
		{
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1,\"b\":[null,\"x\"]}"}}]}`,
			`{"role":"assistant","content":"","tool_calls":[{"index":0,"id":"c","function":{"arguments":"{ \"b\": [null, \"x\"], \"a\": 1.0 }\n","name":"f"},"extra_content":{"s":"x"}}]}`,
			`{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1,\"b\":[null,\"\\u0078\"]}"}}],"reasoning":"hm"}`,
		},
		{`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1,\"b\":[\"x\"]}"}}]}`},
		{`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":2,\"b\":[null,\"x\"]}"}}]}`},
		{`{"role":"assistant","content":null,"tool_calls":[{"id":"d","type":"function","function":{"name":"f","arguments":"{\"a\":1,\"b\":[null,\"x\"]}"}}]}`},
		{`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"g","arguments":"{\"a\":1,\"b\":[null,\"x\"]}"}}]}`},
		{`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"cut"}}]}`},
		{
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}`,
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":""}}]}`,
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f"}}]}`,
		},
		{`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"custom","custom":{"name":"f","input":"{}"}}]}`},
		{`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"custom","custom":{"name":"f","input":"{ }"}}]}`},
		{`{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}}`, `{"role":"assistant","function_call":{"arguments":" {} ","name":"f"}}`},
		{`{"role":"assistant","content":"","tool_calls":[]}`},
		{`{"role":"tool","tool_call_id":"c","content":"42"}`, `{"role":"tool","tool_call_id":"c","name":"f","content":[{"type":"text","text":"42"}]}`},
		{`{"role":"tool","tool_call_id":"d","content":"42"}`},
		{`{"role":"tool","tool_call_id":"c","content":"43"}`},
		{`{"role":"function","name":"f","content":"42"}`},
	}
	seen := make(map[meaning]int)
	for i, g := range groups {
		for _, raw := range g {
			got := meaningOf(stored(t, raw))
			if j, ok := seen[got]; ok && j != i {
				t.Errorf("%s\nsays the same as\n%s", raw, groups[j][0])
			}
			if _, ok := seen[got]; !ok && raw != g[0] {
				t.Errorf("%s\nsays something else than\n%s", raw, g[0])
			}
			seen[got] = i
		}
	}
}

// respelled returns the JSON of a message in another spelling.
func respelled(r *rand.Rand, v any) string {
	switch v := v.(type) {
	case map[string]any:
		var list []string
		for name, e := range v {
			list = append(list, fmt.Sprintf("%q :%s", name, respelled(r, e)))
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return "{ " + strings.Join(list, ",\n ") + "}"
	case []any:
		var list []string
		for _, e := range v {
			list = append(list, respelled(r, e))
		}
		return "[" + strings.Join(list, " , ") + " ]"
	case string:
		var b strings.Builder
		for _, c := range v {
			if c < 0x80 && r.IntN(3) == 0 {
				fmt.Fprintf(&b, `\u%04x`, c)
				continue
			}
			q, _ := json.Marshal(string(c))
			b.Write(q[1 : len(q)-1])
		}
		return `"` + b.String() + `"`
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// sentAgain returns a message as a client may send it again.
func sentAgain(r *rand.Rand, m map[string]any) map[string]any {
	again := maps.Clone(m)
	mark := map[string]any{"type": "ephemeral"}
	if text, ok := again["content"].(string); ok && r.IntN(2) == 0 {
		part := map[string]any{"type": "text", "text": text}
		if r.IntN(2) == 0 {
			part["cache_control"] = mark
		}
		again["content"] = []any{part}
	}
	if r.IntN(3) == 0 {
		again["cache_control"] = mark
	}
	if r.IntN(3) == 0 {
		again["name"] = nil
	}
	if calls, ok := again["tool_calls"].([]any); ok {
		call := calls[0].(map[string]any)
		fn := call["function"].(map[string]any)
		var b bytes.Buffer
		if json.Indent(&b, []byte(fn["arguments"].(string)), "", " ") == nil {
			again["tool_calls"] = []any{map[string]any{"id": call["id"], "type": "function", "function": map[string]any{"name": fn["name"], "arguments": b.String()}}}
		}
		again["content"] = []any{nil, "", []any{}}[r.IntN(3)]
	}
	return again
}

// TestMeaningProperty holds that a whole conversation is recognized when it is sent
// again in another spelling, and that no message is taken for another one.
func TestMeaningProperty(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 4))
		var past, again []*store.Message
		for i := range 1 + r.IntN(8) {
			text := fmt.Sprintf("t%d \"é😀\n", i)
			m := []map[string]any{
				{"role": "user", "content": text},
				{"role": "assistant", "content": text},
				{"role": "user", "content": []any{map[string]any{"type": "text", "text": text}, map[string]any{"type": "image_url", "image_url": map[string]any{"url": text}}}},
				{"role": "assistant", "content": nil, "tool_calls": []any{map[string]any{"id": text, "type": "function", "function": map[string]any{"name": "f", "arguments": `{"a":[1,null],"b":"x y"}`}}}},
				{"role": "tool", "tool_call_id": text, "content": "42"},
			}[r.IntN(5)]
			past = append(past, stored(t, respelled(r, m)))
			again = append(again, stored(t, respelled(r, sentAgain(r, m))))
		}
		if got, _ := repeated(past, append(slices.Clone(again), newMessage(roleUser, "new"))); got != len(past) {
			t.Fatalf("seed %d: %d of %d messages are recognized: %s", seed, got, len(past), inShort(again))
		}
		for i, a := range past {
			for j, b := range again {
				if (meaningOf(a) == meaningOf(b)) != (i == j) {
					t.Fatalf("seed %d: messages %d and %d: %s and %s", seed, i, j, past[i].Raw, again[j].Raw)
				}
			}
		}
	}
}
