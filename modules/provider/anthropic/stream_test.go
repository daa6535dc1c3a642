package anthropic

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// events returns a stream of events.
func events(data ...string) []byte {
	var b bytes.Buffer
	for _, d := range data {
		b.WriteString("event: " + gjson.Get(d, "type").Str + "\ndata: " + d + "\n\n")
	}
	return b.Bytes()
}

const (
	start   = `{"type":"message_start","message":{"id":"msg_1","model":"claude-x","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":200,"cache_creation_input_tokens":3000,"output_tokens":1}}}`
	text    = `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	hello   = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}`
	closed  = `{"type":"content_block_stop","index":0}`
	ending  = `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5,"output_tokens_details":{"thinking_tokens":2}}}`
	stopped = `{"type":"message_stop"}`
)

// readBody reads a body as the answer to a stream.
func readBody(t testing.TB, body []byte) *stream {
	t.Helper()
	return newStream(t.Context(), &http.Response{Body: io.NopCloser(bytes.NewReader(body))}, "asked-for", nil)
}

// chunks returns all chunks of a stream.
func chunks(s *stream) (all []string, err error) {
	for {
		c, err := s.Next()
		if err != nil {
			return all, err
		}
		raw := string(c.Raw)
		// Members that never change are left out.
		created := gjson.Get(raw, "created").Raw
		all = append(all, strings.Replace(raw, `"created":`+created, `"created":1`, 1))
	}
}

func TestStream(t *testing.T) {
	const head = `{"id":"msg_1","object":"chat.completion.chunk","created":1,"model":"claude-x","choices":[`
	choice := func(delta, finish string) string {
		return head + `{"index":0,"delta":` + delta + `,"finish_reason":` + finish + `}]}`
	}
	usage := head + `],"usage":{"prompt_tokens":3210,"completion_tokens":5,"total_tokens":3215,"prompt_tokens_details":{"cached_tokens":200,"cache_write_tokens":3000},"completion_tokens_details":{"reasoning_tokens":2}}}`
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{
			name: "text",
			in:   []string{start, text, `{"type":"ping"}`, hello, closed, ending, stopped},
			want: []string{choice(`{"role":"assistant","content":"hello"}`, "null"), choice(`{}`, `"stop"`), usage},
		},
		{
			name: "tool calls with text before them",
			in: []string{
				start, text, hello, closed,
				`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1}"}}`,
				`{"type":"content_block_stop","index":1}`,
				`{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{}}}`,
				`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"q\":1}"}}`,
				`{"type":"content_block_stop","index":2}`,
				`{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"g","input":{ "b": 2 }}}`,
				`{"type":"message_delta","delta":{"stop_reason":"tool_use"}}`, stopped,
			},
			want: []string{
				choice(`{"role":"assistant","content":"hello"}`, "null"),
				choice(`{"tool_calls":[{"index":0,"id":"toolu_1","type":"function","function":{"name":"f","arguments":""}}]}`, "null"),
				choice(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}`, "null"),
				choice(`{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}`, "null"),
				choice(`{"tool_calls":[{"index":1,"id":"toolu_2","type":"function","function":{"name":"g","arguments":""}}]}`, "null"),
				choice(`{"tool_calls":[{"index":1,"function":{"arguments":"{\"b\":2}"}}]}`, "null"),
				choice(`{}`, `"tool_calls"`),
				head + `],"usage":{"prompt_tokens":3210,"completion_tokens":1,"total_tokens":3211,"prompt_tokens_details":{"cached_tokens":200,"cache_write_tokens":3000}}}`,
			},
		},
		{
			name: "thinking comes back signed",
			in: []string{
				start,
				`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm "}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"so"}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig=="}}`,
				closed,
				`{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"secret"}}`,
				`{"type":"content_block_stop","index":1}`,
				`{"type":"content_block_start","index":2,"content_block":{"type":"thinking","thinking":"unsigned"}}`,
				ending, stopped,
			},
			want: []string{
				choice(`{"role":"assistant","reasoning_content":"hm "}`, "null"),
				choice(`{"reasoning_content":"so"}`, "null"),
				choice(`{"reasoning_content":"unsigned"}`, "null"),
				choice(`{"thinking_blocks":[{"type":"thinking","thinking":"hm so","signature":"sig=="},{"type":"redacted_thinking","data":"secret"}]}`, "null"),
				choice(`{}`, `"stop"`), usage,
			},
		},
		{
			name: "refusal",
			in: []string{
				start, text, hello,
				`{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","explanation":"I must not."}},"usage":{"output_tokens":5,"output_tokens_details":{"thinking_tokens":2}}}`,
				stopped,
			},
			want: []string{
				choice(`{"role":"assistant","content":"hello"}`, "null"),
				choice(`{"refusal":"I must not."}`, "null"),
				choice(`{}`, `"content_filter"`), usage,
			},
		},
		{
			name: "blocks in the head, reason to stop missing, a second head, citations",
			in: []string{
				`{"type":"message_start","message":{"id":"msg_1","model":"claude-x","content":[{"type":"text","text":"a"},{"type":"tool_use","id":"t","name":"f","input":{"x":1}}]}}`,
				start,
				`{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{}}}`,
				`{"type":"something_new","index":0}`,
				stopped,
			},
			want: []string{
				choice(`{"role":"assistant","content":"a"}`, "null"),
				choice(`{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":""}}]}`, "null"),
				choice(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}}]}`, "null"),
				choice(`{}`, `"tool_calls"`),
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := readBody(t, events(tc.in...))
			got, err := chunks(s)
			if !errors.Is(err, io.EOF) || s.Skipped() != 0 {
				t.Errorf("ended with %v, %d skipped", err, s.Skipped())
			}
			if g, w := strings.Join(got, "\n"), strings.Join(tc.want, "\n"); g != w {
				t.Errorf("\n got %s\nwant %s", g, w)
			}
		})
	}
}

func TestFinishReasons(t *testing.T) {
	for in, want := range map[string]string{
		"end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "new": "stop",
		"max_tokens": "length", "model_context_window_exceeded": "length",
		"tool_use": "tool_calls", "refusal": "content_filter",
	} {
		if got := finishOf(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestStreamEnds(t *testing.T) {
	const overloaded = `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`
	for _, tc := range []struct {
		name    string
		body    string
		text    string
		is      error // what it ends with
		reason  provider.Reason
		fails   bool // with a *provider.Error of that reason
		skipped int
	}{
		{name: "nothing", is: provider.ErrCut},
		{name: "cut after text", body: string(events(start, text, hello)), text: "hello", is: provider.ErrCut},
		{name: "cut in an event", body: string(events(start, text, hello)) + `data: {"type":"message_de`, text: "hello", is: provider.ErrCut, skipped: 1},
		{name: "cut after the finish", body: string(events(start, text, hello, ending)), text: "hello", is: io.EOF},
		{name: "end mark alone", body: string(events(stopped)), is: provider.ErrCut},
		{name: "error", body: string(events(start, overloaded)), fails: true, reason: provider.ReasonUnavailable},
		{name: "rate limit", body: string(events(`{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`)), fails: true, reason: provider.ReasonRateLimited},
		{name: "too long", body: string(events(`{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 3 > 2"}}`)), fails: true, reason: provider.ReasonContextLength},
		{name: "error after text", body: string(events(start, text, hello, overloaded)), text: "hello", fails: true, reason: provider.ReasonUnavailable},
		{name: "error after the finish", body: string(events(start, text, hello, ending, overloaded)), text: "hello", is: io.EOF},
		{name: "error without type", body: "data: {\"error\":{\"message\":\"boom\"}}\n\n", fails: true, reason: provider.ReasonUnavailable},
		{name: "error that is not JSON", body: "event: error\ndata: boom\n\n", fails: true, reason: provider.ReasonUnavailable},
		{name: "whole error", body: overloaded, fails: true, reason: provider.ReasonUnavailable},
		{name: "not JSON", body: "data: x\n\ndata: [1]\n\ndata: 1\n\n" + string(events(start, text, hello, ending, stopped)), text: "hello", is: io.EOF, skipped: 3},
		{name: "brackets", body: "data: " + strings.Repeat("[", 1<<20) + "\n\n" + string(events(start, text, hello, ending, stopped)), text: "hello", is: io.EOF, skipped: 1},
		{name: "whole message", body: `{"type":"message","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn"}`, text: "hello", is: io.EOF},
		{name: "events of odd types", body: string(events(`{"type":"message_start","message":7}`, `{"type":"content_block_start","index":"x","content_block":[]}`,
			`{"type":"content_block_delta","index":-5,"delta":{"type":"input_json_delta","partial_json":"{}"}}`, `{"type":"content_block_stop"}`,
			`{"type":"message_delta","delta":{"stop_reason":7},"usage":{"input_tokens":"x","output_tokens":-1e300}}`, text, hello, ending)), text: "hello", is: io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := readBody(t, []byte(tc.body))
			var got string
			var err error
			for err == nil {
				var c *provider.Chunk
				if c, err = s.Next(); err == nil {
					got += c.Text
				}
			}
			if got != tc.text || s.Skipped() != tc.skipped {
				t.Errorf("text %q, %d skipped, want %q, %d", got, s.Skipped(), tc.text, tc.skipped)
			}
			e, failed := errors.AsType[*provider.Error](err)
			if failed != tc.fails || failed && e.Reason != tc.reason {
				t.Errorf("failed with %v, want reason %d", err, tc.reason)
			}
			if !tc.fails && !errors.Is(err, tc.is) {
				t.Errorf("ended with %v, want %v", err, tc.is)
			}
		})
	}
}

// Absurd counts must neither overflow nor be negative.
func TestUsageOverflow(t *testing.T) {
	const counts = `{"input_tokens":1e300,"cache_read_input_tokens":9223372036854775807,"cache_creation_input_tokens":-5,"output_tokens":-1,"output_tokens_details":{"thinking_tokens":99}}`
	s := readBody(t, events(`{"type":"message_start","message":{"usage":`+counts+`}}`, ending[:len(ending)-1]+`,"usage":{}}`, stopped))
	all, _ := chunks(s)
	last := all[len(all)-1]
	f, _ := provider.ParseChunk([]byte(last))
	if f.Usage == nil || f.Usage.Input <= 0 || f.Usage.Cached > f.Usage.Input || f.Usage.Output < 0 || f.Usage.Reasoning > f.Usage.Output || f.Usage.Total() < 0 {
		t.Errorf("usage %+v of %s", f.Usage, last)
	}
}

func TestComplete(t *testing.T) {
	for _, tc := range []struct {
		name, body, want string
		reason           provider.Reason // where it fails
	}{
		{
			name: "everything",
			body: `{"type":"message","id":"msg_1","model":"claude-x","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"tool_use","id":"t","name":"f","input":{"x": 1}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2}}`,
			want: `"message":{"role":"assistant","content":"ab","reasoning_content":"hm","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}],"thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`,
		},
		{
			name: "no text beside a tool call",
			body: `{"type":"message","content":[{"type":"tool_use","id":"t","name":"f","input":{}}],"stop_reason":"tool_use"}`,
			want: `"message":{"role":"assistant","content":null,"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`,
		},
		{
			name: "no content",
			body: `{"type":"message","content":[],"stop_reason":"end_turn"}`,
			want: `"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}`,
		},
		{
			name: "refusal",
			body: `{"type":"message","content":[],"stop_reason":"refusal","stop_details":{"explanation":"no"}}`,
			want: `"message":{"role":"assistant","content":null,"refusal":"no"},"finish_reason":"content_filter"}]}`,
		},
		{name: "page", body: `<html>`, reason: provider.ReasonBadAnswer},
		{name: "nothing", body: ``, reason: provider.ReasonBadAnswer},
		{name: "other JSON", body: `{"ok":true}`, reason: provider.ReasonBadAnswer},
		{name: "error with status 200", body: `{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`, reason: provider.ReasonRateLimited},
		{name: "cut stream", body: string(events(start, text, hello)), reason: provider.ReasonUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(200, nil, []byte(tc.body), providertest.Whole)
			c, err := newProvider(t, replay.URL).Complete(t.Context(), &provider.Request{Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`)})
			if tc.want == "" {
				if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.reason {
					t.Errorf("failed with %v, want reason %d", err, tc.reason)
				}
				return
			}
			if err != nil || !strings.HasSuffix(string(c.Body), tc.want) {
				t.Errorf("%v\n got %s\nwant %s", err, c.Body, tc.want)
			}
		})
	}
}

// FuzzStream reads any answer to its end, and checks that it has OpenAI's
// shape.
func FuzzStream(f *testing.F) {
	f.Add(events(start, text, hello, closed, ending, stopped))
	f.Add(events(`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}`, stopped))
	f.Add([]byte(`{"type":"message","content":[{"type":"thinking","thinking":"hm","signature":"s"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := readBody(t, body)
		finished := 0
		for {
			c, err := s.Next()
			if err != nil {
				if errors.Is(err, io.EOF) != (finished == 1) {
					t.Fatalf("ended with %v after %d finish reasons", err, finished)
				}
				break
			}
			if _, ok := provider.ParseChunk(c.Raw); !ok || bytes.ContainsAny(c.Raw, "\r\n") {
				t.Fatalf("not a chunk: %q", c.Raw)
			}
			if c.FinishReason != "" {
				finished++
			}
		}
		if finished > 1 {
			t.Fatalf("finished %d times", finished)
		}
	})
}
