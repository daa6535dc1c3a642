package provider

import "testing"

// TestOwnWords checks which code and member of the request are read from a
// refusal, in the dialects of several servers.
func TestOwnWords(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
		code   string
		param  string
	}{
		{"OpenAI", 400, `{"error":{"message":"Invalid value: 'x'.","type":"invalid_request_error","param":"messages[0].role","code":"invalid_value"}}`, "invalid_value", "messages[0].role"},
		{"OpenAI, an item that is not there", 404, `{"error":{"message":"Item with id 'rs_1' not found. Items are not persisted when ` + "`store`" + ` is set to false.","type":"invalid_request_error","param":"input","code":null}}`, "", "input"},
		{"OpenAI, no room for reasoning as text", 400, `{"error":{"message":"Invalid 'input[2].content': array too long. Expected an array with maximum length 0, but got an array with length 1 instead.","type":"invalid_request_error","param":"input[2].content","code":"array_above_max_length"}}`, "array_above_max_length", "input[2].content"},
		{"OpenAI, neither", 400, `{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}`, "", ""},
		{"vLLM repeats the status", 400, `{"object":"error","message":"no","type":"BadRequestError","param":"top_p","code":400}`, "", "top_p"},
		{"vLLM, nested", 400, `{"error":{"message":"no","type":"BadRequestError","param":"top_p","code":400}}`, "", "top_p"},
		{"Mistral", 422, `{"object":"error","message":"no","type":"invalid_request_error","param":null,"code":3051}`, "3051", ""},
		{"Zhipu", 400, `{"error":{"code":"1210","message":"no"}}`, "1210", ""},
		{"Gemini", 400, `{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"generation_config.temperature","description":"no"}]}]}}`, "INVALID_ARGUMENT", "generation_config.temperature"},
		{"Gemini, a reason", 400, `{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT","details":[{"reason":"BAD_IMAGE"}]}}`, "BAD_IMAGE", ""},
		{"Gemini, in a list", 400, `[{"error":{"code":400,"message":"no","status":"FAILED_PRECONDITION"}}]`, "FAILED_PRECONDITION", ""},
		{"Anthropic", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"}}`, "", "max_tokens"},
		{"Anthropic, deep", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0.text: Field required"}}`, "", "messages.1.content.0.text"},
		{"Anthropic, prose", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"Your request is odd: see below"}}`, "", ""},
		{"Bedrock", 400, `{"__type":"com.amazon.coral.validate#ValidationException","message":"no"}`, "ValidationException", ""},
		{"Cloudflare", 400, `{"success":false,"errors":[{"code":5006,"message":"no"}]}`, "5006", ""},
		{"pydantic", 422, `{"detail":[{"type":"extra_forbidden","loc":["body","foo"],"msg":"Extra inputs are not permitted"},{"loc":["body","messages",0,"content"],"msg":"Field required"}]}`, "", "foo"},
		{"a text alone", 400, `{"error":"no"}`, "", ""},
		{"nothing", 400, ``, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := NewError(tc.status, []byte(tc.body))
			if e.Code != tc.code || e.Param != tc.param || e.Reason != ReasonInvalid {
				t.Errorf("code %q, param %q, reason %d; want %q and %q", e.Code, e.Param, e.Reason, tc.code, tc.param)
			}
		})
	}
	t.Run("each member at fault is named", func(t *testing.T) {
		e := NewError(422, []byte(`{"detail":[{"loc":["body","foo"],"msg":"Extra inputs are not permitted"},{"loc":["query","n",0],"msg":"too small"},{"msg":"alone"}]}`))
		if want := "foo: Extra inputs are not permitted; query.n.0: too small; alone"; e.Message != want {
			t.Errorf("got %q, want %q", e.Message, want)
		}
	})
}

// TestRedactCode checks which codes reach a client.
func TestRedactCode(t *testing.T) {
	for _, code := range []string{"bad_value", "invalid-argument", "1261", "InvalidParameter.Range", "string_above_max_length", "unsupported_value"} {
		if got := RedactCode(code); got != code {
			t.Errorf("%q became %q", code, got)
		}
	}
	for _, code := range []string{"", "sk-live-0123456789abcdef", "two words", "a\nb", "https://internal.example.com", "10.0.0.5:8000", "<b>", "é",
		"long_long_long_long_long_long_long_long_long_long_long_long_long_long"} {
		if got := RedactCode(code); got != "" {
			t.Errorf("%q became %q", code, got)
		}
	}
}
