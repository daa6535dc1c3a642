package messages

import (
	"encoding/json"
)

// completion is the chat completions request that a request becomes. Thinking, TopK
// and CacheControl are extensions, which Anthropic's provider knows.
type completion struct {
	Model             string          `json:"model,omitempty"`
	Messages          []message       `json:"messages"`
	MaxTokens         json.RawMessage `json:"max_tokens,omitempty"`
	Stream            bool            `json:"stream,omitempty"`
	Tools             []tool          `json:"tools,omitempty"`
	ToolChoice        any             `json:"tool_choice,omitempty"`
	ParallelToolCalls *bool           `json:"parallel_tool_calls,omitempty"`
	Stop              json.RawMessage `json:"stop,omitempty"`
	Temperature       json.RawMessage `json:"temperature,omitempty"`
	TopP              json.RawMessage `json:"top_p,omitempty"`
	TopK              json.RawMessage `json:"top_k,omitempty"`
	ReasoningEffort   string          `json:"reasoning_effort,omitempty"`
	Thinking          json.RawMessage `json:"thinking,omitempty"`
	ResponseFormat    any             `json:"response_format,omitempty"`
	User              string          `json:"user,omitempty"`
	CacheControl      json.RawMessage `json:"cache_control,omitempty"`
}

// message is one of a chat completions request. ThinkingBlocks, Reasoning, Extra, IsError
// and CacheControl are extensions: reasoning that Anthropic's models have signed, that of
// others and who they are, whether a tool has failed, and a mark for prompt caches.
type message struct {
	Role           string            `json:"role"`
	Content        any               `json:"content"` // a string, a list of parts or null
	ToolCalls      []toolCall        `json:"tool_calls,omitempty"`
	ToolCallID     string            `json:"tool_call_id,omitempty"`
	ThinkingBlocks []json.RawMessage `json:"thinking_blocks,omitempty"`
	Reasoning      string            `json:"reasoning_content,omitempty"`
	Extra          json.RawMessage   `json:"extra_content,omitempty"`
	IsError        bool              `json:"is_error,omitempty"`
	CacheControl   json.RawMessage   `json:"cache_control,omitempty"`

	from int // which of the request's messages it was made of, counted from 1; 0 for none
}

// part is a piece of a message's content.
type part struct {
	Type         string          `json:"type"`
	Text         string          `json:"text,omitempty"`
	ImageURL     *imageURL       `json:"image_url,omitempty"`
	File         *file           `json:"file,omitempty"`
	CacheControl json.RawMessage `json:"cache_control,omitempty"`
}

type imageURL struct {
	URL string `json:"url"`
}

type file struct {
	Name string `json:"filename"`
	Data string `json:"file_data"`
}

// toolCall is one of an assistant's message. Extra is what its provider wants back.
type toolCall struct {
	ID           string          `json:"id"`
	Type         string          `json:"type"` // always "function"
	Function     function        `json:"function"`
	Extra        json.RawMessage `json:"extra_content,omitempty"`
	CacheControl json.RawMessage `json:"cache_control,omitempty"`
}

type function struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// contentOf returns parts as a string if they are a single text without a mark.
func contentOf(parts []part) any {
	if len(parts) == 1 && parts[0].Type == partText && parts[0].CacheControl == nil {
		return parts[0].Text
	}
	return parts
}

// The types of parts.
const (
	partText  = "text"
	partImage = "image_url"
	partFile  = "file"
)

// The roles of messages.
const (
	roleUser      = "user"
	roleAssistant = "assistant"
	roleSystem    = "system"
	roleTool      = "tool"
)
