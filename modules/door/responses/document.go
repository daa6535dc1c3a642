package responses

import (
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Document implements door.Call.
func (c *call) Document(completion []byte) []byte {
	root, facts, _ := provider.ReadCompletion(completion)
	if doc := c.adopted(root); doc != nil {
		return doc
	}
	r := c.response(c.modelOf(facts.Model))
	r.end(facts.FinishReason, c.output(root.Get("choices.0"), &facts), facts.Usage)
	return provider.Encode(r)
}

// output returns the items of an answer.
func (c *call) output(choice gjson.Result, facts *provider.Facts) []json.RawMessage {
	list, m := []json.RawMessage{}, choice.Get("message")
	add := func(i *item) { list = append(list, provider.Encode(i)) }

	if i := c.reasoningItem(m, facts.Reasoning); i != nil {
		add(i)
	}
	status := statusOf(facts.FinishReason)
	if i := c.newItem(typeMessage, len(list)); c.fill(i, choice) {
		i.Status = status
		add(i)
	}
	for _, v := range m.Get("tool_calls").Array() {
		i := c.newCallItem(v.Get("id").String(), v.Get("function.name").Str, len(list))
		i.Status = status
		i.setArguments(provider.ArgumentsOf(v.Get("function.arguments")))
		add(i)
	}
	return list
}

// reasoningItem returns the item of an answer's reasoning; nil without any.
func (c *call) reasoningItem(m gjson.Result, text string) *item {
	i := c.newItem(typeReasoning, 0)
	i.Summary = []part{}
	if text != "" {
		i.Summary = append(i.Summary, newSummary(text))
	}
	t := thoughts{Text: text, By: author.Of(m), Blocks: given(m.Get("thinking_blocks"))}
	for _, v := range m.Get("tool_calls").Array() {
		t.addExtra(v.Get("id").String(), v)
	}
	if !c.seal(i, t) && text == "" {
		return nil
	}
	return i
}

// fill fills a message with what a choice says. It reports whether there is
// anything.
func (c *call) fill(i *item, choice gjson.Result) bool {
	m := choice.Get("message")
	i.Role = "assistant"
	if text := provider.TextOf(m.Get("content")); text != "" {
		i.Content = append(i.Content, newText(text, json.RawMessage(logprobsOf(choice)), sourcesOf(m.Get("annotations"))))
	}
	if refusal := m.Get("refusal").Str; refusal != "" {
		i.Content = append(i.Content, newRefusal(refusal))
	}
	return len(i.Content) > 0
}
