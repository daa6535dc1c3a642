package dialect

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func (c *Conversation) addMessage(req *provider.Request, m gjson.Result, path string) error {
	role := m.Get("role").Str
	parts, err := c.parseContent(req, m.Get("content"), path+".content")
	if err != nil {
		return err
	}
	if m.Get("name").Str != "" && role != RoleTool && role != "function" {
		req.Drop("messages.name")
	}
	c.others(req, m, "messages", known...)
	req.DropOthers(m.Get(author.Member), "messages."+author.Member, author.Mark)
	msg := Message{Role: role, Parts: parts, Path: path, Raw: m}
	switch role {
	case "system", "developer":
		if len(c.Messages) > 0 {
			c.instruct(msg)
			return nil
		}
		for _, p := range parts {
			if p.Kind != PartText {
				return provider.Unsupported(p.Path, "this provider only accepts text from the system")
			}
		}
		if text := msg.Text(); text != "" {
			c.System = append(c.System, text)
		}
		c.SystemMessages = append(c.SystemMessages, msg)
		return nil
	case RoleUser:
	case RoleAssistant:
		switch {
		case m.Get("function_call").IsObject():
			return provider.Unsupported(path+".function_call", "want tool_calls in place of function_call")
		case m.Get("audio").IsObject():
			return provider.Unsupported(path+".audio", "this provider only supports text")
		}
		c.addText(&msg, m.Get("refusal").Str)
		c.addCalls(req, &msg)
		c.addReasoning(req, &msg)
	case RoleTool:
		if msg.ToolID = m.Get("tool_call_id").String(); msg.ToolID == "" {
			return provider.Invalid(path+".tool_call_id", "required, the id of a tool call")
		}
		failed := m.Get("is_error").Bool()
		if msg.Failed = failed && c.rules.Failures; failed && !msg.Failed {
			msg.Parts = append([]Part{{Kind: PartText, Text: FailedResult, Path: path}}, msg.Parts...)
		}
	case "function":
		return provider.Unsupported(path+".role", "want tool in place of function")
	default:
		return provider.Invalid(path+".role", "want system, developer, user, assistant or tool")
	}
	c.Messages = append(c.Messages, msg)
	return nil
}

// The marks around an instruction within a conversation.
const (
	instructionBegin = "<system-instruction>\n"
	instructionEnd   = "\n</system-instruction>"
)

// instruct adds a system message that stands within the conversation. It becomes
// a message of the user's, the only one that every provider takes there. Among
// the system prompt it would change what the request begins with, on which
// prompt caches depend, and would not apply from here on.
func (c *Conversation) instruct(m Message) {
	if len(m.Parts) == 0 {
		return
	}
	first, last := -1, -1
	for i, p := range m.Parts {
		if p.Kind != PartText {
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
	}
	if first >= 0 {
		m.Parts[first].Text = instructionBegin + m.Parts[first].Text
		m.Parts[last].Text += instructionEnd
	}
	m.Role = RoleUser
	c.Messages = append(c.Messages, m)
}

// known are the members of messages that are read, or noted with what they are part of.
var known = []string{
	"role", "content", "name", "refusal", "tool_calls", "tool_call_id", "function_call", "audio", "is_error",
	"reasoning_content", "reasoning", "thinking_blocks", author.Member,
}

// others notes the members of an object that are not carried over.
func (c *Conversation) others(req *provider.Request, object gjson.Result, path string, read ...string) {
	if c.rules.Marks {
		read = append(slices.Clip(read), "cache_control")
	}
	req.DropOthers(object, path, read...)
}

// addText adds a text that does not stand in the content.
func (c *Conversation) addText(m *Message, text string) {
	if !c.isBlank(text) {
		m.Parts = append(m.Parts, Part{Kind: PartText, Text: text, Path: m.Path})
	}
}

// isBlank says whether there is nothing in a text that the provider accepts.
func (c *Conversation) isBlank(text string) bool {
	return text == "" || c.rules.NoBlanks && strings.TrimSpace(text) == ""
}

func (c *Conversation) parseContent(req *provider.Request, v gjson.Result, path string) ([]Part, error) {
	switch {
	case !v.Exists() || v.Type == gjson.Null:
		return nil, nil
	case v.Type == gjson.String:
		if c.isBlank(v.Str) {
			return nil, nil
		}
		return []Part{{Kind: PartText, Text: v.Str, Path: path}}, nil
	case !v.IsArray():
		return nil, provider.Invalid(path, "want a string or a list of parts")
	}
	var parts []Part
	for i, e := range v.Array() {
		if t := e.Get("type").Str; t == "thinking" || t == "redacted_thinking" {
			// Providers that understand it find it in the message's Raw.
			if !IsThinking(e) {
				req.Drop("messages.content") // Mistral's
			}
			continue
		}
		p, err := parsePart(e, fmt.Sprintf("%s.%d", path, i))
		if err != nil {
			return nil, err
		}
		c.partOthers(req, e)
		if detail := e.Get("image_url.detail").Str; detail != "" && detail != "auto" {
			req.Drop("messages.content.image_url.detail")
		}
		if p.Kind != PartText || !c.isBlank(p.Text) {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

func (c *Conversation) partOthers(req *provider.Request, v gjson.Result) {
	const path = "messages.content"
	typ := v.Get("type").Str
	c.others(req, v, path, "type", typ)
	switch typ {
	case PartImage:
		req.DropOthers(v.Get(typ), path+"."+typ, "url", "detail")
	case PartFile:
		req.DropOthers(v.Get(typ), path+"."+typ, "filename", "file_data", "file_id")
	case PartAudio:
		req.DropOthers(v.Get(typ), path+"."+typ, "data", "format")
	}
}

func parsePart(v gjson.Result, path string) (Part, error) {
	p := Part{Kind: v.Get("type").Str, Path: path, Raw: v}
	switch p.Kind {
	case PartText:
		p.Text = v.Get("text").Str
	case "refusal":
		p.Kind, p.Text = PartText, v.Get("refusal").Str
	case PartImage:
		u := v.Get("image_url")
		if u.IsObject() {
			u = u.Get("url")
		}
		return p.from(u.Str, "image_url.url")
	case PartFile:
		p.Name = v.Get("file.filename").Str
		if v.Get("file.file_id").Exists() {
			return p, provider.Unsupported(path+".file.file_id", "this provider does not support files by id: send file_data")
		}
		return p.from(v.Get("file.file_data").Str, "file.file_data")
	case PartAudio:
		p.Data, p.MediaType = v.Get("input_audio.data").Str, "audio/"+v.Get("input_audio.format").Str
	default:
		return p, provider.Invalid(path+".type", "want text, image_url, input_audio or file")
	}
	return p, nil
}

// addCalls adds the tool calls of an assistant. Arguments that are not a JSON
// object, as a cut answer leaves them behind, are replaced by an empty one, and a
// call without a name by nothing. Their text stands beside the calls, where the
// model can read it.
func (c *Conversation) addCalls(req *provider.Request, m *Message) {
	for _, e := range m.Raw.Get("tool_calls").Array() {
		c.others(req, e, "messages.tool_calls", "id", "type", "index", "function", "custom", "extra_content")
		req.DropOthers(e.Get("function"), "messages.tool_calls.function", "name", "arguments")
		req.DropOthers(e.Get("custom"), "messages.tool_calls.custom", "name", "input")
		call := ToolCall{ID: e.Get("id").String(), Name: e.Get("function.name").Str, Raw: e}
		args, ok := Arguments(e.Get("function.arguments"))
		if custom := e.Get("custom"); custom.IsObject() {
			// OpenAI's calls with free text; other providers only have functions.
			call.Name, ok = custom.Get("name").Str, true
			args = string(provider.Encode(map[string]string{"input": custom.Get("input").Str}))
		}
		if call.Name == "" {
			c.addNote(m, fmt.Sprintf("(a call of a tool without a name: %s)", args))
			continue
		}
		if !ok {
			c.addNote(m, BadArguments(call.Name, args))
			args = "{}"
		}
		call.Arguments = json.RawMessage(args)
		m.ToolCalls = append(m.ToolCalls, call)
	}
}

// addNote adds a text apart from what the message says.
func (c *Conversation) addNote(m *Message, note string) {
	if len(m.Parts) > 0 {
		note = "\n\n" + note
	}
	c.addText(m, note)
}

// BadArguments says what the arguments of a call were that are not a JSON object.
func BadArguments(name, arguments string) string {
	return fmt.Sprintf("(the arguments of the call of %s are not a JSON object: %s)", name, arguments)
}

// Arguments returns a call's arguments; ok says that they are a JSON object.
func Arguments(v gjson.Result) (args string, ok bool) {
	args = v.Raw
	if v.Type == gjson.String {
		args = strings.TrimSpace(v.Str)
	}
	if args == "" || args == "null" {
		return "{}", true
	}
	// Unlike encoding/json, this refuses half characters, as some servers do.
	valid := jsontext.Value(args).IsValid(jsontext.AllowDuplicateNames(true))
	return args, valid && args[0] == '{'
}
