package gemini

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// said is a document in which the model says something, and ended one that also
// ends the answer.
func said(parts string) string { return `{"candidates":[{"content":{"parts":[` + parts + `]}}]}` }

func ended(parts, reason string) string {
	return `{"candidates":[{"content":{"parts":[` + parts + `]},"finishReason":"` + reason + `"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}`
}

// events puts documents into a stream of events.
func events(docs ...string) string {
	var b strings.Builder
	for _, d := range docs {
		b.WriteString("data: " + d + "\r\n\r\n")
	}
	return b.String()
}

const hi = `{"text":"hi"}`

// play asks for a stream and for a whole answer; the server answers both with
// body.
func play(t *testing.T, body string) (stream, whole providertest.Answer) {
	t.Helper()
	replay := providertest.NewReplay(t)
	replay.Answer(200, http.Header{"Content-Type": {"text/plain"}}, []byte(body), providertest.Whole)
	p := newProvider(t, replay.URL)
	return providertest.Stream(t.Context(), t, p), providertest.Complete(t.Context(), t, p)
}

func TestAnswer(t *testing.T) {
	call := func(name, args string) string {
		return `{"functionCall":{"name":"` + name + `","args":` + args + `}}`
	}
	for _, tc := range []struct {
		name, body              string
		text, reasoning, finish string
		calls                   []string
	}{
		{name: "events", body: events(said(hi), ended(`{"text":" there"}`, "STOP")), text: "hi there", finish: "stop"},
		{name: "one_document", body: ended(hi, "STOP"), text: "hi", finish: "stop"},
		{name: "list_of_documents", body: "[" + said(hi) + ",\n" + ended(hi, "STOP") + "]", text: "hihi", finish: "stop"},
		{name: "nothing_said", body: events(ended("", "STOP")), finish: "stop"},
		{name: "no_content", body: events(`{"candidates":[{"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}`), finish: "length"},
		{name: "thoughts", body: events(said(`{"text":"hm","thought":true}`), ended(hi, "STOP")), text: "hi", reasoning: "hm", finish: "stop"},
		{name: "too_long", body: events(ended(hi, "MAX_TOKENS")), text: "hi", finish: "length"},
		{name: "safety", body: events(said(hi), ended("", "SAFETY")), text: "hi", finish: "content_filter"},
		{name: "recitation", body: events(ended("", "RECITATION")), finish: "content_filter"},
		{name: "prompt_blocked_after_text", body: events(said(hi), `{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}`), text: "hi", finish: "content_filter"},
		{name: "unknown_reason_behind_text", body: events(ended(hi, "OTHER")), text: "hi", finish: "stop"},
		{
			name: "calls_side_by_side", body: events(said(call("f", `{ "a" : "b" }`)+","+call("g", `{}`)), ended(call("f", `null`), "STOP")),
			finish: "tool_calls", calls: []string{`f{"a":"b"}`, "g{}", "f{}"},
		},
		{
			name: "a_call_in_parts", finish: "tool_calls", calls: []string{`f{"list":[{"a":"one two"},{"the b":2.50}],"ok":true,"x":null}`, `g{"a":1}`},
			body: events(
				said(`{"functionCall":{"name":"f","willContinue":true}}`),
				said(`{"functionCall":{"partialArgs":[{"jsonPath":"$.list[0].a","stringValue":"one ","willContinue":true}],"willContinue":true}}`),
				said(`{"functionCall":{"partialArgs":[{"jsonPath":"$.list[0].a","stringValue":"two"},{"jsonPath":"$.list[1]['the b']","numberValue":2.50}],"willContinue":true}}`),
				said(`{"functionCall":{"partialArgs":[{"jsonPath":"$[\"ok\"]","boolValue":true},{"jsonPath":"$.x","nullValue":"NULL_VALUE"}]}}`),
				said(`{"functionCall":{}}`),
				ended(`{"functionCall":{"name":"g","args":{"a":1},"willContinue":true}}`, "STOP")),
		},
		{name: "what_is_unknown_is_left_out", body: ": ping\r\n\r\nevent: ping\r\ndata: {}\r\n\r\n" + events(`{"usageMetadata":{"trafficType":"x"}}`, said(`{"newThing":1}`), ended(hi, "STOP")), text: "hi", finish: "stop"},
		{name: "what_is_no_json_is_skipped", body: events("hello", said(hi), "[1]", ended(hi, "STOP"), `{"candidates":`), text: "hihi", finish: "stop"},
		{name: "error_behind_the_finish", body: events(ended(hi, "STOP"), `{"error":{"code":500,"message":"x"}}`), text: "hi", finish: "stop"},
		{name: "second_finish", body: events(ended(hi, "STOP"), ended(hi, "MAX_TOKENS")), text: "hihi", finish: "stop"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stream, whole := play(t, tc.body)
			for how, a := range map[string]providertest.Answer{"stream": stream, "whole": whole} {
				if a.Err != nil {
					t.Fatalf("%s: %v", how, a.Err)
				}
				if a.Text != tc.text || a.Reasoning != tc.reasoning || a.Finish != tc.finish {
					t.Errorf("%s: %q, reasoning %q, finish %q", how, a.Text, a.Reasoning, a.Finish)
				}
				if u := a.Counted; u == nil || *u != (provider.Usage{Input: 3, Output: 2}) {
					t.Errorf("%s: usage %+v", how, u)
				}
				var calls []string
				for i, c := range a.ToolCalls {
					calls = append(calls, c.Name+c.Arguments)
					if c.ID == "" || slices.ContainsFunc(a.ToolCalls[:i], func(b providertest.ToolCall) bool { return b.ID == c.ID }) {
						t.Errorf("%s: the id %q is empty or used twice", how, c.ID)
					}
				}
				if !slices.Equal(calls, tc.calls) {
					t.Errorf("%s: calls\n got %q\nwant %q", how, calls, tc.calls)
				}
			}
		})
	}
}

func TestFailures(t *testing.T) {
	part := func(path string) string {
		return events(said(`{"functionCall":{"name":"f","willContinue":true}}`),
			said(`{"functionCall":{"partialArgs":[`+path+`],"willContinue":true}}`), ended("", "STOP"))
	}
	for _, tc := range []struct {
		name, body string
		text       string
		cut        bool // what a stream ends with, in place of reason
		reason     provider.Reason
	}{
		{name: "cut_between_events", body: events(said(hi)), text: "hi", cut: true, reason: provider.ReasonBadAnswer},
		{name: "cut_in_an_event", body: events(said(hi), ended(hi, "STOP"))[:len(events(said(hi)))+30], text: "hi", cut: true, reason: provider.ReasonBadAnswer},
		{name: "finish_not_specified", body: events(ended(hi, "FINISH_REASON_UNSPECIFIED")), text: "hi", cut: true, reason: provider.ReasonBadAnswer},
		{name: "nothing", body: "", cut: true, reason: provider.ReasonBadAnswer},
		{name: "html", body: "<html>", reason: provider.ReasonBadAnswer},
		{name: "another_document", body: `{"ok":true}`, reason: provider.ReasonBadAnswer},
		{name: "brackets", body: strings.Repeat("[", 1<<20), reason: provider.ReasonBadAnswer},
		{name: "error_with_status_200", body: `{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}`, reason: provider.ReasonRateLimited},
		{name: "error_in_a_list", body: `[{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}]`, reason: provider.ReasonUnavailable},
		{name: "error_in_mid_stream", body: events(said(hi), `{"error":{"message":"x","status":"UNAVAILABLE"}}`), text: "hi", reason: provider.ReasonUnavailable},
		{name: "error_event", body: "event: error\ndata: {}\n\n", reason: provider.ReasonUnavailable},
		{name: "error_behind_an_unfinished_list", body: "[" + said(hi) + `,{"error":{"code":500,"message":"x"}}]`, text: "hi", reason: provider.ReasonUnavailable},
		{name: "prompt_blocked", body: events(`{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":9}}`), reason: provider.ReasonContentFiltered},
		{name: "malformed_call", body: events(said(hi), ended("", "MALFORMED_FUNCTION_CALL")), text: "hi", reason: provider.ReasonBadAnswer},
		{name: "unknown_reason_and_no_text", body: events(ended("", "OTHER")), reason: provider.ReasonBadAnswer},
		{name: "picture", body: events(ended(`{"inlineData":{"mimeType":"image/png","data":"AAAA"}}`, "STOP")), reason: provider.ReasonBadAnswer},
		{name: "arguments_that_are_no_object", body: events(ended(`{"functionCall":{"name":"f","args":[1]}}`, "STOP")), reason: provider.ReasonBadAnswer},
		{name: "part_of_a_list_far_behind_its_end", body: part(`{"jsonPath":"$.a[999999999]","numberValue":1}`), reason: provider.ReasonBadAnswer},
		{name: "part_below_a_text", body: part(`{"jsonPath":"$.a","stringValue":"x"},{"jsonPath":"$.a.b","stringValue":"x"}`), reason: provider.ReasonBadAnswer},
		{name: "part_without_a_path", body: part(`{"stringValue":"x"}`), reason: provider.ReasonBadAnswer},
		{name: "part_of_a_list_at_the_top", body: part(`{"jsonPath":"$[0]","stringValue":"x"}`), reason: provider.ReasonBadAnswer},
		{name: "part_too_deep", body: part(`{"jsonPath":"$.a` + strings.Repeat("[0]", 1000) + `","stringValue":"x"}`), reason: provider.ReasonBadAnswer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stream, whole := play(t, tc.body)
			if stream.Text != tc.text || stream.Finish != "" {
				t.Errorf("text %q, finish %q", stream.Text, stream.Finish)
			}
			if tc.cut != errors.Is(stream.Err, provider.ErrCut) {
				t.Errorf("the stream ended with %v, want a cut: %v", stream.Err, tc.cut)
			}
			for how, err := range map[string]error{"stream": stream.Err, "whole": whole.Err} {
				if tc.cut && how == "stream" {
					continue
				}
				if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.reason {
					t.Errorf("%s: failed with %v, want reason %d", how, err, tc.reason)
				}
			}
		})
	}
}

func TestLongEvent(t *testing.T) {
	stream, _ := play(t, "data: "+strings.Repeat("x", upstream.MaxEvent+1))
	if e, ok := errors.AsType[*provider.Error](stream.Err); !ok || e.Reason != provider.ReasonBadAnswer {
		t.Errorf("ended with %v, want a bad answer", stream.Err)
	}
}

func TestSkipped(t *testing.T) {
	body := events("x", "[1", "[2]", "{}") + ": ping\n\n" + events(ended(hi, "STOP"))
	s := newStream(t.Context(), &http.Response{Body: io.NopCloser(strings.NewReader(body))}, "m", nil)
	for {
		if _, err := s.Next(); err != nil {
			break
		}
	}
	if s.Skipped() != 3 {
		t.Errorf("%d skipped, want 3", s.Skipped())
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want *provider.Usage
	}{
		{`{"promptTokenCount":55,"candidatesTokenCount":51,"toolUsePromptTokenCount":89,"thoughtsTokenCount":56,"totalTokenCount":251}`, &provider.Usage{Input: 144, Output: 107, Reasoning: 56}},
		{`{"promptTokenCount":9613,"candidatesTokenCount":33,"cachedContentTokenCount":9602}`, &provider.Usage{Input: 9613, Output: 33, Cached: 9602}},
		{`{"promptTokenCount":9}`, &provider.Usage{Input: 9}},
		{`{"promptTokenCount":-9,"candidatesTokenCount":1e300,"cachedContentTokenCount":7}`, &provider.Usage{Output: 1 << 40}},
		{`{"promptTokenCount":"9","candidatesTokenCount":2}`, &provider.Usage{Output: 2}},
		{`{"trafficType":"ON_DEMAND"}`, nil},
		{``, nil},
	} {
		got := usageOf(gjson.Parse(tc.in))
		if (got == nil) != (tc.want == nil) || got != nil && *got != *tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.in, got, tc.want)
		}
	}
}

// TestShape looks at the chunks themselves: their order, the model that
// answered, and the signature of a call, which comes back in the next request.
func TestShape(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	replay.Answer(200, nil, []byte(events(
		`{"candidates":[{"content":{"parts":[{"functionCall":{"id":"id1","name":"f","args":{}},"thoughtSignature":"sig+/="}]}}],"modelVersion":"gemini-3","responseId":"r1"}`,
		ended(`{"text":""}`, "STOP"))), providertest.Whole)
	ask := &provider.Request{Model: "gemini-flash-latest", Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`)}

	const call = `{"id":"id1","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"sig+/="}}}`
	s, err := p.Stream(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, want := range []string{
		`{"id":"r1","object":"chat.completion.chunk","created":0,"model":"gemini-3","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,` + call[1:] + `]},"finish_reason":null}]}`,
		`{"id":"r1","object":"chat.completion.chunk","created":0,"model":"gemini-3","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		`{"id":"r1","object":"chat.completion.chunk","created":0,"model":"gemini-3","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`,
	} {
		chunk, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		created := gjson.GetBytes(chunk.Raw, "created").Raw
		if got := strings.Replace(string(chunk.Raw), `"created":`+created, `"created":0`, 1); got != want || len(created) < 10 {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v", err)
	}

	c, err := p.Complete(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	message := gjson.GetBytes(c.Body, "choices.0.message")
	if got := message.Get("tool_calls.0").Raw; got != call || message.Get("content").Type != gjson.Null || c.Model != "gemini-3" {
		t.Errorf("got %s", c.Body)
	}
	again := &provider.Request{Model: ask.Model, Body: []byte(`{"messages":[{"role":"user","content":"hi"},` + message.Raw + `,{"role":"tool","tool_call_id":"id1","content":"1"}]}`)}
	same(t, again, `{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"functionCall":{"id":"id1","name":"f","args":{}},"thoughtSignature":"sig+/="}]},
		{"role":"user","parts":[{"functionResponse":{"id":"id1","name":"f","response":{"result":"1"}}}]}]}`)
}

// TestLeftWithinADocument: a document without a finish reason is not a whole
// answer, even if the client leaves after it was read.
func TestLeftWithinADocument(t *testing.T) {
	left := errors.New("the client went away")
	ctx, leave := context.WithCancelCause(t.Context())
	s := newStream(ctx, &http.Response{Body: io.NopCloser(strings.NewReader(said(hi)))}, "m", nil)
	if chunk, err := s.Next(); err != nil || chunk.Text == "" {
		t.Fatalf("got %+v, %v", chunk, err)
	}
	leave(left)
	if _, err := s.Next(); !errors.Is(err, left) {
		t.Errorf("ended with %v, want the cause", err)
	}
}

// FuzzStream looks for answers that break the reader, and for chunks that are
// not JSON or without an honest end.
func FuzzStream(f *testing.F) {
	f.Add([]byte(events(said(hi), ended(hi, "STOP"))))
	f.Add([]byte("[" + said(hi) + "," + ended(hi, "MAX_TOKENS") + "]"))
	f.Add([]byte(events(said(`{"functionCall":{"name":"f","willContinue":true}}`),
		said(`{"functionCall":{"partialArgs":[{"jsonPath":"$.a[0]['b']","stringValue":"x"}]}}`), ended("", "STOP"))))
	f.Add([]byte(events(`{"promptFeedback":{"blockReason":"SAFETY"}}`, `{"error":{"code":500}}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := newStream(t.Context(), &http.Response{Body: io.NopCloser(strings.NewReader(string(body)))}, "m", nil)
		finished := false
		for {
			chunk, err := s.Next()
			if err != nil {
				if errors.Is(err, io.EOF) != finished {
					t.Fatalf("ended with %v, finished %v", err, finished)
				}
				return
			}
			if !json.Valid(chunk.Raw) || strings.ContainsAny(string(chunk.Raw), "\r\n") {
				t.Fatalf("chunk %q", chunk.Raw)
			}
			finished = finished || chunk.FinishReason != ""
			for _, c := range gjson.GetBytes(chunk.Raw, "choices.0.delta.tool_calls").Array() {
				if args := c.Get("function.arguments").Str; !json.Valid([]byte(args)) || args[0] != '{' {
					t.Fatalf("arguments %q", args)
				}
			}
		}
	})
}
