package messages

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// answer is a message of the assistant.
type answer struct {
	ID      string `json:"id"`
	Type    string `json:"type"` // always "message"
	Role    string `json:"role"` // always "assistant"
	Model   string `json:"model"`
	Content []any  `json:"content"` // of the blocks below
	ending
	Usage usage `json:"usage"`
}

// ending is why the model has stopped; null in an answer that only begins.
type ending struct {
	StopReason   *string `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
}

// The types of blocks.
const (
	kindText     = "text"
	kindThinking = "thinking"
	kindRedacted = "redacted_thinking"
	kindTool     = "tool_use"
)

type textBlock struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type thinkingBlock struct {
	Type      string `json:"type"`
	Thinking  string `json:"thinking"`
	Signature string `json:"signature"`
}

type redactedBlock struct {
	Type string `json:"type"`
	Data string `json:"data"`
}

type toolUseBlock struct {
	Type  string          `json:"type"`
	ID    string          `json:"id"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

// usage counts tokens. Input is without those that a cache has read or written.
type usage struct {
	Input   int64 `json:"input_tokens"`
	Written int64 `json:"cache_creation_input_tokens"`
	Cached  int64 `json:"cache_read_input_tokens"`
	Output  int64 `json:"output_tokens"`

	// Estimated marks counts that are not the provider's, as in chat completions. The
	// beginning of a stream has none: clients would keep it for the counts at the end.
	Estimated bool `json:"estimated,omitempty"`
}

func usageOf(u provider.Usage) usage {
	return usage{max(0, u.Input-u.Cached-u.Written), u.Written, u.Cached, u.Output, u.Estimated}
}

// stops are Anthropic's words for finish reasons.
var stops = map[string]string{
	"length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal",
}

// endingOf returns why the model has stopped.
func endingOf(finish, sequence string) ending {
	reason, ok := stops[finish]
	switch {
	case ok:
	case sequence != "":
		reason = "stop_sequence"
		return ending{&reason, &sequence}
	default:
		reason = "end_turn"
	}
	return ending{StopReason: &reason}
}

// stoppedBy returns the stop sequence that a choice ends at. Only some servers name it:
// vLLM in stop_reason, SGLang in matched_stop.
func stoppedBy(choice gjson.Result) string {
	if s := choice.Get("stop_reason").Str; s != "" && choice.Get("finish_reason").Str == "stop" {
		return s
	}
	return choice.Get("matched_stop").Str
}

// idPrefix begins the ids of messages.
const idPrefix = "msg_"

// idOf returns the id of a message for that of a chat completion.
func idOf(completion string) string {
	if strings.HasPrefix(completion, idPrefix) {
		return completion
	}
	return idPrefix + strings.TrimPrefix(completion, "chatcmpl-")
}

// Document implements door.Call.
func (c *call) Document(completion []byte) []byte {
	root, f, _ := provider.ReadCompletion(completion)
	if native := root.Get(provider.MemberNative); typeOf(native) == "message" {
		return []byte(native.Raw)
	}
	choice := root.Get("choices.#(index==0)")
	m := choice.Get("message")
	doc := answer{ID: idOf(root.Get("id").String()), Type: "message", Role: roleAssistant, Model: f.Model, Content: []any{}}
	doc.ending = endingOf(f.FinishReason, stoppedBy(choice))
	doc.Content = appendThinking(doc.Content, m.Get("thinking_blocks").Array(), f.Reasoning, author.Of(m))
	if f.Text != "" {
		doc.Content = append(doc.Content, textBlock{kindText, f.Text})
	}
	for i, call := range m.Get("tool_calls").Array() {
		doc.Content = append(doc.Content, toolUseOf(call, doc.ID, i))
	}
	if f.Usage != nil {
		doc.Usage = usageOf(*f.Usage)
	}
	return provider.Encode(doc)
}

// appendThinking appends the reasoning: signed blocks as they are, else its text with the
// model that has written it.
func appendThinking(content []any, blocks []gjson.Result, text, by string) []any {
	for _, b := range blocks {
		content = append(content, thinkingOf(b, by))
	}
	if len(blocks) == 0 && text != "" {
		content = append(content, thinkingBlock{kindThinking, text, unsigned(by)})
	}
	return content
}

// thinkingOf returns a block of thinking_blocks as one of this API. An item of OpenAI's
// Responses is sealed behind what it says.
func thinkingOf(b gjson.Result, by string) any {
	if !items.IsReasoning(b) {
		return json.RawMessage(b.Raw)
	}
	seal := sealItem(b, by)
	if text := items.Readable(b.Get("item")); text != "" {
		return thinkingBlock{kindThinking, text, seal}
	}
	return redactedBlock{kindRedacted, seal}
}

// toolUseOf returns a call as a block.
func toolUseOf(call gjson.Result, message string, n int) toolUseBlock {
	var extra json.RawMessage
	if e := call.Get("extra_content"); e.IsObject() {
		extra = json.RawMessage(e.Raw)
	}
	return toolUseBlock{
		Type:  kindTool,
		ID:    callID(message, call.Get("id").String(), extra, n),
		Name:  call.Get("function.name").Str,
		Input: inputOf(provider.ArgumentsOf(call.Get("function.arguments"))),
	}
}

// inputOf returns arguments as the object that clients expect. What a model has cut off
// or misspelt stays readable.
func inputOf(arguments string) json.RawMessage {
	switch {
	case strings.TrimSpace(arguments) == "":
		return noInput
	case json.Valid([]byte(arguments)) && gjson.Parse(arguments).IsObject():
		return json.RawMessage(arguments)
	}
	return provider.Encode(map[string]string{"arguments": arguments})
}

// Interface guards
var (
	_ door.Stream = (*stream)(nil)
	_ door.Call   = (*call)(nil)
)
