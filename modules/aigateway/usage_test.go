package aigateway

import (
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestSplitUsage(t *testing.T) {
	for _, tc := range []struct{ name, raw, rest, usage string }{
		{"none", `{"id":"a","choices":[]}`, `{"id":"a","choices":[]}`, ``},
		{"null", `{"id":"a","usage":null,"choices":[]}`, `{"id":"a","choices":[]}`, ``},
		{"beside_choices", `{"choices":[{"index":0}],"usage":{"prompt_tokens":1}}`, `{"choices":[{"index":0}]}`, `{"prompt_tokens":1}`},
		{"only_its_own", `{"x_groq":{"usage":{"a":1}},"choices":[]}`, `{"x_groq":{"usage":{"a":1}},"choices":[]}`, ``},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rest, usage := splitUsage([]byte(tc.raw))
			if string(rest) != tc.rest || string(usage) != tc.usage {
				t.Errorf("got %s and %s", rest, usage)
			}
		})
	}
}

func TestUsageChunk(t *testing.T) {
	last := []byte(`{"id":"a","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"finish_reason":"stop"}]}`)
	c := &call{req: &request{inputTokens: 3}}
	c.answering = &attempt{c: c, output: 9}

	got := c.usageChunk(last, []byte(`{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}`))
	want := `{"object":"chat.completion.chunk","choices":[],"id":"a","created":7,"model":"m","usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	estimated := gjson.GetBytes(c.usageChunk(last, nil), "usage")
	if estimated.Get("completion_tokens").Int() != provider.EstimateTokens(9) || !estimated.Get("estimated").Bool() {
		t.Errorf("estimated usage is %s", estimated.Raw)
	}
}
