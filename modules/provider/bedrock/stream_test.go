package bedrock

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// streamed is an answer of ConverseStream and its content.
type streamed struct {
	name   string
	events []eventstream.Message
	want   providertest.Expected
}

// finished is the index of the event that finishes the answer.
func (s streamed) finished() int {
	for i, m := range s.events {
		if m.Headers.Get(":event-type").String() == "messageStop" {
			return i
		}
	}
	return len(s.events)
}

var (
	begun   = event("messageStart", `{"p":"abcdefghijkl","role":"assistant"}`)
	ended   = event("messageStop", `{"p":"abc","stopReason":"end_turn"}`)
	counted = event("metadata", `{"metrics":{"latencyMs":391},"p":"abcdef","usage":{"inputTokens":13,"outputTokens":82,"serverToolUsage":{},"totalTokens":95}}`)
)

// streamOf reads a body as a model's answer.
func streamOf(t *testing.T, body []byte) *stream {
	return newStream(t.Context(), &http.Response{Body: io.NopCloser(bytes.NewReader(body))}, "m", nil)
}

// The answers have the form of real ones, including the padding.
var answers = []streamed{
	{
		name: "text",
		events: []eventstream.Message{
			begun,
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":""},"p":"abcdef"}`),
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Grüße, \"wörld\"\n"},"p":"abcdef"}`),
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":" ✓"},"p":"abc"}`),
			event("contentBlockStop", `{"contentBlockIndex":0,"p":"a"}`),
			ended, counted,
		},
		want: providertest.Expected{Text: "Grüße, \"wörld\"\n ✓", Finish: "stop", Usage: &providertest.Usage{Prompt: 13, Completion: 82, Total: 95}},
	},
	{
		name: "reasoning",
		events: []eventstream.Message{
			begun,
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"They say "}},"p":"a"}`),
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hello."}},"p":"a"}`),
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":""}},"p":"a"}`),
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}},"p":"a"}`),
			event("contentBlockStop", `{"contentBlockIndex":0,"p":"a"}`),
			event("contentBlockDelta", `{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"c2VhbGVk"}},"p":"a"}`),
			event("contentBlockStop", `{"contentBlockIndex":1}`),
			event("contentBlockDelta", `{"contentBlockIndex":2,"delta":{"text":"Hello!"},"p":"a"}`),
			event("contentBlockStop", `{"contentBlockIndex":2}`),
			event("messageStop", `{"stopReason":"max_tokens"}`),
			event("metadata", `{"usage":{"inputTokens":2,"outputTokens":74,"cacheReadInputTokens":1000,"cacheWriteInputTokens":300,"totalTokens":1376}}`),
		},
		want: providertest.Expected{Text: "Hello!", Reasoning: "They say hello.", Finish: "length", Usage: &providertest.Usage{Prompt: 1302, Completion: 74, Total: 1376, CacheHit: 1000, CacheWrite: 300}},
	},
	{
		name: "tools",
		events: []eventstream.Message{
			begun,
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"I look."},"p":"a"}`),
			event("contentBlockStop", `{"contentBlockIndex":0}`),
			event("contentBlockStart", `{"contentBlockIndex":1,"p":"a","start":{"toolUse":{"name":"get_capital","toolUseId":"tooluse_1"}}}`),
			event("contentBlockDelta", `{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"country\":"}},"p":"a"}`),
			event("contentBlockDelta", `{"contentBlockIndex":1,"delta":{"toolUse":{"input":"\"France\"}"}},"p":"a"}`),
			event("contentBlockStop", `{"contentBlockIndex":1}`),
			event("contentBlockStart", `{"contentBlockIndex":2,"start":{"toolUse":{"name":"now","toolUseId":"tooluse_2"}}}`),
			event("contentBlockDelta", `{"contentBlockIndex":2,"delta":{"toolUse":{"input":""}}}`),
			event("contentBlockStop", `{"contentBlockIndex":2}`),
			event("messageStop", `{"stopReason":"tool_use"}`),
			counted,
		},
		want: providertest.Expected{
			Text: "I look.", Finish: "tool_calls", Usage: &providertest.Usage{Prompt: 13, Completion: 82, Total: 95},
			ToolCalls: []providertest.ToolCall{{ID: "tooluse_1", Name: "get_capital", Arguments: `{"country":"France"}`}, {ID: "tooluse_2", Name: "now", Arguments: "{}"}},
		},
	},
	{
		name: "calls side by side of a model that says its turn has ended",
		events: []eventstream.Message{
			event("contentBlockStart", `{"contentBlockIndex":0,"start":{"toolUse":{"name":"a","toolUseId":"1"}}}`),
			event("contentBlockStart", `{"contentBlockIndex":7,"start":{"toolUse":{"name":"b","toolUseId":"2"}}}`),
			event("contentBlockDelta", `{"contentBlockIndex":7,"delta":{"toolUse":{"input":"{\"b\":2}"}}}`),
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"a\":1}"}}}`),
			ended,
		},
		want: providertest.Expected{Finish: "tool_calls", ToolCalls: []providertest.ToolCall{{ID: "1", Name: "a", Arguments: `{"a":1}`}, {ID: "2", Name: "b", Arguments: `{"b":2}`}}},
	},
	{
		name: "usage first, filtered, twice finished",
		events: []eventstream.Message{
			counted,
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"No."}}`),
			event("messageStop", `{"stopReason":"content_filtered"}`),
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"more"}}`),
			ended,
		},
		want: providertest.Expected{Text: "No.", Finish: "content_filter", Usage: &providertest.Usage{Prompt: 13, Completion: 82, Total: 95}},
	},
}

var streamHeader = http.Header{"Content-Type": {"application/vnd.amazon.eventstream"}}

func TestStream(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for _, a := range answers {
		t.Run(strings.ReplaceAll(a.name, " ", "_"), func(t *testing.T) {
			rec := providertest.Recording{Expected: &a.want}
			whole := encoded(t, a.events...)
			for _, manner := range [...]providertest.Manner{providertest.Whole, providertest.Bytes} {
				replay.Answer(200, streamHeader, whole, manner)
				rec.Check(t, providertest.Stream(t.Context(), t, p))
			}
			for _, typ := range [...]string{"", "text/event-stream", "application/json"} {
				replay.Answer(200, http.Header{"Content-Type": {typ}}, whole, providertest.Whole)
				rec.Check(t, providertest.Stream(t.Context(), t, p))
			}
		})
	}
}

// TestStreamCut cuts answers between events and within them.
func TestStreamCut(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for _, a := range answers {
		t.Run(strings.ReplaceAll(a.name, " ", "_"), func(t *testing.T) {
			for n := range a.events {
				before := encoded(t, a.events[:n]...)
				next := encoded(t, a.events[n])
				finished := n > a.finished()
				for _, at := range [...]int{0, 1, preludeSize, len(next) / 2, len(next) - 1} {
					for _, manner := range [...]providertest.Manner{providertest.Whole, providertest.Reset} {
						replay.Answer(200, streamHeader, append(bytes.Clone(before), next[:at]...), manner)
						got := providertest.Stream(t.Context(), t, p)
						if !strings.HasPrefix(a.want.Text, got.Text) {
							t.Errorf("event %d at %d: %q is no beginning of %q", n, at, got.Text, a.want.Text)
						}
						switch {
						case finished && (got.Err != nil || got.Finish != a.want.Finish):
							t.Errorf("event %d at %d: %q, %v although it was finished", n, at, got.Finish, got.Err)
						case !finished && !errors.Is(got.Err, provider.ErrCut):
							t.Errorf("event %d at %d: ended with %v, want ErrCut", n, at, got.Err)
						}
					}
				}
			}
		})
	}
}

func TestStreamFailures(t *testing.T) {
	const text = `{"contentBlockIndex":0,"delta":{"text":"hi"}}`
	damaged := encoded(t, event("contentBlockDelta", text))
	damaged[len(damaged)-6]++
	for _, tc := range []struct {
		name   string
		tail   []byte
		reason provider.Reason
	}{
		{"throttled", encoded(t, exception("throttlingException", `{"message":"Too many tokens, please wait before trying again."}`)), provider.ReasonRateLimited},
		{"unavailable", encoded(t, exception("serviceUnavailableException", `{"message":"x"}`)), provider.ReasonUnavailable},
		{"internal", encoded(t, exception("internalServerException", `{"message":"x"}`)), provider.ReasonUnavailable},
		{"model", encoded(t, exception("modelStreamErrorException", `{"message":"x","originalStatusCode":400,"originalMessage":"y"}`)), provider.ReasonUnavailable},
		{"timeout", encoded(t, exception("modelTimeoutException", `{"message":"x"}`)), provider.ReasonUnavailable},
		{"invalid", encoded(t, exception("validationException", `{"message":"x"}`)), provider.ReasonInvalid},
		{"too long", encoded(t, exception("validationException", `{"message":"Input is too long for requested model."}`)), provider.ReasonContextLength},
		{"unknown exception", encoded(t, exception("newException", `not JSON`)), provider.ReasonUnavailable},
		{"damaged", damaged, provider.ReasonBadAnswer},
		{"no message", []byte(strings.Repeat("<html>", 10)), provider.ReasonBadAnswer},
		{"malformed tool call", encoded(t, event("messageStop", `{"stopReason":"malformed_tool_use"}`)), provider.ReasonBadAnswer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			p := newProvider(t, replay.URL)
			for name, stream := range map[string][]byte{
				"first":  tc.tail,
				"midway": append(encoded(t, begun, event("contentBlockDelta", text)), tc.tail...),
			} {
				replay.Answer(200, streamHeader, stream, providertest.Whole)
				got := providertest.Stream(t.Context(), t, p)
				if e, ok := errors.AsType[*provider.Error](got.Err); !ok || e.Reason != tc.reason || e.Overloaded != (tc.name == "unavailable") {
					t.Errorf("%s: ended with %v, want reason %d", name, got.Err, tc.reason)
				}
				if got.Finish != "" || name == "midway" && got.Text != "hi" {
					t.Errorf("%s: text %q, finish %q", name, got.Text, got.Finish)
				}
			}
			replay.Answer(200, streamHeader, append(encoded(t, event("contentBlockDelta", text), ended), tc.tail...), providertest.Whole)
			if got := providertest.Stream(t.Context(), t, p); got.Err != nil || got.Text != "hi" || got.Finish != "stop" {
				t.Errorf("after the finish: %q, %q, %v", got.Text, got.Finish, got.Err)
			}
		})
	}
	t.Run("error of the transport", func(t *testing.T) {
		var m eventstream.Message
		m.Headers.Set(":message-type", eventstream.StringValue("error"))
		m.Headers.Set(":error-code", eventstream.StringValue("ThrottlingException"))
		m.Headers.Set(":error-message", eventstream.StringValue(`slow "down"`))
		s := streamOf(t, encoded(t, m))
		_, err := s.Next()
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonRateLimited || e.Message != `slow "down"` {
			t.Errorf("got %v", err)
		}
	})
}

func TestStreamSkips(t *testing.T) {
	other := eventstream.Message{Payload: []byte("x")}
	other.Headers.Set(":message-type", eventstream.StringValue("initial-response"))
	body := encoded(
		t, begun, other,
		event("newKindOfEvent", `not JSON`), // ignored
		event("contentBlockStart", `{"contentBlockIndex":0,"start":{"image":{"format":"png"}}}`), // ignored
		event("contentBlockDelta", ``),   // counted
		event("contentBlockDelta", `[]`), // counted
		event("contentBlockDelta", `{"contentBlockIndex":9,"delta":{"toolUse":{"input":"{"}}}`), // counted: of no call
		event("contentBlockDelta", ` {"contentBlockIndex":0,"delta":{"text":"hi"}}`),
		event("contentBlockStop", `{"contentBlockIndex":5}`),
		ended,
	)
	s := streamOf(t, body)
	var text string
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text += c.Text
	}
	if text != "hi" || s.Skipped() != 3 {
		t.Errorf("text %q, %d skipped, want 4", text, s.Skipped())
	}
}

// TestStreamHalves has an emoji of which each half comes in an event of its own.
func TestStreamHalves(t *testing.T) {
	s := streamOf(t, encoded(t,
		event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"a \ud83d"},"p":"ab"}`),
		event("contentBlockDelta", `{"contentBlockIndex":1,"delta":{"text":"b"},"p":"abc"}`),
		event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"\ude00"},"p":"a"}`),
		ended,
	))
	var text string
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text += c.Text
	}
	if text != "a b😀" {
		t.Errorf("got %q", text)
	}
}

// TestStreamThoughts looks for the thoughts that the model wants back.
func TestStreamThoughts(t *testing.T) {
	events := append([]eventstream.Message{}, answers[1].events[:8]...)
	for _, use := range [...]string{`{"contentBlockIndex":2,"start":{"toolUse":{"name":"f","toolUseId":"1"}}}`, `{"contentBlockIndex":3,"start":{"toolUse":{"name":"g","toolUseId":"2"}}}`} {
		events = append(events, event("contentBlockStart", use))
	}
	s := streamOf(t, encoded(t, events...))
	var extras []string
	for {
		c, err := s.Next()
		if err != nil {
			break
		}
		if call := gjson.GetBytes(c.Raw, "choices.0.delta.tool_calls.0"); call.Exists() {
			extras = append(extras, call.Get("extra_content").Raw)
		}
	}
	const want = `{"bedrock":{"reasoning":[{"reasoningText":{"text":"They say hello.","signature":"c2ln"}},{"redactedContent":"c2VhbGVk"}]}}`
	if len(extras) != 2 || extras[0] != want || extras[1] != "" {
		t.Errorf("got %q", extras)
	}
	c, err := readAnswer([]byte(`{"output":{"message":{"content":[{"reasoningContent":{"reasoningText":{"text":"They say hello.","signature":"c2ln"}}},{"reasoningContent":{"redactedContent":"c2VhbGVk"}},{"toolUse":{"toolUseId":"1","name":"f","input":{}}}]}},"stopReason":"tool_use"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := gjson.GetBytes(c.completion("m", nil).Body, "choices.0.message.tool_calls.0.extra_content").Raw; got != want {
		t.Errorf("whole: got %s", got)
	}
}

// TestStreamOfOneDocument has a server that does not stream.
func TestStreamOfOneDocument(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for _, rec := range providertest.Load(t, "testdata", "bedrock") {
		if rec.Kind != "plain" {
			continue
		}
		t.Run(rec.Name, func(t *testing.T) {
			replay.Play(rec, providertest.Bytes)
			a := providertest.Stream(t.Context(), t, p)
			rec.Check(t, a)
			if a.Chunks != 2 {
				t.Errorf("%d chunks, want the answer's and the usage's", a.Chunks)
			}
		})
	}
	replay.Answer(200, streamHeader, []byte(`{"message":"Too many requests","__type":"ThrottlingException"}`), providertest.Whole)
	a := providertest.Stream(t.Context(), t, p)
	if e, ok := errors.AsType[*provider.Error](a.Err); !ok || e.Reason != provider.ReasonRateLimited {
		t.Errorf("ended with %v, want that it was too much", a.Err)
	}
}

// FuzzStream sends events with any payload and looks for crashes and chunks
// that are not JSON.
func FuzzStream(f *testing.F) {
	for _, a := range answers {
		for i := 0; i+1 < len(a.events); i++ {
			one, two := a.events[i], a.events[i+1]
			f.Add(one.Headers.Get(":event-type").String(), string(one.Payload), two.Headers.Get(":event-type").String(), string(two.Payload))
		}
	}
	f.Fuzz(func(t *testing.T, type1, payload1, type2, payload2 string) {
		if max(len(type1), len(type2)) > 1<<10 || max(len(payload1), len(payload2)) > upstream.MaxEvent {
			t.Skip()
		}
		body := encoded(t, event(type1, payload1), event(type2, payload2))
		s := streamOf(t, body)
		finished := false
		for {
			c, err := s.Next()
			if err == nil {
				if !gjson.ValidBytes(c.Raw) || bytes.ContainsAny(c.Raw, "\r\n") {
					t.Fatalf("a chunk is not JSON on one line: %q", c.Raw)
				}
				if u := c.Usage; u != nil && (u.Input < 0 || u.Output < 0 || u.Cached > u.Input || u.Total() < 0) {
					t.Fatalf("usage %+v", *u)
				}
				finished = finished || c.FinishReason != ""
				continue
			}
			if finished != errors.Is(err, io.EOF) {
				t.Fatalf("finished is %v, ended with %v", finished, err)
			}
			return
		}
	})
}
