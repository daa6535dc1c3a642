package harness

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/tidwall/gjson"
)

// Messages is a server of Anthropic's Messages, as strict as Anthropic's own about what was
// said before, that answers with a list of blocks.
func Messages(stopReason, content string) Script {
	return func(c *Call) {
		body := gjson.Parse(c.Body)
		why := refuseMessages(body)
		if !strings.HasSuffix(c.Path, "/count_tokens") && body.Get("max_tokens").Type != gjson.Number {
			why = "max_tokens: Field required"
		}
		if why != "" {
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

// callID is what an id of a call looks like.
var callID = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// refuseMessages returns why Anthropic refuses a request, or nothing.
func refuseMessages(body gjson.Result) string {
	if n := strings.Count(body.Raw, `"cache_control":{`); n > maxMarks {
		return fmt.Sprintf("A maximum of 4 blocks with cache_control may be provided. Found %d.", n)
	}
	list := body.Get("messages").Array()
	called := make(map[string]bool) // by the message before
	ids := make(map[string]bool)
	begins := "" // the type of the first block of the turn that a tool's result goes on with
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
			case typ == "thinking" && strings.HasPrefix(b.Get("signature").Str, "cch1_"):
				return at + ": Invalid `signature` in `thinking` block"
			case typ == "redacted_thinking" && strings.HasPrefix(b.Get("data").Str, "cch1_"):
				return at + ": Invalid `data` in `redacted_thinking` block"
			case typ == "tool_use" && !callID.MatchString(b.Get("id").Str):
				return at + ".tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
			case typ == "tool_use" && ids[b.Get("id").Str]:
				return at + ": `tool_use` ids must be unique"
			case typ == "tool_use":
				calls[b.Get("id").Str], ids[b.Get("id").Str] = true, true
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
		switch {
		case role == "assistant" && begins == "":
			begins = blocks[0].Get("type").Str
		case role != "assistant" && len(answered) == 0:
			begins = ""
		}
		if role == "assistant" && strings.Contains(last, "thinking") {
			return fmt.Sprintf("messages.%d: the final block in an assistant message cannot be `thinking`", i)
		}
		if called = calls; role == "user" {
			called = nil
		}
	}
	if body.Get("thinking.type").Str == "enabled" && begins != "" && !strings.Contains(begins, "thinking") {
		return fmt.Sprintf("messages.%d.content.0.type: Expected `thinking` or `redacted_thinking`, but found `%s`", len(list)-2, begins)
	}
	return ""
}
