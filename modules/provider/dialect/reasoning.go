package dialect

import (
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// addReasoning reads what came back of a message's reasoning, and notes what the
// provider does not take back.
func (c *Conversation) addReasoning(req *provider.Request, m *Message) {
	name := ""
	for _, member := range [...]string{"reasoning_content", "reasoning"} {
		if s := m.Raw.Get(member).Str; s != "" && m.Reasoning == "" {
			name, m.Reasoning = member, s
		}
	}
	signed := c.rules.Signed && len(m.Thoughts()) > 0
	// the readable form of what another model has signed is as much its own
	plain := c.rules.Plain && m.Reasoning != "" && SignedBy(m.Raw) == "" && !ByOther(m.Raw, req.Model)
	if !plain && !signed && m.Reasoning != "" {
		req.Drop("messages." + name)
	}
	if !plain {
		m.Reasoning = ""
	}
	for _, member := range [...]string{items.Member, "content"} {
		if blocks := m.Raw.Get(member); hasThinking(blocks) && (!signed || hasUnsigned(blocks)) {
			req.Drop("messages." + member)
		}
	}
	if items.HasReasoning(m.Raw.Get(items.Member)) {
		req.Drop("messages." + items.Member)
	}
	for _, call := range m.ToolCalls {
		extra := call.Raw.Get("extra_content")
		if extra.Get("google").Exists() && !c.rules.Google || extra.Get("bedrock").Exists() && !c.rules.Signed {
			req.Drop("messages.tool_calls.extra_content")
		}
		req.DropOthers(extra, "messages.tool_calls.extra_content", "google", "bedrock")
	}
}

// The makers of signed reasoning.
const (
	ByClaude = "claude"
	ByGoogle = "google"
	ByOpenAI = "openai" // in items of Responses
)

// ByOther reports whether an assistant's message says that another model than this one has
// written its reasoning.
func ByOther(message gjson.Result, model string) bool {
	by := author.Of(message)
	return by != "" && by != model
}

// SignedBy returns the maker who has signed the reasoning of an assistant's message, and
// whose models alone understand it; empty if it is not signed.
func SignedBy(message gjson.Result) string {
	switch blocks := message.Get(items.Member); {
	case hasThinking(blocks), hasThinking(message.Get("content")):
		return ByClaude
	case items.HasReasoning(blocks):
		return ByOpenAI
	}
	by := ""
	if calls := message.Get("tool_calls"); calls.IsArray() {
		calls.ForEach(func(_, call gjson.Result) bool {
			switch extra := call.Get("extra_content"); {
			case extra.Get("bedrock").Exists():
				by = ByClaude
			case extra.Get("google").Exists():
				by = ByGoogle
			}
			return by == ""
		})
	}
	return by
}

// hasThinking says whether a list has blocks of thinking.
func hasThinking(list gjson.Result) bool {
	if !list.IsArray() {
		return false
	}
	found := false
	list.ForEach(func(_, e gjson.Result) bool {
		found = IsThinking(e)
		return !found
	})
	return found
}

// IsThinking reports whether a block is Claude's thinking. Mistral's has the same type, and
// is a list.
func IsThinking(block gjson.Result) bool {
	switch block.Get("type").Str {
	case "thinking":
		return !block.Get("thinking").IsArray()
	case "redacted_thinking":
		return true
	}
	return false
}

// hasUnsigned says whether a list has blocks of thinking without a signature, which are
// useless.
func hasUnsigned(list gjson.Result) bool {
	found := false
	list.ForEach(func(_, e gjson.Result) bool {
		found = IsThinking(e) && len(appendThought(nil, e)) == 0
		return !found
	})
	return found
}

// Thoughts returns the reasoning that a model has signed and that the client
// sends back: in thinking_blocks or in the content, as Anthropic's answers have
// it, or in extra_content, as Bedrock's have it. A signature is good at both. Of
// what only the model can read, Bedrock's form is its own and left out here.
func (m *Message) Thoughts() []ThinkingBlock {
	for _, member := range [...]string{items.Member, "content"} {
		var blocks []ThinkingBlock
		if v := m.Raw.Get(member); v.IsArray() {
			for _, e := range v.Array() {
				blocks = appendThought(blocks, e)
			}
		}
		if len(blocks) > 0 {
			return blocks
		}
	}
	var blocks []ThinkingBlock
	for _, call := range m.ToolCalls {
		for _, e := range call.Raw.Get("extra_content.bedrock.reasoning").Array() {
			blocks = appendSigned(blocks, e.Get("reasoningText.text").Str, e.Get("reasoningText.signature").Str)
		}
	}
	return blocks
}

func appendThought(blocks []ThinkingBlock, e gjson.Result) []ThinkingBlock {
	switch e.Get("type").Str {
	case "thinking":
		return appendSigned(blocks, e.Get("thinking").Str, e.Get("signature").Str)
	case "redacted_thinking":
		if data := e.Get("data").Str; data != "" {
			return append(blocks, ThinkingBlock{Type: "redacted_thinking", Data: data})
		}
	}
	return blocks
}

// appendSigned appends a block, unless it has no signature: then it is useless.
func appendSigned(blocks []ThinkingBlock, text, signature string) []ThinkingBlock {
	if signature == "" {
		return blocks
	}
	return append(blocks, ThinkingBlock{Type: "thinking", Thinking: &text, Signature: signature})
}
