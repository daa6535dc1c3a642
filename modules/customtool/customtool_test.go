package customtool

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestAsFunctions(t *testing.T) {
	const (
		shell = `{"type":"custom","custom":{"name":"sh","description":"runs","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: x"}}}}`
		other = `{"type":"function","function":{"name":"f"}}`
		call  = `{"id":"c","type":"custom","custom":{"name":"sh","input":"echo \"a\""}}`
	)
	body := `{ "tools":[` + other + `, ` + shell + `],"tool_choice":{"type":"custom","custom":{"name":"sh"}},"messages":[{"role":"assistant","tool_calls":[` + call + `]}], "x":1.0}`
	got, tools := AsFunctions([]byte(body))
	root := gjson.ParseBytes(got)
	f := root.Get("tools.1.function")
	if !tools["sh"] || len(tools) != 1 || root.Get("tools.0").Raw != other || f.Get("name").Str != "sh" ||
		f.Get("description").Str != "runs\n\nThe input must match this grammar (lark):\n\nstart: x" || f.Get("parameters").Raw != string(Parameters) {
		t.Errorf("the tools are %s, those that were custom %v", root.Get("tools").Raw, tools)
	}
	if choice := root.Get("tool_choice").Raw; choice != `{"function":{"name":"sh"},"type":"function"}` {
		t.Errorf("the choice is %s", choice)
	}
	if c := root.Get("messages.0.tool_calls.0"); c.Get("id").Str != "c" || c.Get("type").Str != "function" || c.Get("function.arguments").Str != `{"input":"echo \"a\""}` {
		t.Errorf("the call is %s", c.Raw)
	}
	if root.Get("x").Raw != "1.0" {
		t.Errorf("the rest is %s", got)
	}
	for _, body := range []string{`{}`, `{"messages":[{"role":"user","content":"\"custom\""}]}`, `{"tools":[{"type":"custom"}],"messages":"custom"}`} {
		if got, tools := AsFunctions([]byte(body)); string(got) != body || tools != nil {
			t.Errorf("%s became %s, %v", body, got, tools)
		}
	}
}

// chunks is a stream of chat completion chunks.
type chunks []string

func (c *chunks) Next() (*provider.Chunk, error) {
	if len(*c) == 0 {
		return nil, io.EOF
	}
	raw := []byte((*c)[0])
	*c = (*c)[1:]
	f, _ := provider.ParseChunk(raw)
	return &provider.Chunk{Raw: raw, Facts: f}, nil
}

func (*chunks) Skipped() int { return 0 }
func (*chunks) Close() error { return nil }

// TestCallsComeBack has an answer as a document and as a stream in pieces of any size, also
// one that breaks off.
func TestCallsComeBack(t *testing.T) {
	const input = "a \"b\"\n{c}"
	for name, tc := range map[string]struct{ name, arguments, want string }{
		"a custom tool's": {"sh", Arguments(input), `"type":"custom","custom":{"name":"sh","input":"a \"b\"\n{c}"}`},
		"the text itself": {"sh", "ls", `"type":"custom","custom":{"name":"sh","input":"ls"}`},
		"cut off":         {"sh", `{"input":"ab`, `"type":"custom","custom":{"name":"sh","input":"ab"}`},
		"no input":        {"sh", "", `"type":"custom","custom":{"name":"sh","input":""}`},
		"a function's":    {"f", `{"a":1}`, `"type":"function","function":{"name":"f","arguments":"{\"a\":1}"}`},
	} {
		t.Run(name, func(t *testing.T) {
			tools := Tools{"sh": true}
			quoted := provider.Encode(tc.arguments)
			doc := fmt.Sprintf(`{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":%q,"arguments":%s},"extra_content":{"x":1}}]},"finish_reason":"tool_calls"}]}`, tc.name, quoted)
			f, _ := provider.ParseCompletion([]byte(doc))
			got := gjson.GetBytes(tools.Completion(&provider.Completion{Body: []byte(doc), Facts: f}).Body, "choices.0.message.tool_calls.0").Raw
			if want := `{"id":"c",` + tc.want + `,"extra_content":{"x":1}}`; got != want {
				t.Errorf("the document has %s, want %s", got, want)
			}
			for size := 1; size <= len(tc.arguments)+1; size++ {
				in := chunks{fmt.Sprintf(`{"choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":%q,"arguments":""},"extra_content":{"x":1}}]},"finish_reason":null}]}`, tc.name)}
				for rest := tc.arguments; rest != ""; {
					n := min(size, len(rest))
					in = append(in, fmt.Sprintf(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":%s}}]},"finish_reason":null}]}`, provider.Encode(rest[:n])))
					rest = rest[n:]
				}
				in = append(in, `{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`)
				s := tools.Stream(&in)
				var m provider.Message
				for {
					c, err := s.Next()
					if errors.Is(err, io.EOF) {
						break
					}
					if !gjson.ValidBytes(c.Raw) {
						t.Fatalf("a chunk is %s", c.Raw)
					}
					m.Add(gjson.GetBytes(c.Raw, "choices.0.delta"))
				}
				if got, want := string(m.Calls.AppendJSON(nil)), `[{"id":"c",`+tc.want+`,"extra_content":{"x":1}}]`; got != want {
					t.Errorf("in pieces of %d bytes: %s, want %s", size, got, want)
				}
			}
		})
	}
}
