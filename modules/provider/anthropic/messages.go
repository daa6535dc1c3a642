package anthropic

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// The types of blocks that get special treatment.
const (
	typeText       = "text"
	typeToolUse    = "tool_use"
	typeToolResult = "tool_result"
	typeThinking   = "thinking"
	typeRedacted   = "redacted_thinking"
)

// message is one turn of a conversation in which user and assistant alternate.
type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// block is a part of a message's content.
type block struct {
	Type         string          `json:"type"`
	Text         string          `json:"text,omitempty"`
	Source       *source         `json:"source,omitempty"` // of images and documents
	Title        string          `json:"title,omitempty"`
	ID           string          `json:"id,omitempty"`
	Name         string          `json:"name,omitempty"`
	Input        json.RawMessage `json:"input,omitempty"`
	ToolUseID    string          `json:"tool_use_id,omitempty"`
	Content      []block         `json:"content,omitempty"` // of a tool's result
	IsError      bool            `json:"is_error,omitempty"`
	Thinking     *string         `json:"thinking,omitempty"`
	Signature    string          `json:"signature,omitempty"`
	Data         string          `json:"data,omitempty"`
	CacheControl json.RawMessage `json:"cache_control,omitempty"`
}

func (b block) isThinking() bool { return b.Type == typeThinking || b.Type == typeRedacted }

type source struct {
	Type      string `json:"type"`
	MediaType string `json:"media_type,omitempty"`
	Data      string `json:"data,omitempty"`
	URL       string `json:"url,omitempty"`
}

// conversation sets the system prompt, the messages, and the tools that they call
// or may call.
func (t *translation) conversation() error {
	for _, m := range t.talk.SystemMessages {
		blocks, err := contentOf(&m)
		if err != nil {
			return err
		}
		t.System = append(t.System, blocks...)
	}
	for _, m := range t.talk.Messages {
		if err := t.message(&m); err != nil {
			return err
		}
	}
	if t.req.Continue != "" {
		t.add(dialect.RoleAssistant, []block{{Type: typeText, Text: t.req.Continue}})
	}
	t.tools()
	return nil
}

// message adds one of the client's messages.
func (t *translation) message(m *dialect.Message) error {
	content, err := contentOf(m)
	if err != nil {
		return err
	}
	switch m.Role {
	case dialect.RoleTool:
		t.add(dialect.RoleUser, []block{{
			Type: typeToolResult, ToolUseID: m.ToolID, Content: content, IsError: m.Failed, CacheControl: cacheControl(m.Raw),
		}})
	case dialect.RoleAssistant:
		for _, c := range m.ToolCalls {
			content = append(content, block{
				Type: typeToolUse, ID: c.ID, Name: c.Name, Input: c.Arguments, CacheControl: cacheControl(c.Raw),
			})
		}
		if len(content) > 0 {
			content = slices.Concat(t.thoughts(m), content)
		}
		t.add(dialect.RoleAssistant, content)
	default:
		t.add(dialect.RoleUser, content)
	}
	return nil
}

// add adds what one side says. It merges consecutive messages of one side,
// because Anthropic requires the two to alternate.
func (t *translation) add(role string, content []block) {
	if len(content) == 0 {
		return
	}
	if n := len(t.Messages); n > 0 && t.Messages[n-1].Role == role {
		t.Messages[n-1].Content = append(t.Messages[n-1].Content, content...)
		return
	}
	t.Messages = append(t.Messages, message{role, content})
}

// contentOf turns a message's parts into blocks. A prompt cache mark on the
// message itself goes to its last block, and with a tool's message to the
// result as a whole.
func contentOf(m *dialect.Message) ([]block, error) {
	var blocks []block
	for _, p := range m.Parts {
		if p.Kind != dialect.PartText && m.Role != dialect.RoleUser && m.Role != dialect.RoleTool {
			return nil, provider.Unsupported(p.Path, "this provider only accepts text from the system and the assistant")
		}
		b, err := blockOf(p)
		if err != nil {
			return nil, err
		}
		if p.Raw.IsObject() {
			b.CacheControl = cacheControl(p.Raw)
		}
		blocks = append(blocks, b)
	}
	if n := len(blocks); n > 0 && m.Role != dialect.RoleTool && blocks[n-1].CacheControl == nil {
		blocks[n-1].CacheControl = cacheControl(m.Raw)
	}
	return blocks, nil
}

func blockOf(p dialect.Part) (block, error) {
	switch p.Kind {
	case dialect.PartText:
		return block{Type: typeText, Text: p.Text}, nil
	case dialect.PartImage:
		return imageOf(p)
	case dialect.PartFile:
		return documentOf(p)
	}
	return block{}, provider.Unsupported(p.Path+".type", "this provider does not accept audio")
}

// sourceOf refers to a part's URL or data.
func sourceOf(p dialect.Part) (*source, error) {
	switch {
	case p.URL == "":
		return &source{Type: "base64", MediaType: p.MediaType, Data: p.Data}, nil
	case strings.HasPrefix(p.URL, "https://"):
		return &source{Type: "url", URL: p.URL}, nil
	}
	return nil, provider.Unsupported(p.Path, "this provider only loads https URLs")
}

func imageOf(p dialect.Part) (block, error) {
	switch p.MediaType {
	case "", "image/jpeg", "image/png", "image/gif", "image/webp":
	default:
		return block{}, provider.Unsupported(p.Path, "this provider accepts images of type image/jpeg, image/png, image/gif and image/webp")
	}
	src, err := sourceOf(p)
	return block{Type: "image", Source: src}, err
}

func documentOf(p dialect.Part) (block, error) {
	b := block{Type: "document", Title: p.Name}
	switch p.MediaType {
	case "text/plain":
		text, err := base64.StdEncoding.DecodeString(p.Data)
		if err != nil {
			return b, provider.Invalid(p.Path+".file.file_data", "want data in base64")
		}
		b.Source = &source{Type: "text", MediaType: p.MediaType, Data: string(text)}
		return b, nil
	case "", "application/pdf":
		src, err := sourceOf(p)
		b.Source = src
		return b, err
	}
	return b, provider.Unsupported(p.Path, "this provider accepts files of type application/pdf and text/plain")
}

// thoughts returns the thinking blocks that the client sends back with an
// assistant's message. What Bedrock has sealed is of no use here.
func (t *translation) thoughts(m *dialect.Message) []block {
	var blocks []block
	for _, c := range m.ToolCalls {
		if c.Raw.Get(`extra_content.bedrock.reasoning.#(redactedContent!="")`).Exists() {
			t.req.Drop("messages.tool_calls.extra_content")
		}
	}
	for _, t := range m.Thoughts() {
		blocks = append(blocks, block{Type: t.Type, Thinking: t.Thinking, Signature: t.Signature, Data: t.Data})
	}
	return blocks
}
