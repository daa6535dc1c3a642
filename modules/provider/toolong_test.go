package provider

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTooLongFile checks the data file: its date, and that each pattern matches
// the message that stands beside it.
func TestTooLongFile(t *testing.T) {
	doc := readTooLong()
	if _, err := time.Parse(time.DateOnly, doc.Date); err != nil || len(doc.Sources) == 0 {
		t.Errorf("date %q, sources %q", doc.Date, doc.Sources)
	}
	for _, p := range doc.Patterns {
		if !regexp.MustCompile(p.Pattern).MatchString(strings.ToLower(p.Example)) {
			t.Errorf("%s does not match %q", p.Pattern, p.Example)
		}
		if p.Servers == "" || !(reported{message: p.Example}).tooLong() {
			t.Errorf("%q of %q is not taken for a request that is too long", p.Example, p.Servers)
		}
	}
	for _, p := range doc.Others {
		if p.Why == "" || !regexp.MustCompile(p.Pattern).MatchString(strings.ToLower(p.Example)) {
			t.Errorf("%s does not match %q", p.Pattern, p.Example)
		}
		if (reported{message: p.Example}).tooLong() {
			t.Errorf("%q is taken for a request that is too long", p.Example)
		}
	}
}

// TestTooLong has servers that refuse a request, in their own words and shapes.
func TestTooLong(t *testing.T) {
	quoted := func(message string) string { return `{"error":{"message":` + string(Encode(message)) + `}}` }
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   Reason
	}{
		{"xAI", 400, `{"code":"invalid-argument","error":"This model's maximum prompt length is 131072 but the request contains 140000 tokens."}`, ReasonContextLength},
		{"Moonshot", 400, quoted("Your request exceeded model token limit: 8192"), ReasonContextLength},
		{"Moonshot, with what was asked for", 400, quoted("Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)"), ReasonContextLength},
		{"Zhipu", 400, `{"error":{"code":"1261","message":"Prompt exceeds max length"}}`, ReasonContextLength},
		{"Zhipu, by the code alone", 400, `{"error":{"code":1261,"message":"?"}}`, ReasonContextLength},
		{"TGI", 422, "{\"error\":\"Input validation error: `inputs` must have less than 4095 tokens. Given: 5000\",\"error_type\":\"validation\"}", ReasonContextLength},
		{"TGI in OpenAI's shape", 422, quoted("`inputs` must have less than 4095 tokens"), ReasonContextLength},
		{"TGI, with the answer's length", 422, quoted("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 200 `max_new_tokens`"), ReasonContextLength},
		{"Together", 400, quoted("Input validation error: `inputs` must have less than 32769 tokens. Given: 40000"), ReasonContextLength},
		{"Anthropic", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}`, ReasonContextLength},
		{"Anthropic, with the answer's length", 400, quoted("input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000, decrease input length or `max_tokens` and try again"), ReasonContextLength},
		{"Anthropic, too many bytes", 413, `{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}`, ReasonContextLength},
		{"Gemini", 400, `{"error":{"code":400,"message":"The input token count (1196265) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}`, ReasonContextLength},
		{"Bedrock", 400, `{"message":"Input is too long for requested model."}`, ReasonContextLength},
		{"Bedrock, Claude", 400, `{"message":"The model returned the following errors: prompt is too long: 210000 tokens > 200000 maximum"}`, ReasonContextLength},
		{"OpenAI", 400, `{"error":{"message":"This model's maximum context length is 4097 tokens, however you requested 5000 tokens (1000 in your prompt; 4000 for the completion). Please reduce your prompt; or completion length.","code":"context_length_exceeded"}}`, ReasonContextLength},
		{"OpenAI Responses", 400, quoted("Your input exceeds the context window of this model. Please adjust your input and try again."), ReasonContextLength},
		{"OpenAI, a message's length", 400, quoted("Invalid 'messages[3].content': string too long. Expected a string with maximum length 1048576, but got a string with length 2000000 instead."), ReasonContextLength},
		{"vLLM", 400, `{"object":"error","message":"This model's maximum context length is 32768 tokens. However, you requested 40000 tokens in the messages, Please reduce the length of the messages.","type":"BadRequestError","param":null,"code":400}`, ReasonContextLength},
		{"vLLM, prompt", 400, quoted("The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens."), ReasonContextLength},
		{"vLLM, with the answer's length", 400, quoted("'max_tokens' or 'max_completion_tokens' is too large: 40000. This model's maximum context length is 32768 tokens and your request has 10 input tokens (40000 > 32768 - 10)."), ReasonContextLength},
		{"llama.cpp", 400, `{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}`, ReasonContextLength},
		{"Ollama", 400, `{"error":"prompt too long; exceeded max context length by 100 tokens"}`, ReasonContextLength},
		{"Ollama, embeddings", 400, `{"error":"the input length exceeds the context length"}`, ReasonContextLength},
		{"SGLang", 400, quoted("The input (5000 tokens) is longer than the model's context length (4096 tokens)."), ReasonContextLength},
		{"SGLang, requested", 400, quoted("Requested token count exceeds the model's maximum context length of 131072 tokens. You requested a total of 140000 tokens"), ReasonContextLength},
		{"Mistral", 400, `{"object":"error","message":"Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length","type":"invalid_request_error","code":3051}`, ReasonContextLength},
		{"OpenRouter", 400, quoted("This endpoint's maximum context length is 32768 tokens. However, you requested about 42832 tokens (42832 of text input). Please reduce the length of either one, or use the \"middle-out\" transform"), ReasonContextLength},
		{"Groq", 413, quoted("Request too large for model `llama-3.1-8b-instant` in organization `org` service tier `on_demand` on tokens per minute (TPM): Limit 6000, Requested 7000, please reduce your message size and try again."), ReasonContextLength},
		{"Cerebras", 400, quoted("Please reduce the length of the messages or completion. Current length is 8705 while limit is 8192"), ReasonContextLength},
		{"Cohere", 400, `{"message":"too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000. Try using a shorter prompt"}`, ReasonContextLength},
		{"LM Studio", 400, `{"error":"Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."}`, ReasonContextLength},
		{"DashScope", 400, quoted("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 98304]"), ReasonContextLength},
		{"MiniMax", 400, quoted("invalid params, context window exceeds limit (2013)"), ReasonContextLength},
		{"Fireworks", 400, quoted("The prompt is too long: 70000, model maximum context length: 65536"), ReasonContextLength},
		{"GitHub Models", 413, `{"error":{"code":"tokens_limit_reached","message":"Request body too large for gpt-4o model. Max size: 8000 tokens."}}`, ReasonContextLength},
		{"Cloudflare", 413, `{"errors":[{"message":"AiError: The estimated number of input and maximum output tokens (8100) exceeded this model context window limit (7968).","code":5021}],"success":false}`, ReasonContextLength},
		{"pydantic", 422, `{"detail":[{"loc":["body","messages"],"msg":"prompt is too long for this model","type":"value_error"}]}`, ReasonContextLength},

		{"max_tokens beyond what a model writes", 400, quoted("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000."), ReasonInvalid},
		{"max_tokens, Anthropic", 400, quoted("max_tokens: 300000 > 8192, which is the maximum allowed number of output tokens for claude-3-haiku"), ReasonInvalid},
		{"max_tokens, Bedrock", 400, `{"message":"The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum tokens value that is lower than 4096."}`, ReasonInvalid},
		{"max_tokens, DeepSeek", 400, quoted("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"), ReasonInvalid},
		{"max_tokens, Cohere", 400, quoted("max_tokens must be less than or equal to 4096"), ReasonInvalid},
		{"a tool's name", 400, quoted("Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string with length 80 instead."), ReasonInvalid},
		{"a call's id", 400, quoted("Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length 50 instead."), ReasonInvalid},
		{"a user's name", 400, quoted("Invalid 'user': string too long. Expected a string with maximum length 64."), ReasonInvalid},
		{"a length of a name", 400, quoted("name exceeds the maximum length of name, 64 characters"), ReasonInvalid},
		{"too many stop sequences", 400, quoted("stop: maximum length is 4"), ReasonInvalid},
		{"a tool's argument", 400, quoted("Tool argument validation failed: input length exceeds 1000 characters"), ReasonInvalid},
		{"a number of requests", 400, quoted("Request limit exceeded"), ReasonInvalid},
		{"a tool's description", 422, quoted("tools[0]: description is too long"), ReasonInvalid},
		{"a body without JSON", 422, "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", ReasonContextLength},
		{"a page", 413, "<html><h1>413 Request Entity Too Large</h1><p>prompt is too long</p></html>", ReasonInvalid},
		{"an image", 400, quoted("image exceeds the maximum size of 5 MB"), ReasonInvalid},
		{"a temperature", 400, quoted("temperature: must be less than or equal to 1"), ReasonInvalid},
		{"an unknown member", 400, quoted("Unrecognized request argument supplied: context"), ReasonInvalid},
		{"a message without words", 400, `{}`, ReasonInvalid},
		{"a rate", 429, quoted("Rate limit reached: too many tokens per minute"), ReasonRateLimited},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := NewError(tc.status, []byte(tc.body)).Reason; got != tc.want {
				t.Errorf("reason %d, want %d", got, tc.want)
			}
		})
	}
	t.Run("a message without end", func(t *testing.T) {
		body := fmt.Sprintf(`{"error":{"message":%s}}`, Encode(strings.Repeat("input prompt ", 1<<20)+"prompt is too long"))
		if got := NewError(http.StatusBadRequest, []byte(body)).Reason; got != ReasonInvalid {
			t.Errorf("reason %d", got)
		}
	})
}
