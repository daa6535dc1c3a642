package responses

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/customtool"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// message is a message of a chat completion.
type message struct {
	Role             string            `json:"role"`
	Content          any               `json:"content,omitempty"` // a string or a list of parts
	Refusal          string            `json:"refusal,omitempty"`
	ReasoningContent string            `json:"reasoning_content,omitempty"`
	ThinkingBlocks   []json.RawMessage `json:"thinking_blocks,omitzero"`
	Extra            json.RawMessage   `json:"extra_content,omitempty"`
	ToolCalls        []*toolCall       `json:"tool_calls,omitempty"`
	ToolCallID       string            `json:"tool_call_id,omitempty"`
}

type toolCall struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Function *function       `json:"function,omitempty"`
	Custom   *customCall     `json:"custom,omitempty"`
	Extra    json.RawMessage `json:"extra_content,omitempty"`
}

type function struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// conversation turns input items into messages.
type conversation struct {
	c        *call
	messages []*message

	// opening are the instructions at the beginning, which become one message: the
	// chat templates of some models allow no more.
	opening strings.Builder

	// turn is the assistant's message that further items of its turn belong to;
	// nil after anybody else's.
	turn *turn

	// open are the calls of a turn whose results are still to come, by their ids, and
	// waiting what was said before them: servers of chat completions refuse anything
	// between a call and its result.
	open    map[string]bool
	waiting []*message

	// images were returned by tools. They follow all results of a turn as a message
	// of the user, since results can only be text.
	images []any

	extra map[string]json.RawMessage // of tool calls, by their ids

	became *message // what the last item has become, or was added to; nil for nothing
}

// turn is a message of the assistant that is still growing. Its texts grow in builders:
// to append to a string would copy all of it for every item.
type turn struct {
	*message
	said                     bool // anything beside its reasoning
	text, refusal, reasoning strings.Builder
}

// end gives the message its texts.
func (t *turn) end() {
	if t.said {
		t.Content = t.text.String()
	}
	t.Refusal, t.ReasoningContent = t.refusal.String(), t.reasoning.String()
}

// readInput returns the messages of a request.
func (c *call) readInput(root gjson.Result) ([]*message, error) {
	v := conversation{c: c}
	switch instructions := root.Get("instructions"); {
	case instructions.Type == gjson.String:
		c.alone = instructions.Str
		v.system(c.alone)
	case given(instructions) != nil:
		return nil, provider.Invalid("instructions", "want a string")
	}
	switch input := root.Get("input"); {
	case input.Type == gjson.String:
		v.add(&message{Role: "user", Content: input.Str})
	case input.IsArray():
		v.unseal(input)
		for i, item := range input.Array() {
			v.became = nil
			if err := v.addItem(item, fmt.Sprintf("input.%d", i)); err != nil {
				return nil, err
			}
			c.sent = append(c.sent, sent{item, v.became})
		}
	default:
		return nil, provider.Invalid("input", "required, a string or a list of items")
	}
	v.answered()
	v.flushImages()
	v.endTurn()
	if len(v.messages) == 0 && c.Stored && root.Get("input.0").Exists() {
		v.stands()
	}
	if len(v.messages) == 0 {
		return nil, provider.Invalid("input", "want at least one message")
	}
	if c.Stored {
		v.resultsFirst()
	}
	if v.opens() {
		v.messages[0].Content = v.opening.String()
		c.said = strings.TrimPrefix(strings.TrimPrefix(v.opening.String(), c.alone), instructionsSeparator)
	}
	c.messages = v.messages
	return v.messages, nil
}

// resultsFirst moves the results of calls that were kept before this request to its
// beginning, which is right behind them.
func (v *conversation) resultsFirst() {
	from := 0
	if v.opens() {
		from = 1
	}
	end := slices.IndexFunc(v.messages, func(m *message) bool { return m.Role == "assistant" })
	if end < 0 {
		end = len(v.messages)
	}
	if from < end {
		slices.SortStableFunc(v.messages[from:end], func(a, b *message) int {
			return cmp.Compare(rank(a), rank(b))
		})
	}
}

// rank is lower for the result of a tool.
func rank(m *message) int {
	if m.Role == "tool" {
		return 0
	}
	return 1
}

// add adds a message that is not the assistant's.
func (v *conversation) add(m *message) {
	if m.Role != "tool" && len(v.open) > 0 {
		v.waiting = append(v.waiting, m)
		return
	}
	if m.Role != "tool" {
		v.flushImages()
	}
	v.endTurn()
	v.messages = append(v.messages, m)
}

// say adds the message that an item becomes.
func (v *conversation) say(m *message) {
	v.add(m)
	v.became = m
}

// answered adds what has waited for results. Those that have not come never will.
func (v *conversation) answered() {
	clear(v.open)
	waiting := v.waiting
	v.waiting = nil
	for _, m := range waiting {
		v.add(m)
	}
}

// assistant returns the message that an item of the assistant belongs to. One that calls
// belongs to the calls before it, even if the user has spoken in between.
func (v *conversation) assistant(calls bool) *turn {
	if v.turn == nil || len(v.waiting) > 0 && !calls {
		v.answered()
	}
	v.flushImages()
	if v.turn == nil {
		v.turn = &turn{message: &message{Role: "assistant"}}
		v.messages = append(v.messages, v.turn.message)
	}
	v.became = v.turn.message
	return v.turn
}

// endTurn ends the assistant's turn, if there is one.
func (v *conversation) endTurn() {
	if v.turn != nil {
		v.turn.end()
		v.turn = nil
	}
}

// system adds instructions.
func (v *conversation) system(text string) {
	switch {
	case len(v.messages) == 0:
		v.say(&message{Role: "system"})
		v.opening.WriteString(text)
	case len(v.messages) == 1 && v.opens():
		v.opening.WriteString(instructionsSeparator + text)
		v.became = v.messages[0]
	default:
		v.say(&message{Role: "system", Content: text})
	}
}

// instructionsSeparator stands between the instructions that become one message.
const instructionsSeparator = "\n\n"

// opens reports whether the conversation begins with instructions.
func (v *conversation) opens() bool { return v.messages[0].Role == "system" }

func (v *conversation) flushImages() {
	if len(v.images) > 0 {
		images := v.images
		v.images = nil
		v.add(&message{Role: "user", Content: images})
	}
}

func (v *conversation) addItem(item gjson.Result, path string) error {
	typ := item.Get("type").Str
	switch {
	case !item.IsObject():
		return provider.Invalid(path, "want an object")
	case typ == "message" || typ == "" && item.Get("role").Exists():
		v.others(item, "role", "content")
		return v.addMessage(item, path)
	case typ == typeFunction || typ == typeCustom:
		v.others(item, "call_id", "namespace", "name", "arguments", "input")
		return v.addCall(item, path)
	case typ == typeSearch && isClients(item):
		return v.addCall(item, path)
	case typ == typeFound && isClients(item):
		return v.addFound(item, path)
	case typ == "function_call_output" || typ == "custom_tool_call_output":
		v.others(item, "call_id", "output")
		return v.addResult(item, path)
	case typ == typeReasoning:
		v.others(item, "summary", "content", "encrypted_content")
		if !v.addReasoning(item) {
			v.c.dropped.Add("input.reasoning")
		}
		return nil
	case typ == "additional_tools":
		return nil // read with the tools
	case (typ == "item_reference" || typ == "") && strings.HasPrefix(item.Get("id").Str, prefixes[typeReasoning]):
		v.c.dropped.Add("input.item_reference") // the answer can do without, unlike without what was said
		return nil
	case typ == "item_reference":
		return provider.Invalid(path+".type", "item_reference is "+errNoStore+" (with store false, clients do)")
	case isHosted(typ):
		v.c.dropped.Add("input." + typ)
		return nil
	}
	return provider.Invalid(path+".type", "want message, function_call, function_call_output, custom_tool_call, custom_tool_call_output or reasoning")
}

// others notes the members of an item that have no place in chat completions. Its id and
// status are the server's.
func (v *conversation) others(item gjson.Result, read ...string) {
	if caller := item.Get("caller.type").Str; caller == "direct" {
		read = append(read, "caller")
	}
	v.c.dropped.Others(item, "input", append(read, "type", "id", "status")...)
}

// isHosted reports whether an item is of a tool that only OpenAI's servers have, or
// of their way to shorten a conversation.
func isHosted(typ string) bool {
	return strings.HasSuffix(typ, "_call") || strings.HasSuffix(typ, "_call_output") || strings.HasPrefix(typ, "mcp_") ||
		strings.HasPrefix(typ, "tool_search") || strings.HasPrefix(typ, "compaction")
}

func (v *conversation) addMessage(item gjson.Result, path string) error {
	parts, err := v.c.readContent(item.Get("content"), path+".content")
	if err != nil {
		return err
	}
	switch role := item.Get("role").Str; role {
	case "system", "developer":
		text, ok := parts.text()
		if !ok {
			return provider.Invalid(path+".content", "want only text in a "+role+" message")
		}
		v.system(text)
	case "user":
		v.say(&message{Role: role, Content: parts.content()})
	case "assistant":
		if len(parts.media()) > 0 {
			v.c.dropped.Add("input.content") // an assistant only writes
		}
		v.addAnswer(parts)
	default:
		return provider.Invalid(path+".role", "want user, assistant, system or developer")
	}
	return nil
}

// addAnswer adds what the assistant said.
func (v *conversation) addAnswer(p parts) {
	text, _ := p.text()
	if t := v.turn; t != nil && t.said && len(t.ToolCalls) == 0 {
		v.endTurn() // two answers in a row
	}
	t := v.assistant(false)
	t.said = true
	t.text.WriteString(text)
	t.refusal.WriteString(strings.Join(p.refusals, ""))
}

func (v *conversation) addCall(item gjson.Result, path string) error {
	id, name, typ := item.Get("call_id").Str, item.Get("name").Str, item.Get("type").Str
	if typ == typeSearch {
		name = searchTool
	}
	switch {
	case id == "":
		return provider.Invalid(path+".call_id", "required, the id of the call")
	case name == "":
		return provider.Invalid(path+".name", "required, the name of the tool")
	}
	name = v.c.tools.nameOf(item.Get("namespace").Str, name)
	made := &toolCall{ID: id, Type: "function", Extra: v.extra[id]}
	switch input := item.Get("input").String(); {
	case typ == typeCustom && v.c.completes:
		made.Type, made.Custom = "custom", &customCall{name, input}
	case typ == typeCustom:
		made.Function = &function{name, customtool.Arguments(input)}
	default:
		made.Function = &function{name, item.Get("arguments").String()}
	}
	m := v.assistant(true)
	if v.open == nil {
		v.open = make(map[string]bool)
	}
	v.open[id] = true
	m.ToolCalls = append(m.ToolCalls, made)
	return nil
}

func (v *conversation) addResult(item gjson.Result, path string) error {
	id := item.Get("call_id").Str
	if id == "" {
		return provider.Invalid(path+".call_id", "required, the id of the call")
	}
	parts, err := v.c.readContent(item.Get("output"), path+".output")
	if err != nil {
		return err
	}
	text, ok := parts.text()
	if !ok {
		v.images = append(v.images, parts.media()...)
		if text == "" {
			text = "(see the attachment below)"
		}
	}
	v.result(id, text)
	return nil
}

// result adds the result of a call.
func (v *conversation) result(id, text string) {
	v.say(&message{Role: "tool", ToolCallID: id, Content: text})
	if delete(v.open, id); len(v.open) == 0 {
		v.answered()
	}
}

// addFound adds the result of a search: the names of the tools, which are now among those
// that the model may call.
func (v *conversation) addFound(item gjson.Result, path string) error {
	id := item.Get("call_id").Str
	if id == "" {
		return provider.Invalid(path+".call_id", "required, the id of the call")
	}
	names := v.c.tools.found(item.Get("tools"))
	text := "No tools were found."
	if len(names) > 0 {
		text = "These tools can be called now: " + strings.Join(names, ", ")
	}
	v.result(id, text)
	return nil
}
