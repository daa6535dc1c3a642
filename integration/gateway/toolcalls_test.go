package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestToolCalls: clients get the same calls, however a server writes them, as a
// stream and as a document. Where a budget may end the answer, the document is
// made of a stream.
func TestToolCalls(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	tenants := strings.Replace(harness.PlainTenants, "metadata plan iron", "budget 1000000 tokens/day", 1)
	c := harness.Start(t, tenants, "tenant_resolve\n"+up.Gateway())
	for _, tc := range []struct {
		name   string
		chunks []string // the tool_calls of each
		want   string   // id, name and arguments of each call
	}{
		{"one_index_for_two_calls", []string{
			`[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]`,
			`[{"index":0,"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\""}}]`,
			`[{"index":0,"function":{"arguments":":1}"}}]`,
		}, `a f {} b g {"x":1}`},
		{"the_name_in_every_part", []string{
			`[{"index":0,"id":"a","type":"function","function":{"name":"read_file","arguments":"{"}}]`,
			`[{"index":0,"id":"a","type":"function","function":{"name":"read_file","arguments":"\"x\""}}]`,
			`[{"index":0,"function":{"name":"read_file","arguments":":1}"}}]`,
		}, `a read_file {"x":1}`},
		{"arguments_that_are_an_object", []string{`[{"index":0,"id":"a","function":{"name":"f","arguments":{"x": 1}}}]`}, `a f {"x":1}`},
		{"arguments_that_are_null_at_first", []string{
			`[{"index":0,"id":"a","function":{"name":"f","arguments":null}}]`, `[{"index":0,"function":{"arguments":"{\"x\":1}"}}]`,
		}, `a f {"x":1}`},
		{"no_arguments", []string{`[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]`}, `a f {}`},
		{"without_index", []string{
			`[{"id":"a","function":{"name":"f","arguments":"{"}}]`, `[{"function":{"arguments":"}"}}]`, `[{"id":"b","function":{"name":"g","arguments":"{\"x\":1}"}}]`,
		}, `a f {} b g {"x":1}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			events := []string{harness.Role}
			for _, chunk := range tc.chunks {
				events = append(events, harness.Delta(`{"tool_calls":`+chunk+`}`))
			}
			events = append(events, "data: "+harness.EndOf("tool_calls")+"\n\n", harness.EndMark)
			up.For(t).Plays(harness.Sends(events...))
			for _, tenant := range []string{"acme", "globex"} {
				for _, question := range []any{harness.NewQuestion("fast").Streamed(), harness.NewQuestion("fast")} {
					a := harness.NewClient(c, tenant, "ann").Complete(question)
					var got []string
					for _, call := range a.Recorded().ToolCalls {
						got = append(got, call.ID, call.Name, call.Arguments)
					}
					if strings.Join(got, " ") != tc.want || a.Finish != "tool_calls" {
						t.Errorf("%s got %q, want %q: %s", tenant, got, tc.want, strings.Join(a.Frames, "\n"))
					}
				}
			}
		})
	}

	t.Run("in_a_document", func(t *testing.T) {
		up.For(t).Plays(harness.Document(http.StatusOK, harness.WholeOf(`{"role":"assistant","content":null,"tool_calls":[`+
			`{"id":"a","type":"function","function":{"name":"f","arguments":{"x":1}}},{"id":"b","type":"function","function":{"name":"g","arguments":null}}]}`, "tool_calls")))
		a := harness.NewClient(c, "acme", "ann").Complete(harness.NewQuestion("fast"))
		if got := gjson.Get(a.Frames[0], "choices.0.message.tool_calls.#.function.arguments").Raw; got != `["{\"x\":1}","{}"]` {
			t.Errorf("the arguments are %s", got)
		}
	})
}

// TestDocumentOfStream: a server like Perplexity repeats all labels in every chunk,
// and has the message so far beside the delta.
func TestDocumentOfStream(t *testing.T) {
	t.Parallel()
	chunk := func(soFar, delta, more string) string {
		return `data: {"id":"p","object":"chat.completion.chunk","created":1,"model":"sonar","citations":["u"],"usage":{"prompt_tokens":8,"completion_tokens":5,"total_tokens":13,"search_context_size":"low"},` +
			`"choices":[{"index":0,"message":{"role":"assistant","content":"` + soFar + `"},"delta":{"role":"assistant","content":"` + delta + `"}` + more + "}]}\n\n"
	}
	up := harness.NewUpstream(t, harness.Sends(chunk("1", "1", ""), chunk("1 2", " 2", ""), chunk("1 2 3", " 3", ""), chunk("1 2 3", "", `,"finish_reason":"stop"`), harness.EndMark))
	tenants := strings.Replace(harness.PlainTenants, "metadata plan iron", "budget 1000000 tokens/day", 1)
	c := harness.Start(t, tenants, "tenant_resolve\n"+up.Gateway())
	for _, tenant := range []string{"acme", "globex"} {
		a := harness.NewClient(c, tenant, "ann").Complete(harness.NewQuestion("fast"))
		if len(a.Frames) != 1 || a.Text != "1 2 3" {
			t.Fatalf("%s got %q", tenant, a.Frames)
		}
		root := gjson.Parse(a.Frames[0])
		if got := root.Get("choices.0.message").Raw; len(root.Get("choices.0.message").Map()) != 2 || root.Get("choices.0.message.role").Str != "assistant" {
			t.Errorf("%s got the message %s", tenant, got)
		}
		if root.Get("citations").Raw != `["u"]` || root.Get("usage.search_context_size").Str != "low" || root.Get("model").Str != "sonar" {
			t.Errorf("%s got %s", tenant, root.Raw)
		}
	}
}
