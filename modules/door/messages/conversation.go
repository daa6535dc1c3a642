package messages

import (
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// conversation reads the messages.
func (t *translation) conversation(members map[string]gjson.Result) error {
	list := members["messages"]
	if !list.IsArray() || list.Get("#").Int() == 0 {
		return provider.Invalid("messages", "required, a list of at least one message")
	}
	for i, m := range list.Array() {
		t.from = i + 1
		if err := t.message(m, member("messages", i)); err != nil {
			return err
		}
	}
	t.endTurn()
	for i := range t.Messages {
		if t.Messages[i].Role != roleSystem {
			return nil
		}
	}
	want := "want at least one message with content"
	if t.unknown.path != "" {
		t.refuse(t.unknown.path, want+", and blocks of this type are not known here")
		t.from = t.unknown.from
		t.add(message{Role: t.unknown.role, Content: ""})
		return nil
	}
	return provider.Invalid("messages", want)
}

func (t *translation) message(m gjson.Result, path string) error {
	add := t.user
	switch role := m.Get("role"); role.Str {
	case roleUser:
	case roleAssistant:
		add = t.assistant
	case roleSystem:
		add = t.systemMessage // Claude Code sends them between the others
	default:
		return provider.Invalid(path+".role", "want user or assistant")
	}
	t.dropped.Others(m, "messages", "role", "content")
	path += ".content"
	content := m.Get("content")
	if content.Type != gjson.String && !content.IsArray() {
		return provider.Invalid(path, "want a string or a list of blocks")
	}
	return add(content, path)
}

// leaveOut notes a block of a type that only Anthropic's own API knows.
func (t *translation) leaveOut(typ, role, path string) {
	t.dropped.Add("messages.content." + typ)
	t.unknown = unknown{role, path + ".type", t.from}
}

// add adds a message that was made of the one which is being read.
func (t *translation) add(m message) {
	m.from = t.from
	t.Messages = append(t.Messages, m)
}

// user adds what the user and the tools say. The results of tools come first, since
// chat completions want them right behind the calls.
func (t *translation) user(content gjson.Result, path string) error {
	if content.Type == gjson.String {
		if content.Str != "" {
			t.add(message{Role: roleUser, Content: content.Str})
		}
		return nil
	}
	var said []part
	for i, b := range content.Array() {
		path := member(path, i)
		read := t.block
		if typeOf(b) == "tool_result" {
			read = t.toolResult
		}
		parts, err := read(b, path)
		if err != nil {
			return err
		}
		said = append(said, parts...)
	}
	if len(said) > 0 {
		t.add(message{Role: roleUser, Content: contentOf(said)})
	}
	return nil
}

// assistant adds what the model said before.
func (t *translation) assistant(content gjson.Result, path string) error {
	if content.Type == gjson.String {
		if content.Str != "" {
			t.beginTurn(message{Role: roleAssistant, Content: content.Str})
		}
		return nil
	}
	m := growing{message: message{Role: roleAssistant}}
	for i, b := range content.Array() {
		path := member(path, i)
		switch typ := typeOf(b); typ {
		case kindText:
			parts, err := t.block(b, path)
			if err != nil {
				return err
			}
			m.say(parts)
		case kindThinking, kindRedacted:
			if !m.think(b) {
				t.dropped.Add("messages.content." + typ)
			}
		case kindTool:
			t.dropped.Others(b, "messages.content", "type", "id", "name", "input", "cache_control", "caller")
			if caller := typeOf(b.Get("caller")); caller != "" && caller != "direct" {
				t.dropped.Add("messages.content.caller")
			}
			c, err := toolUse(b, path)
			if err != nil {
				return err
			}
			m.ToolCalls = append(m.ToolCalls, c)
		case "":
			return provider.Invalid(path+".type", "required, such as text")
		default:
			t.leaveOut(typ, roleAssistant, path) // the work of a server's own tools
		}
	}
	m.end()
	if m.Content == nil && len(m.ToolCalls) == 0 {
		if m.Reasoning != "" || len(m.ThinkingBlocks) > 0 {
			t.dropped.Add("messages.content." + kindThinking) // chat completions have no place for it alone
		}
		return nil
	}
	t.beginTurn(m.message)
	return nil
}

// toolUse returns a call of a tool.
func toolUse(b gjson.Result, path string) (toolCall, error) {
	id, name, input := b.Get("id").Str, b.Get("name").Str, b.Get("input")
	switch {
	case id == "":
		return toolCall{}, provider.Invalid(path+".id", "required, a string")
	case name == "":
		return toolCall{}, provider.Invalid(path+".name", "required, a string")
	case !input.IsObject():
		return toolCall{}, provider.Invalid(path+".input", "required, an object")
	}
	c := toolCall{Type: "function", Function: function{name, input.Get("@ugly").Raw}, CacheControl: cacheControl(b)}
	c.ID, c.Extra = openCallID(id)
	return c, nil
}

// toolResult adds the result of a call. A message of a tool takes only text, so it
// returns images and files, for the user's message behind it.
func (t *translation) toolResult(b gjson.Result, path string) (more []part, err error) {
	sent := b.Get("tool_use_id").Str
	if sent == "" {
		return nil, provider.Invalid(path+".tool_use_id", "required, the id of a tool_use block")
	}
	id, _ := openCallID(sent)
	if !t.turn.called(id) {
		return nil, provider.Invalid(path+".tool_use_id", "no tool_use block of the assistant's message before has this id")
	}
	t.dropped.Others(b, "messages.content", "type", "tool_use_id", "content", "is_error", "cache_control")
	m := message{Role: roleTool, Content: "", ToolCallID: id, IsError: b.Get("is_error").Bool(), CacheControl: cacheControl(b)}
	content := b.Get("content")
	switch {
	case content.Type == gjson.String:
		m.Content = content.Str
	case content.Type != gjson.Null && !content.IsArray():
		return nil, provider.Invalid(path+".content", "want a string or a list of blocks")
	case content.IsArray():
		var said []part
		for i, e := range content.Array() {
			parts, err := t.block(e, member(path+".content", i))
			if err != nil {
				return nil, err
			}
			for _, p := range parts {
				if p.Type == partText {
					said = append(said, p)
				} else {
					more = append(more, p)
				}
			}
		}
		if len(said) == 0 && len(more) > 0 {
			said = []part{{Type: partText, Text: "The result is in the user's next message."}}
		}
		if len(said) > 0 {
			m.Content = contentOf(said)
		}
	}
	t.addResult(m)
	return more, nil
}
