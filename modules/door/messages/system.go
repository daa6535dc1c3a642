package messages

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// billing begins a block of Claude Code's system prompt that is meant for Anthropic
// and not for the model. It differs in each session, which no other prompt cache would
// forgive.
const billing = "x-anthropic-billing-header:"

// system reads the system prompt: a text, or a list of blocks of text.
func (t *translation) system(members map[string]gjson.Result) error {
	v := members["system"]
	if v.Type == gjson.Null {
		return nil
	}
	return t.systemMessage(v, "system")
}

// systemMessage adds a system prompt, which may also stand among the messages.
func (t *translation) systemMessage(v gjson.Result, path string) error {
	if v.Type == gjson.String {
		if v.Str != "" {
			t.add(message{Role: roleSystem, Content: v.Str})
		}
		return nil
	}
	if !v.IsArray() {
		return provider.Invalid(path, "want a string or a list of blocks of type text")
	}
	var parts []part
	for i, b := range v.Array() {
		text := b.Get("text")
		switch typ := typeOf(b); {
		case typ == kindText && text.Type == gjson.String:
		case typ == kindText, typ == "":
			return provider.Invalid(member(path, i), "want a block of type text")
		default:
			t.refuse(member(path, i), "want a block of type text")
			continue
		}
		if strings.HasPrefix(text.Str, billing) {
			t.dropped.Add("system.x-anthropic-billing-header")
			continue
		}
		if text.Str == "" {
			continue
		}
		t.dropped.Others(b, "system", "type", "text", "cache_control")
		parts = append(parts, part{Type: partText, Text: text.Str, CacheControl: cacheControl(b)})
	}
	if len(parts) > 0 {
		t.add(message{Role: roleSystem, Content: contentOf(parts)})
	}
	return nil
}
