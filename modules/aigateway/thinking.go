package aigateway

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// thinks reports whether a target may be silent for minutes before its first
// token, because its model reasons.
func (c *call) thinks(t route.Target) bool {
	if m := c.h.alias(c.choice); m != nil && m.Thinks {
		return true
	}
	return c.req.reasons || price.Thinks(t.Model)
}

// asksToReason reports whether a member of a request asks for reasoning, in the
// words of any API. The first use of each is OpenAI's, OpenRouter's, Anthropic's,
// Qwen's, Ollama's, that of vLLM's and SGLang's chat templates, and Google's.
func asksToReason(name string, v gjson.Result) bool {
	switch name {
	case "reasoning_effort":
		return isEffort(v)
	case "reasoning":
		return isEffort(v) || v.IsObject() && asksOpenRouter(v)
	case "thinking":
		return v.Type == gjson.True || v.IsObject() && asksAnthropic(v)
	case "enable_thinking":
		return v.Type == gjson.True
	case "thinking_budget":
		return isBudget(v)
	case "think":
		return isEffort(v)
	case "chat_template_kwargs":
		return v.Get("enable_thinking").Type == gjson.True || v.Get("thinking").Type == gjson.True || isEffort(v.Get("reasoning_effort"))
	case "extra_body":
		return asksInExtraBody(v)
	}
	return false
}

// isEffort reports whether v is true, or an effort that takes time.
func isEffort(v gjson.Result) bool {
	if v.Type == gjson.True {
		return true
	}
	switch strings.ToLower(v.Str) {
	case "", "none", "minimal", "off", "disabled", "false":
		return false
	}
	return true
}

// isBudget reports whether v is a number of tokens other than 0; -1 leaves it to
// the model.
func isBudget(v gjson.Result) bool { return v.Type == gjson.Number && v.Num != 0 }

func asksOpenRouter(v gjson.Result) bool {
	if v.Get("enabled").Type == gjson.False {
		return false
	}
	return v.Get("enabled").Type == gjson.True || isEffort(v.Get("effort")) || isBudget(v.Get("max_tokens"))
}

func asksAnthropic(v gjson.Result) bool {
	kind := v.Get("type")
	if kind.Exists() {
		return isEffort(kind)
	}
	return isBudget(v.Get("budget_tokens"))
}

// asksInExtraBody looks where clients of OpenAI's SDK put what its API lacks.
func asksInExtraBody(v gjson.Result) bool {
	asks := false
	v.ForEach(func(name, inner gjson.Result) bool {
		asks = name.Str != "extra_body" && asksToReason(name.Str, inner)
		if name.Str == "google" {
			asks = asksGoogle(inner.Get("thinking_config"))
		}
		return !asks
	})
	return asks
}

func asksGoogle(v gjson.Result) bool {
	return isBudget(v.Get("thinking_budget")) || isEffort(v.Get("thinking_level")) ||
		v.Get("include_thoughts").Type == gjson.True && v.Get("thinking_budget").Raw != "0"
}
