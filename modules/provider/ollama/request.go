package ollama

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// chatRequest is the body of a call to /api/chat.
type chatRequest struct {
	Model    string          `json:"model"`
	Messages []message       `json:"messages"`
	Tools    []tool          `json:"tools,omitempty"`
	Format   json.RawMessage `json:"format,omitempty"` // "json" or a schema
	Think    any             `json:"think,omitempty"`  // false, low, medium or high
	Options  *options        `json:"options,omitempty"`
	Stream   bool            `json:"stream"`
}

type message struct {
	Role      string     `json:"role"`
	Content   string     `json:"content"`
	Thinking  string     `json:"thinking,omitempty"`
	Images    []string   `json:"images,omitempty"` // base64
	ToolCalls []toolCall `json:"tool_calls,omitempty"`

	// Of a tool. Old versions know neither, newer ones only the name.
	ToolName   string `json:"tool_name,omitempty"`
	ToolCallID string `json:"tool_call_id,omitempty"`
}

type toolCall struct {
	ID       string       `json:"id,omitempty"`
	Function functionCall `json:"function"`
}

type functionCall struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

type tool struct {
	Type     string   `json:"type"`
	Function function `json:"function"`
}

type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
}

type options struct {
	NumPredict       *int64   `json:"num_predict,omitempty"`
	Temperature      *float64 `json:"temperature,omitempty"`
	TopP             *float64 `json:"top_p,omitempty"`
	TopK             *int64   `json:"top_k,omitempty"`
	FrequencyPenalty *float64 `json:"frequency_penalty,omitempty"`
	PresencePenalty  *float64 `json:"presence_penalty,omitempty"`
	Seed             *int64   `json:"seed,omitempty"`
	Stop             []string `json:"stop,omitempty"`
}

// rules are Ollama's, which takes any conversation and any name of a tool.
var rules = dialect.Rules{
	Members: []string{
		"tools", "tool_choice", "response_format", "temperature", "top_p", "top_k",
		"frequency_penalty", "presence_penalty", "seed", "stop", "reasoning_effort",
	},
	Plain: true,
}

// chatBody translates a chat completions request.
func chatBody(preq *provider.Request, stream bool) ([]byte, error) {
	c, err := dialect.Parse(preq, rules)
	if err != nil {
		return nil, err
	}
	r := chatRequest{Model: preq.Model, Stream: stream, Format: formatOf(c.Format)}
	if r.Messages, err = messagesOf(c); err != nil {
		return nil, err
	}
	if preq.Continue != "" {
		r.Messages = append(r.Messages, message{Role: dialect.RoleAssistant, Content: preq.Continue})
	}
	if r.Tools, err = toolsOf(preq, c); err != nil {
		return nil, err
	}
	if r.Think, err = thinkOf(c.ReasoningEffort); err != nil {
		return nil, err
	}
	if r.Options, err = optionsOf(preq, c); err != nil {
		return nil, err
	}
	return encode(r)
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("translating the request: %w", err)
	}
	return body, nil
}

func messagesOf(c *dialect.Conversation) ([]message, error) {
	messages := make([]message, 0, len(c.Messages)+1)
	if len(c.System) > 0 {
		messages = append(messages, message{Role: "system", Content: strings.Join(c.System, "\n\n")})
	}
	for _, m := range c.Messages {
		n := message{Role: m.Role, Content: m.Text(), Thinking: m.Reasoning}
		for _, p := range m.Parts {
			if p.Kind == dialect.PartText {
				continue
			}
			if err := addImage(&n, p); err != nil {
				return nil, err
			}
		}
		for _, call := range m.ToolCalls {
			n.ToolCalls = append(n.ToolCalls, toolCall{ID: call.ID, Function: functionCall{call.Name, call.Arguments}})
		}
		if m.Role == dialect.RoleTool {
			n.ToolCallID, n.ToolName = m.ToolID, m.ToolName
		}
		messages = append(messages, n)
	}
	return messages, nil
}

func addImage(m *message, p dialect.Part) error {
	switch {
	case p.Kind != dialect.PartImage:
		return provider.Unsupported(p.Path, "this provider only accepts text and images")
	case p.Data == "":
		return provider.Unsupported(p.Path+".image_url.url", "this provider does not fetch images: send data:<media type>;base64,<data>")
	}
	m.Images = append(m.Images, p.Data)
	return nil
}

func toolsOf(preq *provider.Request, c *dialect.Conversation) ([]tool, error) {
	switch {
	case c.ToolChoice == "none" || len(c.Tools) == 0:
		// Without tools there is nothing to call.
		return nil, nil
	case c.ToolChoice == "required" || c.ToolChoice == "function":
		return nil, provider.Unsupported("tool_choice", "this provider cannot force a tool call: want auto or none")
	}
	tools := make([]tool, 0, len(c.Tools))
	for _, t := range c.Tools {
		if t.Strict {
			preq.Drop("tools.function.strict")
		}
		tools = append(tools, tool{"function", function{t.Name, t.Description, t.Parameters}})
	}
	return tools, nil
}

func formatOf(f *dialect.Format) json.RawMessage {
	switch {
	case f == nil:
		return nil
	case f.Schema == nil:
		return json.RawMessage(`"json"`)
	}
	return f.Schema
}

// thinkOf returns how much a model is to think; nil leaves it to the model.
func thinkOf(effort string) (any, error) {
	switch effort {
	case "":
		return nil, nil
	case "none":
		return false, nil
	case "low", "medium", "high":
		return effort, nil
	case "minimal":
		return "low", nil
	case "xhigh":
		return "high", nil
	}
	return nil, provider.Invalid("reasoning_effort", "want none, minimal, low, medium, high or xhigh")
}

func optionsOf(preq *provider.Request, c *dialect.Conversation) (*options, error) {
	// Ollama reads -1 as no limit at all.
	if c.MaxTokens != nil && *c.MaxTokens < 1 {
		name := "max_tokens"
		if v := gjson.GetBytes(preq.Body, "max_completion_tokens"); v.Type == gjson.Number {
			name = "max_completion_tokens"
		}
		return nil, provider.Invalid(name, "want a whole number from 1")
	}
	o := options{
		c.MaxTokens, c.Temperature, c.TopP, c.TopK,
		c.FrequencyPenalty, c.PresencePenalty, c.Seed, c.Stop,
	}
	if o.NumPredict == nil && o.Temperature == nil && o.TopP == nil && o.TopK == nil &&
		o.FrequencyPenalty == nil && o.PresencePenalty == nil && o.Seed == nil && o.Stop == nil {
		return nil, nil
	}
	return &o, nil
}
