package author

import (
	"errors"
	"io"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestCompletion(t *testing.T) {
	const told = `"extra_content":{"reasoning":{"model":"m:\"1\""}}`
	for _, tc := range []struct{ name, message, want string }{
		{"reasoning", `{"reasoning_content":"hm","content":"so"}`, `{"reasoning_content":"hm","content":"so",` + told + `}`},
		{"in another spelling", `{"reasoning":"hm"}`, `{"reasoning":"hm",` + told + `}`},
		{"beside what a server tells", `{"reasoning":"hm","extra_content":{"google":{"thought":true}},"content":""}`, `{"reasoning":"hm","extra_content":{"google":{"thought":true},"reasoning":{"model":"m:\"1\""}},"content":""}`},
		{"beside nothing", `{"reasoning":"hm","extra_content":{}}`, `{"reasoning":"hm",` + told + `}`},
		{"signed alone", `{"thinking_blocks":[{"type":"redacted_thinking","data":"x"}]}`, `{"thinking_blocks":[{"type":"redacted_thinking","data":"x"}],` + told + `}`},
		{"signed calls", `{"tool_calls":[{"id":"a"},{"id":"b","extra_content":{}}]}`, `{"tool_calls":[{"id":"a"},{"id":"b","extra_content":{}}],` + told + `}`},
		{"calls", `{"tool_calls":[{"id":"a","function":{"arguments":"{\"extra_content\":1}"}}]}`, `{"tool_calls":[{"id":"a","function":{"arguments":"{\"extra_content\":1}"}}]}`},
		{"none", `{"content":"so"}`, `{"content":"so"}`},
		{"empty", `{"reasoning_content":"","content":"so"}`, `{"reasoning_content":"","content":"so"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const begin, end = `{"choices":[{"index":0,"message":`, `,"finish_reason":"stop"}],"model":"m"}`
			body := []byte(begin + tc.message + end)
			f, _ := provider.ParseCompletion(body)
			got := Completion(&provider.Completion{Body: body, Facts: f}, `m:"1"`).Body
			if string(got) != begin+tc.want+end {
				t.Errorf("got %s", got)
			}
			message := gjson.GetBytes(got, "choices.0.message")
			if by, has := Of(message), tc.want != tc.message; (by == `m:"1"`) != has || !has && by != "" {
				t.Errorf("it is by %q", by)
			}
		})
	}
}

// chunks is a stream of chunks.
type chunks []string

func (c *chunks) Next() (*provider.Chunk, error) {
	if len(*c) == 0 {
		return nil, io.EOF
	}
	raw := []byte((*c)[0])
	*c = (*c)[1:]
	f, _ := provider.ParseChunk(raw)
	return &provider.Chunk{Raw: raw, Facts: f, Regular: true, Plain: true}, nil
}

func (*chunks) Skipped() int { return 0 }
func (*chunks) Close() error { return nil }

func TestStream(t *testing.T) {
	in := chunks{
		`{"choices":[{"index":0,"delta":{"content":""}}]}`, `{"choices":[{"index":0,"delta":{"reasoning":"h"}}]}`,
		`{"choices":[{"index":0,"delta":{"reasoning":"m"}}]}`, `{"choices":[{"index":0,"delta":{"content":"so"},"finish_reason":"stop"}]}`,
	}
	want := []string{in[0], `{"choices":[{"index":0,"delta":{"reasoning":"h","extra_content":{"reasoning":{"model":"m"}}}}]}`, in[2], in[3]}
	s := Stream(&in, "m")
	for i, want := range want {
		c, err := s.Next()
		if err != nil || string(c.Raw) != want || c.Regular == (i == 1) || c.Plain == (i == 1) {
			t.Errorf("%d: %v, got %s", i, err, c.Raw)
		}
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestWithout(t *testing.T) {
	for in, want := range map[string]string{
		string(With("m")): "", `{"google":{"x":1}}`: `{"google":{"x":1}}`, `{"google":{"x":1},"reasoning":{"model":"m"}}`: `{"google":{"x":1}}`, `7`: `7`, `{}`: `{}`,
	} {
		if got := Without(gjson.Parse(in)); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
