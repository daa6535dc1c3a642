package dialect

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func (c *Conversation) addMessage(req *provider.Request, m gjson.Result, path string) error {
	role := m.Get("role").Str
	parts, err := parseContent(req, m.Get("content"), path+".content")
	if err != nil {
		return err
	}
	if m.Get("name").Str != "" && role != RoleTool && role != "function" {
		req.Drop("messages.name")
	}
	msg := Message{Role: role, Parts: parts, Path: path, Raw: m}
	switch role {
	case "system", "developer":
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
		if s := m.Get("refusal").Str; s != "" {
			msg.Parts = append(msg.Parts, Part{Kind: PartText, Text: s})
		}
		for _, name := range [...]string{"reasoning_content", "reasoning"} {
			if s := m.Get(name).Str; s != "" && msg.Reasoning == "" {
				msg.Reasoning = s
			}
		}
		if msg.ToolCalls, err = parseCalls(m.Get("tool_calls"), path+".tool_calls"); err != nil {
			return err
		}
	case RoleTool:
		if msg.ToolID = m.Get("tool_call_id").Str; msg.ToolID == "" {
			return provider.Invalid(path+".tool_call_id", "required, the id of a tool call")
		}
	case "function":
		return provider.Unsupported(path+".role", "want tool in place of function")
	default:
		return provider.Invalid(path+".role", "want system, developer, user, assistant or tool")
	}
	c.Messages = append(c.Messages, msg)
	return nil
}

func parseContent(req *provider.Request, v gjson.Result, path string) ([]Part, error) {
	switch {
	case !v.Exists() || v.Type == gjson.Null:
		return nil, nil
	case v.Type == gjson.String:
		if v.Str == "" {
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
			continue
		}
		p, err := parsePart(e, fmt.Sprintf("%s.%d", path, i))
		if err != nil {
			return nil, err
		}
		if detail := e.Get("image_url.detail").Str; detail != "" && detail != "auto" {
			req.Drop("messages.content.image_url.detail")
		}
		if p.Kind != PartText || p.Text != "" {
			parts = append(parts, p)
		}
	}
	return parts, nil
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

// from reads a URL, or the data in it.
func (p Part) from(u, name string) (Part, error) {
	head, data, isData := strings.Cut(strings.TrimPrefix(u, "data:"), ",")
	switch {
	case strings.HasPrefix(u, "https://"), strings.HasPrefix(u, "http://"):
		p.URL = u
		return p, nil
	case strings.HasPrefix(u, "data:") && isData:
		media, ok := strings.CutSuffix(head, ";base64")
		typ, _, err := mime.ParseMediaType(media)
		if ok && err == nil && data != "" {
			p.MediaType, p.Data = typ, data
			return p, nil
		}
	}
	return p, provider.Invalid(p.Path+"."+name, "want an http(s) URL or data:<media type>;base64,<data>")
}

func parseCalls(v gjson.Result, path string) ([]ToolCall, error) {
	var calls []ToolCall
	for i, e := range v.Array() {
		c := ToolCall{ID: e.Get("id").Str, Name: e.Get("function.name").Str, Raw: e}
		at := fmt.Sprintf("%s.%d.function", path, i)
		if c.Name == "" {
			return nil, provider.Invalid(at+".name", "required, the function's name")
		}
		args := strings.TrimSpace(e.Get("function.arguments").Str)
		if args == "" {
			args = "{}"
		}
		if !json.Valid([]byte(args)) || args[0] != '{' {
			return nil, provider.Invalid(at+".arguments", "want a JSON object, as a string")
		}
		c.Arguments = json.RawMessage(args)
		calls = append(calls, c)
	}
	return calls, nil
}
