package provider

import (
	"errors"
	"strings"
	"testing"
)

// good stands for the reason of a failure where there must be none.
const good Reason = -1

func TestJudge(t *testing.T) {
	const (
		role = `{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`
		text = `{"choices":[{"index":0,"delta":{"content":"Hel"}}]}`
		stop = `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
		used = `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`
	)
	choice := func(rest string) string { return `{"choices":[{"index":0,"delta":{},` + rest + `}]}` }
	for _, tc := range []struct {
		name    string
		choices int
		chunks  []string
		reason  Reason // good if it is an answer
	}{
		{"text and stop", 1, []string{role, text, stop, used}, good},
		{"text without a finish reason", 1, []string{role, text}, good},
		{"a finish reason alone", 1, []string{stop}, good},
		{"length without text", 1, []string{choice(`"finish_reason":"length"`)}, good},
		{"a content filter's finish", 1, []string{choice(`"finish_reason":"content_filter"`)}, good},
		{"a tool call", 1, []string{`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}}]}`}, good},
		{"a refusal", 1, []string{`{"choices":[{"delta":{"refusal":"no"}}]}`}, good},
		{"reasoning", 1, []string{`{"choices":[{"delta":{"reasoning_content":"hm"},"finish_reason":"length"}]}`}, good},
		{"an error that is null or empty", 1, []string{choice(`"error":null,"finish_reason":"stop"`), choice(`"error":{}`), choice(`"error":""`)}, good},
		{"an error behind the finish reason", 1, []string{text, stop, choice(`"error":{"message":"x"}`)}, good},

		{"nothing", 1, nil, ReasonBadAnswer},
		{"a role", 1, []string{role}, ReasonBadAnswer},
		{"a usage", 1, []string{role, used}, ReasonBadAnswer},
		{"finish reason error", 1, []string{text, choice(`"finish_reason":"error"`)}, ReasonUnavailable},
		{"finish reason abort in capitals", 1, []string{text, choice(`"finish_reason":"ABORT"`)}, ReasonUnavailable},
		{"SGLang's finish reason", 1, []string{text, choice(`"finish_reason":{"type":"abort","message":"x"}`)}, ReasonUnavailable},
		{"DeepSeek's finish reason", 1, []string{text, choice(`"finish_reason":"insufficient_system_resource"`)}, ReasonUnavailable},
		{"an error beside a good finish reason", 1, []string{text, choice(`"finish_reason":"stop","error":{"code":502,"message":"x"}`)}, ReasonUnavailable},
		{"an error of words", 1, []string{choice(`"error":"overloaded"`)}, ReasonUnavailable},
		{"an error in the delta", 1, []string{`{"choices":[{"index":0,"delta":{"error":{"message":"x"}}}]}`}, ReasonUnavailable},
		{"an error that blames the request", 1, []string{choice(`"error":{"code":400,"message":"x"}`)}, ReasonUnavailable},
		{"an error that asks for patience", 1, []string{choice(`"error":{"code":429,"message":"x"}`)}, ReasonRateLimited},
		{"the second of two choices fails", 2, []string{text, stop, `{"choices":[{"index":1,"delta":{},"finish_reason":"error"}]}`}, ReasonUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := Judge{Choices: tc.choices}
			var err error
			for _, raw := range tc.chunks {
				f, ok := ParseChunk([]byte(raw))
				if !ok {
					t.Fatalf("not a chunk: %s", raw)
				}
				if err = j.Hear(&f); err != nil {
					break
				}
			}
			if err == nil {
				err = j.End()
			}
			wantReason(t, err, tc.reason)
		})
	}
}

func TestJudgeDocument(t *testing.T) {
	const one = `{"index":0,"message":{"content":"a"},"finish_reason":"stop"}`
	for _, tc := range []struct {
		name    string
		choices int
		in      string
		reason  Reason
	}{
		{"an answer", 1, one, good},
		{"no choice", 1, ``, ReasonBadAnswer},
		{"an empty message", 1, `{"message":{"content":""}}`, ReasonBadAnswer},
		{"an empty message with a finish reason", 1, `{"message":{"content":""},"finish_reason":"stop"}`, good},
		{"finish reason error", 1, `{"message":{"content":"a"},"finish_reason":"error"}`, ReasonUnavailable},
		{"an error in the message", 1, `{"message":{"content":"a","error":{"message":"x"}},"finish_reason":"stop"}`, ReasonUnavailable},
		{"as many choices as asked for", 2, one + "," + one, good},
		{"fewer choices than asked for", 3, one + "," + one, good},
		{"more choices than asked for", 2, strings.Repeat(one+",", 2) + one, ReasonBadAnswer},
		{"one of two choices fails", 2, one + `,{"index":1,"message":{"content":""},"finish_reason":"error"}`, ReasonUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, ok := ParseCompletion([]byte(`{"choices":[` + tc.in + `]}`))
			if !ok {
				t.Fatal("not a document")
			}
			wantReason(t, JudgeDocument(&f, tc.choices), tc.reason)
		})
	}
}

// wantReason checks that an error has a reason, or that there is no error.
func wantReason(t *testing.T, err error, want Reason) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	switch {
	case want == good && err != nil:
		t.Errorf("refused: %v", err)
	case want != good && (!ok || e.Reason != want):
		t.Errorf("got %v, want the reason %d", err, want)
	}
}
