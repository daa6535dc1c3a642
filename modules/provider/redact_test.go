package provider

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRedact(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"openai key", "Incorrect API key provided: sk-proj-****abcd. You can find your API key at https://platform.openai.com/account/api-keys.", "Incorrect API key provided: [redacted] You can find your API key at [redacted]"},
		{"sk key", "key sk-abc123 is wrong", "key [redacted] is wrong"},
		{"masked tail", "Authentication Fails, Your api key: ****-key is invalid", "Authentication Fails, Your api key: [redacted] is invalid"},
		{"bearer", "bad header Authorization: Bearer abc.def", "bad header Authorization: Bearer [redacted]"},
		{"bearer in prose", "send a bearer token in the header", "send a bearer token in the header"},
		{"hex", "token 0123456789abcdef0123456789abcdef seen", "token [redacted] seen"},
		{"base64", "got QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY= there", "got [redacted] there"},
		{"aws", "id AKIAIOSFODNN7EXAMPLE denied", "id [redacted] denied"},
		{"aws secret", "with wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY now", "with [redacted] now"},
		{"google", "key AIzaSyA-1234567890_abcdefghijklmnopqrstu bad", "key [redacted] bad"},
		{"json key", `body {"api_key": "abc"} refused`, `body {"api_key": [redacted]} refused`},
		{"json bare key", `{"key":"hello"}`, `{"key":[redacted]}`},
		{"uuid", "resource 123e4567-e89b-12d3-a456-426614174000 is gone", "resource [redacted] is gone"},
		{"url", "see http://10.1.2.3:8080/x?y=z for more", "see [redacted] for more"},
		{"ipv4", "dial tcp 10.1.2.3:8080: connection refused", "dial tcp [redacted]: connection refused"},
		{"ipv6", "dial tcp [2001:db8::1]:443: refused", "dial tcp [redacted] refused"},
		{"ipv6 bare", "from fe80::1 today", "from [redacted] today"},
		{"host", "lookup api.internal.example.com: no such host", "lookup [redacted]: no such host"},
		{"host port", "upstream vllm:8000 is down", "upstream [redacted] is down"},
		{"localhost", "upstream localhost:11434 is down", "upstream [redacted] is down"},
		{"email", "ask ops@example.com about it", "ask [redacted] about it"},
		{"path", `File "/usr/lib/python3/site.py", line 3`, `File "[redacted]", line 3`},
		{"single path", "open /key.pem failed", "open [redacted] failed"},
		{"home", "open ~/.config/key failed", "open [redacted] failed"},
		{"windows", `open C:\Users\ops\key.txt failed`, `open [redacted] failed`},
		{"source", "in vllm/engine/llm.py:120 it broke", "in [redacted] it broke"},
		{"hidden by a zero-width space", "key sk-\u200babc123def", "key [redacted]"},
		{"lines", "one\ntwo\x00", "one two"},
		{"invalid utf-8", "a\xffb", "a\uFFFDb"},
		{"another scheme", "bad header Authorization: Token abcdef here", "bad header Authorization: Token [redacted] here"},
		{"a shell's variable", "AWS_SECRET_ACCESS_KEY=abcd PGPASSWORD=hunter2 set", "AWS_SECRET_ACCESS_KEY=[redacted] PGPASSWORD=[redacted] set"},
		{"a connection string", "pwd=hunter2;Server=db01.prod;Database=x failed", "pwd=[redacted];Server=[redacted];Database=[redacted] failed"},
		{"a short name", "user bob, pass: hunter2", "user bob, pass: [redacted]"},
		{"credentials of a host", "cannot log in as user:hunter2@db01 now", "cannot log in as [redacted] now"},
		{"of an address", "user:hunter2@10.1.2.3:5432 refused", "[redacted] refused"},
		{"a key behind its name", "invalid x-api-key 9f8e7d6c5b4a", "invalid x-api-key [redacted]"},
		{"a token behind its name", "token Zm9vYmFyMTIzNA== denied", "token [redacted] denied"},
		{"a key in groups", "key ABCD-1234-EFGH is invalid", "key [redacted] is invalid"},
		{"a name behind another", "unknown token key swordfish99", "unknown token key [redacted]"},
		{"a quoted word", `password "swordfish" is wrong`, `password [redacted] is wrong`},
		{"quoted words", "(api key: 'my secret pass phrase')", "(api key: [redacted])"},
		{"a cookie", "Cookie: session=abcd1234; theme=dark", "Cookie: [redacted]"},
		{"a private key", "bad -----BEGIN RSA PRIVATE KEY-----\nMIIEvQ\nab+/==\n-----END RSA PRIVATE KEY----- given", "bad [redacted] given"},
		{"a private key without an end", "bad -----BEGIN PRIVATE KEY----- MIIEvQ ab", "bad [redacted]"},
		{"a public key", "ssh-rsa AAAAB3Nz user", "[redacted] user"},
		{"an ARN", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x is gone", "[redacted] is gone"},
		{"a query", "GET api.internal-host/path?key=abc123 failed", "GET [redacted] failed"},
		{"a query of a path", "on /v1/models?api_key=abc&x=1", "on [redacted]"},
		{"organisation", "Rate limit reached in organization org-AbCdEfGhIjKlMnOpQr12 on tokens", "Rate limit reached in organization [redacted] on tokens"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Redact(tc.in); got != tc.want {
				t.Errorf("\n in %q\ngot %q\nwant %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestRedactKeepsWords(t *testing.T) {
	for _, s := range []string{
		"This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
		"The model `gpt-4.1-mini` does not exist or you do not have access to it.",
		"Invalid 'messages[0].content': string too long.",
		"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
		"claude-3-5-sonnet-20241022, claude-sonnet-4-5-20250929 and us.anthropic.claude-3-7-sonnet-20250219-v1:0",
		"meta-llama/Llama-3.3-70B-Instruct-Turbo and mistralai/Mixtral-8x7B-Instruct-v0.1",
		"accounts/fireworks/models/llama-v3p1-405b-instruct; Qwen/Qwen2.5-VL-72B-Instruct; llama3.3:70b",
		"Invalid value for tools[0].function.parameters.properties.city.type at messages.1.content.0.image_url.url",
		"max_tokens:4096 is above the limit:2048, at 10:20:30",
		"This model is only supported in v1/responses and not in v1/chat/completions.",
		"Use the /v1/responses endpoint and/or n/a.",
		"temperature must be between 0.0 and 2.0 (got 3.5)",
		"std::vector failed with code:400",
		"prompt is too long: 3333404 tokens > 200000 maximum",
		"naïve 日本語 🚀",
		"max_tokens is too large: 32000",
		"max_tokens=32000 and n=2 exceed top_logprobs=5",
		"Invalid schema for function 'key': In context=('properties', 'token'), 'type' is required",
		"Unknown parameter: 'token'. Did you mean 'tokens'?",
		"token: Extra inputs are not permitted",
		"Unexpected token < in JSON at position 0",
		"logit_bias: key 151643 is out of range, want a token id below 100000",
		"the api key's format isn't known",
		"password is required, and a key must be set",
		"messages.0.content: unexpected key image_url2 of model gpt-4o-mini",
		"response_format is json_schema, which needs a token budget",
		"claude-3-5-sonnet@20240620 is not enabled in us-central1",
		"pad_token=151643 and max_token=4096.",
		"seed=true, echo=false, pad_token=None",
		"What is wrong? a=b",
	} {
		if got := Redact(s); got != s {
			t.Errorf("\n in %q\ngot %q", s, got)
		}
	}
}

func TestRedactIsShort(t *testing.T) {
	got := Redact(strings.Repeat("é ", 600))
	if n := utf8.RuneCountInString(got); n != 500 {
		t.Errorf("%d characters, want 500", n)
	}
	// The key is where the message is cut.
	key := "abcdefgh12345678abcdefgh12345678"
	if got := Redact(strings.Repeat("x ", 240) + key); strings.Contains(got, "abcdefgh") {
		t.Errorf("part of a key survives: %q", got)
	}
	if got := Redact(strings.Repeat("x ", maxRedacted/2-4) + key); strings.Contains(got, "abc") {
		t.Errorf("part of a key survives: %q", got)
	}
}

// FuzzRedact plants secrets in arbitrary text.
func FuzzRedact(f *testing.F) {
	f.Add("hello ", " world", uint64(1))
	f.Add("Incorrect API key provided: ", ".", uint64(7))
	f.Add("{\"key\": \"", "\"}", uint64(99))
	f.Add("\xff\xfe", "日本", uint64(12345))
	f.Fuzz(func(t *testing.T, before, after string, seed uint64) {
		for i, secret := range secrets(seed) {
			got := Redact(before + " " + secret + " " + after)
			if !utf8.ValidString(got) {
				t.Fatalf("not UTF-8: %q", got)
			}
			if n := utf8.RuneCountInString(got); n > 500 {
				t.Fatalf("%d characters", n)
			}
			if !strings.Contains(before+after, secret) && strings.Contains(got, secret) {
				t.Fatalf("secret %d, %q, survives: %q", i, secret, got)
			}
		}
	})
}

// secrets makes one of each shape.
func secrets(seed uint64) []string {
	random := func(alphabet string, n int) string {
		b := make([]byte, n)
		for i := range b {
			seed = seed*6364136223846793005 + 1442695040888963407
			b[i] = alphabet[(seed>>33)%uint64(len(alphabet))]
		}
		return string(b)
	}
	const (
		hex   = "0123456789abcdef"
		upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
		both  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	)
	return []string{
		"sk-" + random(both, 20),
		"sk-ant-api03-" + random(both+"-_", 40),
		"AKIA" + random(upper, 16),
		"AIza" + random(both+"-_", 35),
		"a1" + random(hex, 30),
		"Z9" + random(both, 24),
		"gsk_" + random(both, 30),
		"eyJ" + random(both, 20) + "." + random(both, 20) + "." + random(both, 20),
		"10." + random("123456789", 2) + ".0." + random("123456789", 1) + ":8080",
		"2001:db8::" + random(hex, 4),
		"https://" + random("abcdefgh", 8) + ".example.com/x",
		random("abcdefgh", 8) + "@example.com",
		"/home/" + random("abcdefgh", 8) + "/key",
		"APP_SECRET_KEY=" + random(both, 5),
		"pwd=" + random("abcdefgh", 6) + ";Server=" + random("abcdefgh", 6) + ".prod",
		"Authorization: Token " + random(both, 8),
		"Cookie: session=" + random(both, 8),
		"user:" + random("abcdefgh", 8) + "@db01",
		"key " + random(hex, 7) + "x7" + random(hex, 7),
		"arn:aws:iam::" + random("123456789", 12) + ":role/" + random("abcdefgh", 8),
	}
}
