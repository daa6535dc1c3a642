package openai

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// chunkOf is an event with these choices and more members.
func chunkOf(choices, more string) string {
	return `{"object":"chat.completion.chunk","id":"c","choices":[` + choices + `]` + more + `}`
}

// OpenAI's own clients throw an error, or lose something, where a stream is
// not as these are mended to be.
func TestMendedStreams(t *testing.T) {
	const (
		role    = `{"index":0,"delta":{"role":"assistant"}}`
		spoken  = `{"index":0,"delta":{"role":"assistant","content":"x"}}`
		stopped = `{"index":0,"delta":{},"finish_reason":"stop"}`
		called  = `{"index":0,"delta":{},"finish_reason":"tool_calls"}`
		done    = "[DONE]"
	)
	calls := func(calls string) string { return chunkOf(`{"index":0,"delta":{"tool_calls":[`+calls+`]}}`, "") }
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{
			"what is OpenAI's stays",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}`), chunkOf(called, ""), done},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}`), chunkOf(called, "")},
		},
		{
			"a call that never has arguments",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f"}}`), chunkOf(called, ""), done},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f"}}`), chunkOf(`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"finish_reason":"tool_calls"}`, "")},
		},
		{
			"finish reasons of other servers",
			[]string{chunkOf(role, ""), chunkOf(`{"index":0,"delta":{"content":"a"},"finish_reason":""}`, ""), chunkOf(`{"index":0,"delta":{},"finish_reason":"MAX_TOKENS"}`, ""), done},
			[]string{chunkOf(role, ""), chunkOf(`{"index":0,"delta":{"content":"a"},"finish_reason":null}`, ""), chunkOf(`{"index":0,"delta":{},"finish_reason":"length"}`, "")},
		},
		{
			"a first chunk without the role",
			[]string{chunkOf(`{"index":0,"delta":{"content":"a"}}`, ""), chunkOf(`{"index":0,"delta":{"content":"b"}}`, ""), chunkOf(stopped, "")},
			[]string{chunkOf(`{"index":0,"delta":{"content":"a","role":"assistant"}}`, ""), chunkOf(`{"index":0,"delta":{"content":"b"}}`, ""), chunkOf(stopped, "")},
		},
		{
			"a tool call without a type",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","function":{"name":"f"}}`), calls(`{"index":0,"function":{"arguments":"{}"}}`), chunkOf(called, "")},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","function":{"name":"f"},"type":"function"}`), calls(`{"index":0,"function":{"arguments":"{}"}}`), chunkOf(called, "")},
		},
		{
			"tool calls that are not counted from 0",
			[]string{chunkOf(role, ""), calls(`{"index":1,"id":"a","type":"function"}`), calls(`{"index":3,"id":"b","type":"function"}`), calls(`{"index":1,"function":{"arguments":"{}"}}`), chunkOf(called, "")},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function"}`), calls(`{"index":1,"id":"b","type":"function"}`), calls(`{"index":0,"function":{"arguments":"{}"}}`), chunkOf(called, "")},
		},
		{
			"a tool call with the index -1",
			[]string{chunkOf(role, ""), calls(`{"index":-1,"id":"a","type":"function"}`), calls(`{"index":-1}`), chunkOf(called, "")},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function"}`), calls(`{"index":0}`), chunkOf(called, "")},
		},
		{
			"two tool calls with one index",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}`), calls(`{"index":0,"id":"b","type":"function","function":{"name":"g"}}`), calls(`{"index":0,"function":{"arguments":"{}"}}`), chunkOf(called, "")},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}`), calls(`{"index":1,"id":"b","type":"function","function":{"name":"g"}}`), calls(`{"index":1,"function":{"arguments":"{}"}}`), chunkOf(called, "")},
		},
		{
			"a tool call with its labels in every part",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{"}}`), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"}"}}`), calls(`{"index":0,"id":"b","function":{"name":""}}`), chunkOf(called, "")},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{"}}`), calls(`{"index":0,"type":"function","function":{"arguments":"}"}}`), calls(`{"index":0,"function":{"name":""}}`), chunkOf(called, "")},
		},
		{
			"a tool call whose name grows",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"read"}}`), calls(`{"index":0,"function":{"name":"read_file"}}`), calls(`{"index":0,"function":{"name":"s","arguments":"{}"}}`), chunkOf(called, "")},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"read"}}`), calls(`{"index":0,"function":{"name":"_file"}}`), calls(`{"index":0,"function":{"name":"s","arguments":"{}"}}`), chunkOf(called, "")},
		},
		{
			"arguments that are no strings",
			[]string{chunkOf(role, ""), calls(`{"index":"0","id":"a","type":"function","function":{"name":"f","arguments":null}}, {"index":"1","id":"b","type":"function","function":{"name":"g","arguments":{"x": 1}}}`), chunkOf(called, "")},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}},{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}`), chunkOf(`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"finish_reason":"tool_calls"}`, "")},
		},
		{
			"calls without arguments",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), calls(`{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":null}}`), calls(`{"index":2,"id":"c","type":"custom","custom":{"name":"h","input":""}}`), chunkOf(called, ""), done},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), calls(`{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}`), calls(`{"index":2,"id":"c","type":"custom","custom":{"name":"h","input":""}}`),
				chunkOf(`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}},{"index":1,"function":{"arguments":"{}"}}]},"finish_reason":"tool_calls"}`, "")},
		},
		{
			"a call without arguments in the last chunk, and no finish reason",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), done},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), chunkOf(`{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"finish_reason":"tool_calls","index":0}`, "")},
		},
		{
			"a call without arguments before a last chunk without delta",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), chunkOf(`{"index":0,"delta":null,"finish_reason":"tool_calls"}`, ""), done},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), chunkOf(`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"finish_reason":"tool_calls"}`, "")},
		},
		{
			"a call that is cut before its arguments",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), chunkOf(`{"index":0,"delta":{},"finish_reason":"length"}`, ""), done},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), chunkOf(`{"index":0,"delta":{},"finish_reason":"length"}`, "")},
		},
		{
			"a call without arguments in the chunk that finishes",
			[]string{chunkOf(role, ""), chunkOf(`{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":"tool_calls"}`, ""), done},
			[]string{chunkOf(role, ""), chunkOf(`{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}},{"index":0,"function":{"arguments":"{}"}}]},"finish_reason":"tool_calls"}`, "")},
		},
		{
			"what was a function call before tools",
			[]string{chunkOf(role, ""), chunkOf(`{"index":0,"delta":{"function_call":{"name":"f","arguments":{"x":1}}}}`, ""), chunkOf(stopped, "")},
			[]string{chunkOf(role, ""), chunkOf(`{"index":0,"delta":{"function_call":{"name":"f","arguments":"{\"x\":1}"}}}`, ""), chunkOf(stopped, "")},
		},
		{
			"an end without a finish reason",
			[]string{chunkOf(spoken, `,"usage":null`), chunkOf("", `,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}`), done},
			[]string{chunkOf(spoken, ""), chunkOf("", `,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}`), chunkOf(`{"delta":{},"finish_reason":"stop","index":0}`, "")},
		},
		{
			"an end of tool calls without a finish reason",
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function"}`), done},
			[]string{chunkOf(role, ""), calls(`{"index":0,"id":"a","type":"function"}`), chunkOf(`{"delta":{},"finish_reason":"tool_calls","index":0}`, "")},
		},
		{
			"an end of which one choice has a finish reason",
			[]string{chunkOf(role+`,{"index":1,"delta":{"role":"assistant"}}`, ""), chunkOf(stopped, ""), done},
			[]string{chunkOf(role+`,{"index":1,"delta":{"role":"assistant"}}`, ""), chunkOf(stopped, ""), chunkOf(`{"delta":{},"finish_reason":"stop","index":1}`, "")},
		},
		{
			"an empty choice behind the finish",
			[]string{chunkOf(role, ""), chunkOf(stopped, ""), chunkOf(`{"index":0,"delta":{"content":""},"finish_reason":null}`, ""), chunkOf(`{"index":0,"delta":{"content":""},"finish_reason":null}`, `,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}`), done},
			[]string{chunkOf(role, ""), chunkOf(stopped, ""), chunkOf("", `,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}`)},
		},
		{
			"a finish that is repeated",
			[]string{chunkOf(role, ""), chunkOf(stopped, ""), chunkOf(stopped, ""), chunkOf(stopped, `,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}`), done},
			[]string{chunkOf(role, ""), chunkOf(stopped, ""), chunkOf("", `,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}`)},
		},
		{
			"an id that changes or is missing",
			[]string{chunkOf(role, ""), strings.Replace(chunkOf(stopped, ""), `"c"`, `"d"`, 1), `{"id":"","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, done},
			[]string{chunkOf(role, ""), chunkOf(stopped, ""), `{"id":"c","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStream(t.Context(), io.NopCloser(strings.NewReader("data: "+strings.Join(tc.in, "\n\ndata: ")+"\n\n")))
			var got []string
			for {
				c, err := s.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(c.Raw))
				if f, _ := provider.ParseChunk(c.Raw); f.Choices != c.Choices || f.FinishReason != c.FinishReason {
					t.Errorf("the facts %+v are not of %s", c.Facts, c.Raw)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tc.want, "\n     "))
			}
			if s.Skipped() != 0 {
				t.Errorf("%d chunks were counted as skipped", s.Skipped())
			}
		})
	}
}

func TestMendedCompletions(t *testing.T) {
	for _, tc := range []struct{ name, in, finish, body string }{
		{"no reason", `{"message":{"content":"a"}}`, "stop", `{"message":{"content":"a"},"finish_reason":"stop"}`},
		{"an empty reason", `{"finish_reason":"","message":{"content":"a"}}`, "stop", `{"finish_reason":"stop","message":{"content":"a"}}`},
		{
			"tool calls without reason and type",
			`{"finish_reason":null,"message":{"tool_calls":[{"id":"a","function":{"name":"f"}}]}}`, "tool_calls",
			`{"finish_reason":"tool_calls","message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"},"type":"function"}]}}`,
		},
		{
			"a finish reason that is no text",
			`{"finish_reason":7,"message":{"content":"a"}}`, "stop",
			`{"finish_reason":"stop","message":{"content":"a"}}`,
		},
		{
			"arguments that are no strings",
			`{"finish_reason":"tool_calls","message":{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":{"x":1}}}, {"id":"b","type":"function","function":{"name":"f","arguments":null}},{"id":"c","type":"function","function":{"name":"f","arguments":""}}]}}`, "tool_calls",
			`{"finish_reason":"tool_calls","message":{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}}`,
		},
		{
			"a custom tool's input, and a function call",
			`{"finish_reason":"stop","message":{"function_call":{"name":"f","arguments":{}},"tool_calls":[ {"id":"a","type":"custom","custom":{"name":"f","input":""}} ]}}`, "stop",
			`{"finish_reason":"stop","message":{"function_call":{"name":"f","arguments":"{}"},"tool_calls":[ {"id":"a","type":"custom","custom":{"name":"f","input":""}} ]}}`,
		},
		{"what is OpenAI's stays", `{"finish_reason":"length","message":{"content":""}}`, "length", `{"finish_reason":"length","message":{"content":""}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(http.StatusOK, http.Header{"Content-Type": {"application/json"}}, []byte(`{"id":"c","object":"chat.completion","choices":[`+tc.in+`]}`), providertest.Whole)
			got, err := newProvider(t, replay.URL).Complete(t.Context(), &provider.Request{Body: []byte(`{}`)})
			if err != nil {
				t.Fatal(err)
			}
			if want := `{"id":"c","object":"chat.completion","choices":[` + tc.body + `]}`; string(got.Body) != want || got.FinishReason != tc.finish {
				t.Errorf("finish reason %q\n got %s\nwant %s", got.FinishReason, got.Body, want)
			}
		})
	}
}

// TestCallsOfADocument: a server that does not stream is heard as one that does,
// and two of its calls stay two even if they have one id.
func TestCallsOfADocument(t *testing.T) {
	const call = `{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}`
	s, err := openStream(t.Context(), &http.Response{Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(
		`{"id":"c","object":"chat.completion","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","tool_calls":[` + call + `,` + call + `]}}]}`))}, new(provider.Request))
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	if got := gjson.GetBytes(c.Raw, "choices.0.delta.tool_calls.#.index").Raw; got != "[0,1]" {
		t.Errorf("the calls have the indexes %s: %s", got, c.Raw)
	}
}

func TestMadeUpIDs(t *testing.T) {
	const stopped = `{"choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}`
	s := newStream(t.Context(), io.NopCloser(strings.NewReader("data: "+stopped+"\n\ndata: "+stopped[:len(stopped)-1]+`,"id":""}`+"\n\n")))
	ids := make(map[string]bool)
	for {
		c, err := s.Next()
		if err != nil {
			break
		}
		ids[gjson.GetBytes(c.Raw, "id").Str] = true
	}
	if len(ids) != 1 || ids[""] {
		t.Errorf("the chunks of an answer have the ids %v", ids)
	}
	c, err := completion([]byte(`{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}`))
	if err != nil || gjson.GetBytes(c.Body, "id").Str == "" {
		t.Errorf("an answer has no id: %v, %v", c, err)
	}
}
