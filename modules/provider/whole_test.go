package provider

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/sjson"
)

func TestWhole(t *testing.T) {
	for _, tc := range []struct {
		name   string
		chunks []string
		want   string
	}{
		{"text", []string{
			`{"id":"a","object":"chat.completion.chunk","created":12345678901,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
			`{"id":"a","created":12345678901,"model":"m","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}`,
			`{"id":"a","created":12345678901,"model":"m","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"lo","x":null},"finish_reason":null}]}`,
			`{"id":"a","created":12345678901,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
			`{"id":"a","created":12345678901,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`,
		}, `{"id":"a","object":"chat.completion","created":12345678901,"model":"m","service_tier":"default",
			"choices":[{"index":0,"message":{"role":"assistant","content":"Hello","x":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`},
		{"tool calls that come in turns", []string{
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"","tool_calls":[{"index":0,"id":"c0","type":"function","function":{"name":"f","arguments":""}},{"index":1,"id":"c1","type":"function","function":{"name":"g","arguments":"{"}}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c1","type":"function","function":{"arguments":"}"}}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"[1]"}}]},"finish_reason":"tool_calls"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[
			{"id":"c0","type":"function","function":{"name":"f","arguments":"[1]"}},{"id":"c1","type":"function","function":{"name":"g","arguments":"{}"}}]}}]}`},
		{"several choices, with logprobs and reasoning", []string{
			`{"id":"a","created":1,"choices":[{"index":1,"delta":{"reasoning_content":"h"},"logprobs":{"content":[{"token":"x","logprob":-0.5}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"refusal":"no"},"finish_reason":"stop"},{"index":1,"delta":{"reasoning_content":"m","content":"y"},"logprobs":{"content":[{"token":"y","logprob":-1}]},"finish_reason":"length"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[
			{"index":0,"message":{"role":"assistant","content":null,"refusal":"no"},"finish_reason":"stop"},
			{"index":1,"message":{"role":"assistant","content":"y","reasoning_content":"hm"},"logprobs":{"content":[{"token":"x","logprob":-0.5},{"token":"y","logprob":-1}]},"finish_reason":"length"}]}`},
		{"what nobody expects", []string{
			`{"id":"a","created":1,"choices":[7,{"index":0,"delta":"x"},{"delta":{"content":[{"type":"text","text":"a"}],"n":1,"m":{"a":1}}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"b","n":2,"m":[1]}}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"n":2,"m":[1]},"finish_reason":null}]}`},
		{"labels are repeated, and the message so far stands beside the delta", []string{
			`{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","citations":["x"],"choices":[{"index":0,"message":{"role":"assistant","content":"1"},"delta":{"role":"assistant","content":"1"},"native_finish_reason":"st"}]}`,
			`{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","citations":["x"],"choices":[{"index":0,"message":{"role":"assistant","content":"1 2"},"delta":{"role":"assistant","content":" 2","channel":"final"},"native_finish_reason":""}]}`,
			`{"id":"a","object":"chat.completion.done","created":1,"model":"m","citations":["x","y"],"choices":[{"index":0,"message":{"role":"assistant","content":"1 2 3"},"delta":{"role":"assistant","content":" 3","channel":"final"},"native_finish_reason":"stop","finish_reason":"stop"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"model":"m","citations":["x","y"],"choices":[
			{"index":0,"message":{"role":"assistant","content":"1 2 3","channel":"final"},"native_finish_reason":"stop","finish_reason":"stop"}]}`},
		{"objects keep what they said", []string{
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"a"},"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"b"},"content_filter_results":{"hate":{"filtered":false,"severity":"low"},"violence":{"filtered":true}}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{},"finish_reason":"stop","content_filter_results":{}}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":"ab"},"finish_reason":"stop",
			"content_filter_results":{"hate":{"filtered":false,"severity":"low"},"violence":{"filtered":true}}}]}`},
		{"audio, and a call as it was before tools", []string{
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"audio":{"id":"au","transcript":"he"},"function_call":{"name":"f","arguments":""}}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"audio":{"id":"au","data":"AA"},"function_call":{"name":"f","arguments":"{\"x\""}}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"audio":{"id":"au","data":"BB","transcript":"llo","expires_at":5},"function_call":{"arguments":":1}"}},"finish_reason":"function_call"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":null,
			"audio":{"id":"au","data":"AABB","transcript":"hello","expires_at":5},"function_call":{"name":"f","arguments":"{\"x\":1}"}},"finish_reason":"function_call"}]}`},
		{"reasoning in pieces, of which some are sealed", []string{
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"reasoning":"h","reasoning_details":[{"type":"reasoning.text","text":"h","format":"x","index":0}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"reasoning":"m","reasoning_details":[{"type":"reasoning.text","text":"m","format":"x","index":0}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"reasoning_details":[{"type":"reasoning.text","signature":"s","format":"x","index":0},{"type":"reasoning.encrypted","data":"d","id":"t0","index":0}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"reasoning_details":[{"type":"reasoning.encrypted","data":"e","id":"t1","index":0},{"type":"reasoning.summary","summary":"so","index":1}]},"finish_reason":"stop"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":null,"reasoning":"hm","reasoning_details":[
			{"type":"reasoning.text","text":"hm","format":"x","index":0,"signature":"s"},{"type":"reasoning.encrypted","data":"d","id":"t0","index":0},
			{"type":"reasoning.encrypted","data":"e","id":"t1","index":0},{"type":"reasoning.summary","summary":"so","index":1}]},"finish_reason":"stop"}]}`},
		{"thinking blocks in pieces without index", []string{
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"thinking_blocks":[{"type":"thinking","thinking":"h","signature":""}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"thinking_blocks":[{"type":"thinking","thinking":"m","signature":""}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"thinking_blocks":[{"type":"thinking","thinking":"","signature":"s1"}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"thinking_blocks":[{"type":"thinking","thinking":"o","signature":"s2"},{"type":"redacted_thinking","data":"d"}]},"finish_reason":"stop"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":null,"thinking_blocks":[
			{"type":"thinking","thinking":"hm","signature":"s1"},{"type":"thinking","thinking":"o","signature":"s2"},{"type":"redacted_thinking","data":"d"}]},"finish_reason":"stop"}]}`},
		{"lists that grow, and lists that are repeated", []string{
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"a","annotations":[{"n":1}]},"token_ids":[1]}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"b","annotations":[{"n":1},{"n":2}],"parts":[1]},"token_ids":[1,2]}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"annotations":[{"n":3}],"parts":[1,2]},"finish_reason":"stop"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":"ab","annotations":[{"n":1},{"n":2},{"n":3}],"parts":[1,2]},"token_ids":[1,1,2],"finish_reason":"stop"}]}`},
		{"tool calls with one index, with their name in every part", []string{
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"","tool_calls":[{"index":0,"id":"c0","type":"function","function":{"name":"f","arguments":"{"}}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c0","type":"function","function":{"name":"f","arguments":"}"}}]}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"g","arguments":{"x":1}}}]},"finish_reason":"tool_calls"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[
			{"id":"c0","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"c1","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}]}}]}`},
		{"a content that is a string first", []string{
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"a"}}]}`,
			`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"b"}]},"finish_reason":"stop"}]}`,
		}, `{"id":"a","object":"chat.completion","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},"finish_reason":"stop"}]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := NewWhole()
			for _, c := range tc.chunks {
				if err := w.Add([]byte(c)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := w.Completion()
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, got.Body, tc.want)
		})
	}
	t.Run("a chunk without content adds none", func(t *testing.T) {
		const begin = `{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}`
		w := NewWhole()
		for _, raw := range []string{begin, strings.Replace(begin, `"role":"assistant"`, `"reasoning_content":"hm"`, 1), strings.Replace(begin, "null", `"stop"`, 1)} {
			if err := w.Add([]byte(raw)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := w.Completion()
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, got.Body, `{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"reasoning_content":"hm"},"finish_reason":"stop"}]}`)
	})
	t.Run("plain chunks take a short cut to the same answer", func(t *testing.T) {
		const begin = `{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null,"tool_calls":null},"logprobs":null,"finish_reason":null}]}`
		for _, seed := range scanSeeds {
			long, short := NewWhole(), NewWhole()
			for _, raw := range []string{begin, seed, begin, seed, strings.Replace(begin, `"finish_reason":null`, `"finish_reason":"stop"`, 1)} {
				errShort := short.AddChunk(chunkOf(raw))
				errLong := long.addAll([]byte(raw))
				if (errShort == nil) != (errLong == nil) {
					t.Fatalf("%q: %v and %v", raw, errShort, errLong)
				}
			}
			a, errA := short.Completion()
			b, errB := long.Completion()
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
			// what all chunks of a stream repeat is taken from some of them
			want, err := sjson.DeleteBytes(b.Body, "created")
			if err != nil {
				t.Fatal(err)
			}
			got, err := sjson.DeleteBytes(a.Body, "created")
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, got, string(want))
		}
	})
	t.Run("cut", func(t *testing.T) {
		w := NewWhole()
		if err := w.Add([]byte(`{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"Hel"}}],"usage":{"total_tokens":99}}`)); err != nil {
			t.Fatal(err)
		}
		got, _ := w.Cut([]byte(`{"id":"a","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"lo"}}]}`))
		wantSame(t, got.Body, `{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hel"},"finish_reason":"length"}]}`)
	})
}

// FuzzWhole holds that whatever chunks say becomes a valid document with the same
// text.
func FuzzWhole(f *testing.F) {
	f.Add(`{"choices":[{"index":0,"delta":{"content":"a","logprobs":{"content":[1]}}}]}`, `{"choices":[{"delta":{"content":[{"type":"text","text":"b"}],"reasoning_details":[{"index":0,"text":"c"}]}}]}`)
	f.Add(`{"choices":[{"index":1,"message":{"content":"x"},"delta":{"thinking_blocks":[{"thinking":"a"}],"audio":{"data":"b"}}}]}`, `{"choices":[{"index":1,"delta":{"function_call":{"name":"f","arguments":{}},"annotations":[1]},"finish_reason":"stop"}]}`)
	for _, seed := range scanSeeds {
		f.Add(regularChunk, seed)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		w, text, refused := NewWhole(), "", false
		for _, chunk := range []string{one, two} {
			f, ok := ParseChunk([]byte(chunk))
			if err := w.AddChunk(chunkOf(chunk)); (err == nil) != ok {
				t.Fatalf("%q: %v", chunk, err)
			}
			text += f.Text
			refused = refused || f.Refusal
		}
		got, err := w.Completion()
		if err != nil {
			t.Fatalf("%q, %q: %v", one, two, err)
		}
		if _, ok := ParseCompletion(got.Body); !ok {
			t.Fatalf("%q, %q: not a document: %s", one, two, got.Body)
		}
		if !refused && got.Text != text && !strings.Contains(got.Text, "\ufffd") {
			t.Errorf("%q, %q: text %q, want %q", one, two, got.Text, text)
		}
	})
}

func TestAssemble(t *testing.T) {
	errBroken := errors.New("broken")
	const a, b = `{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"Hel"}}]}`, `{"id":"a","created":1,"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}`
	for _, tc := range []struct {
		name   string
		ends   error
		take   func(*Chunk) error
		text   string
		finish string
		err    error
	}{
		{"whole", io.EOF, nil, "Hello", "stop", nil},
		{"broken", errBroken, nil, "", "", errBroken},
		{"refused", io.EOF, func(*Chunk) error { return errBroken }, "", "", errBroken},
		{"ended_early", io.EOF, func(c *Chunk) error {
			if c.FinishReason != "" {
				return ErrEnough
			}
			return nil
		}, "Hel", "length", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list := []string{a, b}
			got, err := Assemble(func() (*Chunk, error) {
				if len(list) == 0 {
					return nil, tc.ends
				}
				c := chunkOf(list[0])
				list = list[1:]
				return c, nil
			}, tc.take)
			if !errors.Is(err, tc.err) || (got == nil) != (tc.err != nil) {
				t.Fatalf("got %v, %v", got, err)
			}
			if got != nil && (got.Text != tc.text || got.FinishReason != tc.finish) {
				t.Errorf("got %s", got.Body)
			}
		})
	}
}

// chunkOf is a chunk with what is known of it.
func chunkOf(raw string) *Chunk {
	var s Scanner
	c, ok := s.Scan([]byte(raw))
	if !ok {
		f, _ := ParseChunk([]byte(raw))
		return &Chunk{Raw: []byte(raw), Facts: f}
	}
	return &Chunk{Raw: []byte(raw), Facts: c.Facts, Plain: c.Plain}
}

func wantSame(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
