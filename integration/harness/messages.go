package harness

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// Messages is a server of Anthropic's Messages, as strict as Anthropic's own about what was
// said before, that answers with a list of blocks.
func Messages(stopReason, content string) Script {
	return func(c *Call) {
		body := gjson.Parse(c.Body)
		if why := refuseMessages(body); why != "" {
			Document(http.StatusBadRequest, fmt.Sprintf(`{"type":"error","error":{"type":"invalid_request_error","message":%q}}`, why))(c)
			return
		}
		begun := fmt.Sprintf(`"id":"msg_%d","type":"message","role":"assistant","model":%q`, body.Get("messages.#").Int(), body.Get("model").Str)
		if !c.Streams() {
			Document(http.StatusOK, fmt.Sprintf(`{%s,"content":%s,"stop_reason":%q,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":7}}`, begun, content, stopReason))(c)
			return
		}
		send := func(typ, members string) {
			c.Send(fmt.Sprintf("event: %s\ndata: {\"type\":%q%s}\n\n", typ, typ, members))
		}
		send("message_start", fmt.Sprintf(`,"message":{%s,"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}`, begun))
		for i, block := range gjson.Parse(content).Array() {
			send("content_block_start", fmt.Sprintf(`,"index":%d,"content_block":%s`, i, block.Raw))
			send("content_block_stop", fmt.Sprintf(`,"index":%d`, i))
		}
		send("message_delta", fmt.Sprintf(`,"delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":7}`, stopReason))
		send("message_stop", "")
	}
}

// maxMarks is how many marks for the prompt cache a request may have.
const maxMarks = 4

// refuseMessages returns why Anthropic refuses a request, or nothing.
func refuseMessages(body gjson.Result) string {
	if n := strings.Count(body.Raw, `"cache_control":{`); n > maxMarks {
		return fmt.Sprintf("A maximum of 4 blocks with cache_control may be provided. Found %d.", n)
	}
	list := body.Get("messages").Array()
	called := make(map[string]bool) // by the message before
	for i, m := range list {
		answered := make(map[string]bool)
		role, content := m.Get("role").Str, m.Get("content")
		blocks := content.Array()
		if content.Type == gjson.String {
			blocks = gjson.Parse(`[{"type":"text","text":` + content.Raw + `}]`).Array()
		}
		if len(blocks) == 0 {
			return fmt.Sprintf("messages.%d.content: at least one block is required", i)
		}
		calls, served, last := make(map[string]bool), make(map[string]bool), ""
		for j, b := range blocks {
			at, typ, id := fmt.Sprintf("messages.%d.content.%d", i, j), b.Get("type").Str, b.Get("tool_use_id").Str
			last = typ
			switch {
			case typ == "":
				return at + ".type: Field required"
			case typ == "text" && strings.TrimSpace(b.Get("text").Str) == "":
				return at + ": text content blocks must contain non-whitespace text"
			case typ == "thinking" && b.Get("signature").Str == "":
				return at + ".thinking.signature: Field required"
			case typ == "tool_use":
				calls[b.Get("id").Str] = true
			case typ == "server_tool_use":
				served[b.Get("id").Str] = true
			case typ == "tool_result" && !called[id]:
				return at + ": unexpected `tool_use_id` found in `tool_result` blocks: " + id
			case typ == "tool_result":
				answered[id] = true
			case strings.HasSuffix(typ, "_tool_result") && !served[id]:
				return at + ": unexpected `tool_use_id` found in a server tool's result: " + id
			case strings.HasSuffix(typ, "_tool_result"):
				delete(served, id)
			}
		}
		for id := range called {
			if !answered[id] {
				return fmt.Sprintf("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after: %s", i-1, id)
			}
		}
		for id := range served {
			if i < len(list)-1 {
				return fmt.Sprintf("messages.%d: `server_tool_use` without a result: %s", i, id)
			}
		}
		if role == "assistant" && strings.Contains(last, "thinking") {
			return fmt.Sprintf("messages.%d: the final block in an assistant message cannot be `thinking`", i)
		}
		if called = calls; role == "user" {
			called = nil
		}
	}
	return ""
}
