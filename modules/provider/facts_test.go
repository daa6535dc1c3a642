package provider

import (
	"strings"
	"testing"
)

func TestParseChunk(t *testing.T) {
	delta := func(d string) string { return `{"choices":[{"index":0,"delta":` + d + `}]}` }
	for _, tc := range []struct {
		name, in, text string
		content        bool
		bytes          int
	}{
		{"role", delta(`{"role":"assistant","content":""}`), "", false, 0},
		{"null", delta(`{"role":"assistant","content":null,"refusal":null,"tool_calls":null}`), "", false, 0},
		{"empty members", delta(`{"content":"","tool_calls":[],"function_call":{"name":"","arguments":""},"audio":{"data":"","expires_at":0}}`), "", false, 0},
		{"text", delta(`{"content":"é\n"}`), "é\n", true, 3},
		{"refusal", delta(`{"content":null,"refusal":"no"}`), "no", true, 2},
		{"parts", delta(`{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"},{"type":"text","text":"b"}]}`), "ab", true, 4},
		{"empty parts", delta(`{"content":[{"type":"text","text":""}]}`), "", false, 0},
		{"reasoning_content", delta(`{"reasoning_content":"hm"}`), "", true, 2},
		{"reasoning", delta(`{"reasoning":"hm"}`), "", true, 2},
		{"reasoning_text", delta(`{"reasoning_text":"hm"}`), "", true, 2},
		{"reasoning twice", delta(`{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"xxxx"}]}`), "", true, 2},
		{"tool call", delta(`{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}`), "", true, 3},
		{"tool call without anything", delta(`{"tool_calls":[{"index":0,"type":"function","function":{"arguments":""}}]}`), "", false, 0},
		{"tool call with an object", delta(`{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}`), "", true, 8},
		{"function call", delta(`{"function_call":{"arguments":"{"}}`), "", true, 1},
		{"audio", delta(`{"audio":{"id":"a"}}`), "", true, 0},
		{"what is new", delta(`{"images":[{"image_url":{"url":"data:"}}]}`), "", true, 0},
		{"another choice", `{"choices":[{"index":1,"delta":{"content":"x"},"finish_reason":"stop"}]}`, "", true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, ok := ParseChunk([]byte(tc.in))
			if !ok || f.Choices == 0 || f.Text != tc.text || f.Content != tc.content || f.OutputBytes != tc.bytes || f.FinishReason != "" {
				t.Errorf("got %+v, %v", f, ok)
			}
		})
	}
}

func TestParseCompletion(t *testing.T) {
	raw := []byte(`{"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`)
	f, ok := ParseCompletion(raw)
	for i := range raw {
		raw[i] = 'x' // the buffer is reused
	}
	if !ok || f.Text != "hi" || f.Model != "m" || f.FinishReason != "stop" || *f.Usage != (Usage{Input: 1, Output: 2}) {
		t.Errorf("got %+v, %v", f, ok)
	}
	for _, s := range []string{"", "[]", "null", `"x"`, "{", `{"a":1}{}`, "{\"a\":\"\n\"}", strings.Repeat(`{"a":`, 1<<20)} {
		if _, ok := ParseCompletion([]byte(s)); ok {
			t.Errorf("%.20q is taken for an object", s)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     *Usage
	}{
		{"null", `{"usage":null}`, nil},
		{"empty", `{"usage":{}}`, nil},
		{"details", `{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}`, &Usage{Input: 10, Output: 5, Cached: 4, Reasoning: 2}},
		{"null details", `{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":null}}`, &Usage{Input: 10, Output: 5}},
		{"deepseek", `{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":8}}`, &Usage{Input: 10, Output: 5, Cached: 8}},
		{"groq", `{"x_groq":{"usage":{"prompt_tokens":10,"completion_tokens":5}}}`, &Usage{Input: 10, Output: 5}},
		{"groq twice", `{"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":1}},"usage":{"prompt_tokens":10,"completion_tokens":5}}`, &Usage{Input: 10, Output: 5}},
		{"reasoning beside the completion", `{"usage":{"prompt_tokens":12,"completion_tokens":1,"total_tokens":303,"completion_tokens_details":{"reasoning_tokens":290}}}`, &Usage{Input: 12, Output: 291, Reasoning: 290}},
		{"more cached than sent", `{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":40}}}`, &Usage{Input: 10, Output: 5, Cached: 10}},
		{"marked as an estimate", `{"usage":{"prompt_tokens":10,"completion_tokens":5,"estimated":true}}`, &Usage{Input: 10, Output: 5, Estimated: true}},
		{"nonsense", `{"usage":{"prompt_tokens":-4,"completion_tokens":1e300}}`, &Usage{Output: maxTokenCount}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, _ := ParseChunk([]byte(tc.in))
			if (f.Usage == nil) != (tc.want == nil) || f.Usage != nil && *f.Usage != *tc.want {
				t.Errorf("got %+v, want %+v", f.Usage, tc.want)
			}
		})
	}
}

func TestErrorOf(t *testing.T) {
	for _, tc := range []struct {
		in, message, code, typ string
		ok                     bool
	}{
		{`{"error":{"message":"m","code":"c","type":"t"}}`, "m", "c", "t", true},
		{`{"error":{"message":"m","code":400,"status":"INVALID_ARGUMENT"}}`, "m", "400", "INVALID_ARGUMENT", true},
		{`[{"error":{"message":"m"}}]`, "m", "", "", true},
		{`{"error":"text"}`, "text", "", "", true},
		{`{"error":"Bad Request","message":"m"}`, "m", "", "", true},
		{`{"object":"error","message":"m","type":"NotFoundError","code":404}`, "m", "404", "NotFoundError", true},
		{`{"detail":"d"}`, "d", "", "", true},
		{`{"detail":[{"loc":["body"],"msg":"field required"}]}`, "field required", "", "", true},
		{`{"message":"m"}`, "m", "", "", true},
		{`{"success":false,"errors":[{"code":7003,"message":"m"}]}`, "m", "7003", "", true},
		{`{"success":false,"result":[],"messages":[],"error":[{"code":2009,"message":"Unauthorized"}]}`, "Unauthorized", "2009", "", true},
		{`{"error":["m"]}`, "m", "", "", true},
		{`{"error":[],"choices":[]}`, "", "", "", false},
		{`{"error":{"message":"m","type":null,"code":"400","innererror":{"code":"ResponsibleAIPolicyViolation"}}}`, "m", "400", "ResponsibleAIPolicyViolation", true},
		{`{"error":{"message":"Provider returned error","metadata":{"raw":"slow down"}}}`, "Provider returned error: slow down", "", "", true},
		{`{"error":{"code":"c"}}`, "", "c", "", true},
		{`{"error":null,"choices":[]}`, "", "", "", false},
		{`{"error":{},"choices":[]}`, "", "", "", false},
		{`{"message":"m","choices":[]}`, "", "", "", false},
		{`{"message":{"role":"assistant"}}`, "", "", "", false},
		{`{}`, "", "", "", false},
		{`[]`, "", "", "", false},
		{`<html>`, "", "", "", false},
	} {
		message, code, typ, ok := ErrorOf([]byte(tc.in))
		if message != tc.message || code != tc.code || typ != tc.typ || ok != tc.ok {
			t.Errorf("%s: %q, %q, %q, %v", tc.in, message, code, typ, ok)
		}
	}
}

func TestNewErrorInStream(t *testing.T) {
	for _, tc := range []struct {
		in     string
		status int
		want   Reason
	}{
		{`{"error":{"message":"x","status_code":400,"code":"tool_use_failed"}}`, 400, ReasonInvalid},
		{`{"error":{"message":"x","code":429}}`, 429, ReasonRateLimited},
		{`{"error":{"message":"x","code":"502"}}`, 502, ReasonUnavailable},
		{`{"error":{"message":"x","code":"rate_limit_exceeded","type":"invalid_request_error"}}`, 0, ReasonRateLimited},
		{`{"error":{"message":"x","type":"invalid_request_error"}}`, 0, ReasonInvalid},
		{`{"error":{"message":"x","type":"overloaded_error"}}`, 0, ReasonUnavailable},
		{`{"error":{"message":"x","code":"content_filter"}}`, 0, ReasonContentFiltered},
		{`{"error":{"message":"x","details":[{"reason":"API_KEY_INVALID"}]}}`, 0, ReasonCredentials},
		// what response.failed says
		{`{"error":{"message":"x","code":"server_error"}}`, 0, ReasonUnavailable},
		{`{"error":{"message":"x","code":"vector_store_timeout"}}`, 0, ReasonUnavailable},
		{`{"error":{"message":"x","code":"invalid_image_url"}}`, 0, ReasonInvalid},
		{`{"error":{"message":"x","code":"image_too_small"}}`, 0, ReasonInvalid},
		{`{"error":{"message":"x","code":"failed_to_download_image"}}`, 0, ReasonInvalid},
		{`{"error":{"message":"x","code":"invalid_encrypted_content"}}`, 0, ReasonInvalid},
		{`{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","code":"invalid_prompt"}}`, 0, ReasonContentFiltered},
		{`{"error":{"message":"x","code":"bio_policy"}}`, 0, ReasonContentFiltered},
		{`{"error":{"message":"x","code":"cyber_policy"}}`, 0, ReasonContentFiltered},
		{`{"error":{"message":"x","code":"image_content_policy_violation"}}`, 0, ReasonContentFiltered},
		{`{"error":{"code":503,"message":"x","status":"UNAVAILABLE","details":"none"}}`, 503, ReasonUnavailable},
		{`{"error":"x"}`, 0, ReasonUnavailable},
		{`nothing`, 0, ReasonUnavailable},
	} {
		if e := NewError(0, []byte(tc.in)); e.Reason != tc.want || e.Status != tc.status {
			t.Errorf("%s: reason %d, status %d", tc.in, e.Reason, e.Status)
		}
	}
}

func BenchmarkParseChunk(b *testing.B) {
	raw := []byte(`{"id":"chatcmpl-C4HqHBe4xca0k0EzsCnf1t6V3YFXp","object":"chat.completion.chunk","created":1755198469,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_560af6e559","choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],"usage":null}`)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		ParseChunk(raw)
	}
}
