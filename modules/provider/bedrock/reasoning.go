package bedrock

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// effort is how much Claude thinks at a reasoning_effort.
type effort struct {
	budget int64  // in tokens, for models that take a budget
	level  string // for models that decide by themselves
}

var efforts = map[string]effort{
	"minimal": {1024, "low"},
	"low":     {2048, "low"},
	"medium":  {8192, "medium"},
	"high":    {16384, "high"},
	"xhigh":   {24576, "max"},
}

const (
	// minBudget is the smallest budget that Claude accepts.
	minBudget = 1024

	// answerTokens are left for the answer after the thinking if the client
	// sets no limit. Together with the largest budget they are what the models
	// with the smallest limit can produce.
	answerTokens = 8192
)

// reason asks for reasoning in the terms of the model's own API, which Converse
// passes on.
func (out *converse) reason(preq *provider.Request, c *dialect.Conversation) {
	e, ok := efforts[c.ReasoningEffort]
	switch {
	case c.ReasoningEffort == "":
	case c.ReasoningEffort == "none" && isClaude(preq.Model):
		// It does not think unless asked to.
	case ok && strings.Contains(preq.Model, "openai.gpt-oss"):
		// It only knows the middle levels.
		level := strings.NewReplacer("minimal", "low", "xhigh", "high").Replace(c.ReasoningEffort)
		out.Additional = map[string]any{"reasoning_effort": level}
	case !ok || !out.think(preq, c, e):
		preq.Drop("reasoning_effort")
	}
}

// think makes Claude think. It returns false if the model cannot think, or if
// thinking would rule out something more important: a forced tool call or the
// continuation of an answer.
func (out *converse) think(preq *provider.Request, c *dialect.Conversation, e effort) bool {
	v, ok := claudeVersion(preq.Model)
	if !ok || !v.since(3, 7) || c.ToolChoice == "required" || c.ToolChoice == "function" || preq.Continue != "" {
		return false
	}
	o := out.Inference
	if v.since(4, 6) {
		out.Additional = map[string]any{
			"thinking":      map[string]any{"type": "adaptive"},
			"output_config": map[string]any{"effort": e.level},
		}
	} else {
		budget := e.budget
		if o.MaxTokens != nil {
			budget = min(budget, *o.MaxTokens/2)
		}
		if budget < minBudget || lacksThoughts(c) {
			return false
		}
		if o.MaxTokens == nil {
			o.MaxTokens = new(budget + answerTokens)
		}
		out.Additional = map[string]any{"thinking": map[string]any{"type": "enabled", "budget_tokens": budget}}
	}
	// Thinking restricts the sampling parameters.
	if o.Temperature != nil && *o.Temperature != 1 {
		o.Temperature = nil
		preq.Drop("temperature")
	}
	if o.TopP != nil && *o.TopP < 0.95 {
		o.TopP = nil
		preq.Drop("top_p")
	}
	return true
}

// reasoning is a model's thinking as Bedrock returns it and wants it back:
// readable and signed, or sealed.
type reasoning struct {
	Text     *signedText `json:"reasoningText,omitempty"`
	Redacted string      `json:"redactedContent,omitempty"`
}

type signedText struct {
	Text      string `json:"text"`
	Signature string `json:"signature,omitempty"`
}

// sealed says whether a model would accept it back.
func (r *reasoning) sealed() bool {
	return r.Redacted != "" || r.Text != nil && r.Text.Signature != ""
}

// extra travels with the first tool call of an answer. Claude wants its
// thoughts back together with the results of the tools, and OpenAI's shape has
// no other place for them that clients send back.
type extra struct {
	Bedrock struct {
		Reasoning []reasoning `json:"reasoning"`
	} `json:"bedrock"`
}

// extraOf returns what goes with a call; nil for nothing.
func extraOf(thoughts []reasoning) any {
	var x extra
	for _, r := range thoughts {
		if r.sealed() {
			x.Bedrock.Reasoning = append(x.Bedrock.Reasoning, r)
		}
	}
	if x.Bedrock.Reasoning == nil {
		return nil
	}
	return x
}

// thoughtsOf returns the thoughts that came back with a message: with its calls,
// in Bedrock's form, or as Anthropic's blocks, whose signatures are good here
// too. It ignores what cannot be parsed.
func thoughtsOf(m *dialect.Message) []reasoning {
	var thoughts []reasoning
	for _, call := range m.ToolCalls {
		var x extra
		raw := call.Raw.Get("extra_content")
		if !raw.IsObject() || json.Unmarshal([]byte(raw.Raw), &x) != nil {
			continue
		}
		for _, r := range x.Bedrock.Reasoning {
			if r.sealed() {
				thoughts = append(thoughts, r)
			}
		}
	}
	if thoughts != nil {
		return thoughts
	}
	for _, t := range m.Thoughts() {
		if t.Thinking != nil {
			thoughts = append(thoughts, reasoning{Text: &signedText{*t.Thinking, t.Signature}})
		}
	}
	return thoughts
}

// losesThoughts says whether a message has thoughts that Anthropic has sealed, which only its
// own servers can open.
func losesThoughts(m *dialect.Message) bool {
	return slices.ContainsFunc(m.Thoughts(), func(t dialect.ThinkingBlock) bool { return t.Thinking == nil })
}

// lacksThoughts says whether tools were called since the last question without
// the thoughts that led there. Then the model must not think now.
func lacksThoughts(c *dialect.Conversation) bool {
	for i := len(c.Messages) - 1; i >= 0; i-- {
		m := &c.Messages[i]
		if m.Role == dialect.RoleUser {
			return false
		}
		if len(m.ToolCalls) > 0 && thoughtsOf(m) == nil {
			return true
		}
	}
	return false
}
