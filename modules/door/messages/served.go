package messages

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// served are the calls of the server's own tools that have no result yet. Anthropic takes
// none without when they come back.
type served []servedCall

type servedCall struct{ id, typ, name string }

// follow reads the beginning of a block.
func (s *served) follow(block gjson.Result) {
	switch typ := typeOf(block); typ {
	case "server_tool_use", "mcp_tool_use":
		*s = append(*s, servedCall{strings.Clone(block.Get("id").Str), strings.Clone(typ), strings.Clone(block.Get("name").Str)})
	default:
		if id := block.Get("tool_use_id").Str; id != "" {
			*s = slices.DeleteFunc(*s, func(c servedCall) bool { return c.id == id })
		}
	}
}

// results returns what stands for the results of an answer that breaks off.
func (s *served) results() (blocks []json.RawMessage) {
	for _, c := range *s {
		blocks = append(blocks, provider.Encode(c.result()))
	}
	*s = nil
	return blocks
}

// result says that the tool has failed.
func (c servedCall) result() map[string]any {
	if c.typ == "mcp_tool_use" {
		return map[string]any{"type": "mcp_tool_result", "tool_use_id": c.id, "is_error": true, "content": []any{}}
	}
	kind := c.name
	if strings.HasPrefix(kind, "tool_search_tool") { // by a regular expression, or otherwise
		kind = "tool_search_tool"
	} else {
		kind += "_tool"
	}
	return map[string]any{
		"type": kind + "_result", "tool_use_id": c.id, "content": map[string]string{"type": kind + "_result_error", "error_code": "unavailable"},
	}
}
