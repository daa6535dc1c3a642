package bedrock

import (
	"encoding/json"
	"fmt"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// rulesOf returns the rules of Converse for a model.
func rulesOf(model string) dialect.Rules {
	return dialect.Rules{
		Members:      []string{"tools", "tool_choice", "response_format", "temperature", "top_p", "stop", "reasoning_effort"},
		ToolName:     dialect.ToolNames,
		PlainObjects: true,
		UserBegins:   true,
		NoBlanks:     true,
		Signed:       isClaude(model),
		Failures:     takesStatus(model),
	}
}

// converse is the body of a call.
type converse struct {
	System     []block        `json:"system,omitempty"`
	Messages   []message      `json:"messages"`
	Inference  *inference     `json:"inferenceConfig,omitempty"`
	Tools      *toolConfig    `json:"toolConfig,omitempty"`
	Output     *outputConfig  `json:"outputConfig,omitempty"`
	Additional map[string]any `json:"additionalModelRequestFields,omitempty"`
}

type inference struct {
	MaxTokens   *int64   `json:"maxTokens,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"topP,omitempty"`
	Stop        []string `json:"stopSequences,omitempty"`
}

type toolConfig struct {
	Tools  []tool      `json:"tools"`
	Choice *toolChoice `json:"toolChoice,omitempty"`
}

type tool struct {
	Spec toolSpec `json:"toolSpec"`
}

type toolSpec struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"`
	Schema      inputSchema `json:"inputSchema"`
	Strict      bool        `json:"strict,omitempty"`
}

type inputSchema struct {
	JSON json.RawMessage `json:"json"`
}

type toolChoice struct {
	Auto *struct{} `json:"auto,omitempty"`
	Any  *struct{} `json:"any,omitempty"`
	Tool *named    `json:"tool,omitempty"`
}

type named struct {
	Name string `json:"name"`
}

type outputConfig struct {
	Text textFormat `json:"textFormat"`
}

type textFormat struct {
	Type      string    `json:"type"`
	Structure structure `json:"structure"`
}

type structure struct {
	Schema jsonSchema `json:"jsonSchema"`
}

type jsonSchema struct {
	Schema string `json:"schema"` // JSON in a string
	Name   string `json:"name,omitempty"`
}

// body translates a client's request. names tells the names of its tools back.
func (b *Bedrock) body(preq *provider.Request) (encoded []byte, names *dialect.Names, err error) {
	c, err := dialect.Parse(preq, rulesOf(preq.Model))
	if err != nil {
		return nil, nil, err
	}
	out := converse{Inference: options(preq, c)}
	for _, text := range c.System {
		out.System = append(out.System, block{Text: text})
	}
	m := messages{claude: isClaude(preq.Model)}
	for i := range c.Messages {
		if err := m.add(&c.Messages[i]); err != nil {
			return nil, nil, err
		}
		if m.claude && losesThoughts(&c.Messages[i]) {
			preq.Drop("messages.thinking_blocks")
		}
	}
	if preq.Continue != "" {
		m.append(dialect.RoleAssistant, block{Text: preq.Continue})
	}
	out.Messages = m.list
	out.Tools = tools(preq, c)
	if out.Output, err = format(preq, c.Format); err != nil {
		return nil, nil, err
	}
	out.reason(preq, c)
	if out.Inference.empty() {
		out.Inference = nil
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the request: %w", err)
	}
	return body, c.Names, nil
}

// options are the limits and the sampling.
func options(preq *provider.Request, c *dialect.Conversation) *inference {
	o := &inference{MaxTokens: c.MaxTokens, Temperature: c.Temperature, TopP: c.TopP, Stop: c.Stop}
	if o.Temperature != nil && *o.Temperature > 1 {
		// This scale ends where the middle of OpenAI's is.
		o.Temperature = new(1.0)
		preq.Drop("temperature")
	}
	if v, ok := claudeVersion(preq.Model); ok && v.since(4, 1) && o.Temperature != nil && o.TopP != nil {
		// These models accept only one of the two.
		o.TopP = nil
		preq.Drop("top_p")
	}
	return o
}

func (o *inference) empty() bool {
	return o.MaxTokens == nil && o.Temperature == nil && o.TopP == nil && len(o.Stop) == 0
}

// tools are the functions that the model may call.
func tools(preq *provider.Request, c *dialect.Conversation) *toolConfig {
	var config toolConfig
	for i, t := range c.Tools {
		schema, strict := t.Parameters, t.Strict
		if strict {
			schema, strict = strictSchema(preq, schema, fmt.Sprintf("tools.%d.function", i))
		}
		config.add(t.Name, t.Description, schema, strict)
	}
	past := calledTools(c)
	switch {
	case len(config.Tools) == 0:
		// Bedrock refuses a conversation with calls unless some tool is
		// declared.
		for _, name := range past {
			config.add(name, "", nil, false)
		}
	case c.ToolChoice == "none" && len(past) == 0:
		// There is no such choice, but without tools there is no other.
		return nil
	case c.ToolChoice == "none":
		preq.Drop("tool_choice")
	case c.ToolChoice == "auto":
		config.Choice = &toolChoice{Auto: new(struct{})}
	case c.ToolChoice == "required":
		config.Choice = &toolChoice{Any: new(struct{})}
	case c.ToolChoice == "function":
		config.Choice = &toolChoice{Tool: &named{c.ToolName}}
	}
	if len(config.Tools) == 0 {
		return nil
	}
	return &config
}

func (t *toolConfig) add(name, description string, schema json.RawMessage, strict bool) {
	if schema == nil {
		schema = json.RawMessage(`{"type":"object","properties":{}}`)
	}
	t.Tools = append(t.Tools, tool{toolSpec{name, description, inputSchema{schema}, strict}})
}

// calledTools returns the names of the tools that are called in the
// conversation.
func calledTools(c *dialect.Conversation) []string {
	var names []string
	seen := make(map[string]bool)
	for _, m := range c.Messages {
		for _, call := range m.ToolCalls {
			if !seen[call.Name] {
				seen[call.Name] = true
				names = append(names, call.Name)
			}
		}
	}
	return names
}

// strictSchema returns the schema that a tool's calls are held to. strict is false
// if they cannot be.
func strictSchema(preq *provider.Request, schema json.RawMessage, path string) (held json.RawMessage, strict bool) {
	if !isClaude(preq.Model) || schema == nil {
		return schema, true
	}
	if v, ok := claudeVersion(preq.Model); !ok || v.since(4, 5) {
		if held, ok := dialect.Narrow(preq, schema, path+".parameters"); ok {
			return held, true
		}
	}
	preq.Drop(path + ".strict")
	return schema, false
}

// format asks for JSON by a schema. Converse has no JSON mode without one.
func format(preq *provider.Request, f *dialect.Format) (*outputConfig, error) {
	const member = "response_format"
	if f == nil {
		return nil, nil
	}
	schema := f.Schema
	v, known := claudeVersion(preq.Model)
	switch {
	case schema == nil:
		preq.Drop(member)
		return nil, nil
	case known && !v.since(4, 5):
		return nil, provider.Unsupported(member, "this model does not support schemas for its answers")
	case isClaude(preq.Model):
		narrowed, ok := dialect.Narrow(preq, schema, member+".json_schema.schema")
		if !ok {
			return nil, provider.Unsupported(member, "this provider's schemas must name all members of an object: want properties without additionalProperties")
		}
		schema = narrowed
	}
	return &outputConfig{textFormat{"json_schema", structure{jsonSchema{string(schema), f.Name}}}}, nil
}
