package anthropic

import (
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// minBudget is the smallest thinking budget, in tokens.
const minBudget = 1024

// budgets are the thinking budgets of the efforts, in tokens.
var budgets = map[string]int64{
	"minimal": minBudget,
	"low":     2048,
	"medium":  8192,
	"high":    16_384,
	"xhigh":   32_768,
}

// efforts are Anthropic's words for OpenAI's.
var efforts = map[string]string{
	"minimal": "low",
	"low":     "low",
	"medium":  "medium",
	"high":    "high",
	"xhigh":   "xhigh",
}

// think asks the model to think before it answers, or not to. If thinking would
// make Anthropic refuse the request, the request goes without it.
func (t *translation) think() error {
	member := "reasoning_effort"
	native, effort := t.root.Get("thinking"), t.talk.ReasoningEffort
	switch {
	case native.IsObject():
		member = "thinking"
		t.Thinking = json.RawMessage(native.Raw)
		level, ok := t.level(effort)
		switch {
		case ok && t.thinking("adaptive") && t.family.adaptive():
			t.setEffort(level)
		case effort != "" && (!t.req.Translated || !isEffortOf(native, effort)): // a door says the same twice
			t.req.Drop("reasoning_effort")
		}
	case native.Exists() && native.Type != gjson.Null:
		return provider.Invalid("thinking", `want an object such as {"type":"enabled","budget_tokens":2048}`)
	case effort != "":
		if err := t.effort(effort); err != nil {
			return err
		}
	}
	switch {
	case !t.thinks():
	case t.req.Continue != "":
		// The answer has begun, so the model has already thought.
		t.noThinking()
	case t.forced(), t.thinking("enabled") && t.unsigned():
		t.req.Drop(member)
		t.noThinking()
	}
	if t.thinking("enabled") {
		t.makeRoom(!native.IsObject())
	}
	if t.family.claude && !t.family.eager() && !t.thinks() {
		// Without thinking, past thoughts are at best ignored.
		for i, m := range t.Messages {
			t.Messages[i].Content = slices.DeleteFunc(m.Content, block.isThinking)
			if len(t.Messages[i].Content) < len(m.Content) {
				t.req.Drop("messages.thinking_blocks")
			}
		}
	}
	return nil
}

// isEffortOf reports whether an effort is that of a budget.
func isEffortOf(thinking gjson.Result, effort string) bool {
	budget := thinking.Get("budget_tokens")
	return budget.Exists() && provider.EffortOf(budget.Num) == effort
}

// thinking says whether thinking is of a type, and thinks whether it is on.
func (t *translation) thinking(typ string) bool {
	return gjson.GetBytes(t.Thinking, "type").Str == typ
}

func (t *translation) thinks() bool { return t.thinking("enabled") || t.thinking("adaptive") }

func (t *translation) effort(effort string) error {
	if effort == "none" {
		switch {
		case t.family.eager() && t.family.obedient():
			t.noThinking()
		case t.family.eager():
			t.req.Drop("reasoning_effort")
		}
		return nil
	}
	level, ok := t.level(effort)
	if !ok {
		return provider.Invalid("reasoning_effort", "want none, minimal, low, medium, high or xhigh")
	}
	switch {
	case t.family.adaptive():
		// Without display the newest models do not return their thoughts.
		t.Thinking = json.RawMessage(`{"type":"adaptive","display":"summarized"}`)
		t.setEffort(level)
	case t.family.budgeted():
		budget := max(min(budgets[effort], t.MaxTokens/2), minBudget)
		raw, err := json.Marshal(struct {
			Type   string `json:"type"`
			Budget int64  `json:"budget_tokens"`
		}{"enabled", budget})
		if err != nil {
			return err
		}
		t.Thinking = raw
	default:
		t.req.Drop("reasoning_effort")
	}
	return nil
}

// level returns the model's word for an effort, if it is one.
func (t *translation) level(effort string) (level string, ok bool) {
	level, ok = efforts[effort]
	if level == "xhigh" && t.family.version < 407 {
		level = "max"
	}
	return level, ok
}

func (t *translation) setEffort(level string) {
	if t.OutputConfig == nil {
		t.OutputConfig = new(outputConfig)
	}
	t.OutputConfig.Effort = level
}

// noThinking turns thinking off again.
func (t *translation) noThinking() {
	t.Thinking = nil
	if t.family.eager() && t.family.obedient() {
		t.Thinking = json.RawMessage(`{"type":"disabled"}`)
	}
	if t.OutputConfig == nil {
		return
	}
	if t.OutputConfig.Effort = ""; t.OutputConfig.Format == nil {
		t.OutputConfig = nil
	}
}

// forced says whether the model must call a tool, which rules thinking out.
func (t *translation) forced() bool {
	return t.ToolChoice != nil && (t.ToolChoice.Type == "any" || t.ToolChoice.Type == "tool")
}

// unsigned says whether the assistant's turn at the end of the conversation,
// tool calls and results included, begins without thinking. With a thinking
// budget, Anthropic requires the thoughts there. A client that has lost them
// can only go on without thinking.
func (t *translation) unsigned() bool {
	i := len(t.Messages) - 1
	begin := -1
	if t.Messages[i].Role == dialect.RoleAssistant {
		begin = i
		i--
	}
	for ; i > 0 && t.Messages[i].Content[0].Type == typeToolResult; i -= 2 {
		begin = i - 1
	}
	return begin >= 0 && !t.Messages[begin].Content[0].isThinking()
}

// leastAnswer is how many tokens are left for the answer if the budget is as
// large as the limit.
const leastAnswer = 4096

// makeRoom raises the limit of an answer that leaves no room for its thinking, or little
// room where the budget was chosen here.
func (t *translation) makeRoom(chosen bool) {
	budget := gjson.GetBytes(t.Thinking, "budget_tokens").Int()
	if chosen && budget == minBudget && t.MaxTokens < 2*minBudget || t.MaxTokens <= budget {
		t.MaxTokens = budget + min(t.MaxTokens, leastAnswer)
	}
}
