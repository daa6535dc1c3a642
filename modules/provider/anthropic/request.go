package anthropic

import (
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// rules are Anthropic's. thinking, top_k and cache_control are members of its
// own.
var rules = dialect.Rules{
	Members: []string{
		"tools", "tool_choice", "parallel_tool_calls", "response_format", "stop",
		"temperature", "top_p", "top_k", "reasoning_effort", "thinking",
		"user", "safety_identifier", "cache_control",
	},
	ToolName:     dialect.ToolNames,
	PlainObjects: true,
	UserBegins:   true,
	NoBlanks:     true,
	Signed:       true,
	Marks:        true,
	Failures:     true,
}

// body is a request of the Messages API.
type body struct {
	Model         string          `json:"model"`
	MaxTokens     int64           `json:"max_tokens"`
	System        []block         `json:"system,omitempty"`
	Messages      []message       `json:"messages"`
	Tools         []tool          `json:"tools,omitempty"`
	ToolChoice    *toolChoice     `json:"tool_choice,omitempty"`
	StopSequences []string        `json:"stop_sequences,omitempty"`
	Temperature   *float64        `json:"temperature,omitempty"`
	TopP          *float64        `json:"top_p,omitempty"`
	TopK          *int64          `json:"top_k,omitempty"`
	Thinking      json.RawMessage `json:"thinking,omitempty"`
	OutputConfig  *outputConfig   `json:"output_config,omitempty"`
	Metadata      *metadata       `json:"metadata,omitempty"`
	CacheControl  json.RawMessage `json:"cache_control,omitempty"`
	Stream        bool            `json:"stream,omitempty"`
}

type tool struct {
	Name         string          `json:"name"`
	Description  string          `json:"description,omitempty"`
	InputSchema  json.RawMessage `json:"input_schema"`
	Strict       bool            `json:"strict,omitempty"`
	CacheControl json.RawMessage `json:"cache_control,omitempty"`
}

type toolChoice struct {
	Type            string `json:"type"`
	Name            string `json:"name,omitempty"`
	DisableParallel bool   `json:"disable_parallel_tool_use,omitempty"`
}

type outputConfig struct {
	Effort string  `json:"effort,omitempty"`
	Format *format `json:"format,omitempty"`
}

type format struct {
	Type   string          `json:"type"`
	Schema json.RawMessage `json:"schema"`
}

type metadata struct {
	UserID string `json:"user_id"`
}

// translation is a request being translated from one dialect to the other.
type translation struct {
	req    *provider.Request
	root   gjson.Result // of the client's request
	talk   *dialect.Conversation
	family family
	body
}

// translate turns the client's request into one of the Messages API. names tells
// the names of its tools back.
func translate(req *provider.Request, stream bool) (encoded []byte, names *dialect.Names, err error) {
	talk, err := dialect.Parse(req, rules)
	if err != nil {
		return nil, nil, err
	}
	t := &translation{req: req, root: gjson.ParseBytes(req.Body), talk: talk, family: familyOf(req.Model)}
	t.Model, t.Stream = req.Model, stream
	// Order matters: thinking depends on the messages and the tool choice, and
	// sampling on thinking.
	for _, step := range [...]func() error{
		t.limit, t.conversation, t.format, t.think, t.sampling, t.rest,
	} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	b, err := json.Marshal(t.body)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the request: %w", err)
	}
	return unmarked(b), talk.Names, nil
}

// limit sets the limit of the answer. A limit above the model's maximum has no
// effect, but would be refused.
func (t *translation) limit() error {
	t.MaxTokens = t.family.maxTokens()
	if n := t.talk.MaxTokens; n != nil {
		if *n < 1 {
			return provider.Invalid("max_tokens", "want at least 1")
		}
		t.MaxTokens = *n
	}
	if most := t.family.limit(); most > 0 {
		t.MaxTokens = min(t.MaxTokens, most)
	}
	return nil
}

// tools sets the tools and which of them the model may call.
func (t *translation) tools() {
	for i, f := range t.talk.Tools {
		made := tool{Name: f.Name, Description: f.Description, InputSchema: f.Parameters}
		if f.Parameters == nil {
			made.InputSchema = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		if f.Strict {
			t.strict(&made, fmt.Sprintf("tools.%d.function", i))
		}
		made.CacheControl = cacheControl(f.Raw)
		if made.CacheControl == nil {
			made.CacheControl = cacheControl(f.Raw.Get("function"))
		}
		t.Tools = append(t.Tools, made)
	}
	if len(t.Tools) == 0 {
		t.pastTools()
		return
	}
	t.toolChoice()
}

// strict holds a tool's calls to its schema, if possible.
func (t *translation) strict(made *tool, path string) {
	if t.family.structured() {
		if schema, ok := dialect.Narrow(t.req, made.InputSchema, path+".parameters"); ok {
			made.InputSchema, made.Strict = schema, true
			return
		}
	}
	t.req.Drop(path + ".strict")
}

// pastTools declares the tools of earlier calls if the client offers none now:
// Anthropic requires the tools of all calls in the conversation. None of them
// may be called.
func (t *translation) pastTools() {
	seen := make(map[string]bool)
	for _, m := range t.Messages {
		for _, b := range m.Content {
			if b.Type == typeToolUse && !seen[b.Name] {
				seen[b.Name] = true
				t.Tools = append(t.Tools, tool{Name: b.Name, InputSchema: json.RawMessage(`{"type":"object"}`)})
			}
		}
	}
	if len(seen) > 0 {
		t.ToolChoice = &toolChoice{Type: "none"}
	}
}

func (t *translation) toolChoice() {
	single := t.talk.ParallelToolCalls != nil && !*t.talk.ParallelToolCalls
	switch choice := t.talk.ToolChoice; choice {
	case "none":
		t.ToolChoice = &toolChoice{Type: "none"}
	case "required":
		t.ToolChoice = &toolChoice{Type: "any", DisableParallel: single}
	case "function":
		t.ToolChoice = &toolChoice{Type: "tool", Name: t.talk.ToolName, DisableParallel: single}
	default:
		if choice == "auto" || single {
			t.ToolChoice = &toolChoice{Type: "auto", DisableParallel: single}
		}
	}
}

func (t *translation) format() error {
	f := t.talk.Format
	const member = "response_format"
	switch {
	case f == nil:
		return nil
	case f.Schema == nil:
		return provider.Unsupported(member, "this provider requires a schema for JSON answers: want json_schema")
	case !t.family.structured():
		return provider.Unsupported(member, "this model does not support schemas for its answers")
	}
	schema, ok := dialect.Narrow(t.req, f.Schema, member+".json_schema.schema")
	if !ok {
		return provider.Unsupported(member, "this provider's schemas must name all members of an object: want properties without additionalProperties")
	}
	t.OutputConfig = &outputConfig{Format: &format{Type: "json_schema", Schema: schema}}
	return nil
}

// sampling sets temperature and similar parameters. Anthropic's temperatures
// end at 1, which is also the default.
func (t *translation) sampling() error {
	talk := t.talk
	if v := talk.Temperature; v != nil && (*v < 0 || *v > 2) {
		return provider.Invalid("temperature", "want a number from 0 to 2")
	}
	free := t.family.samples() && !t.thinks()
	switch v := talk.Temperature; {
	case v == nil, *v == 1 && t.family.claude:
	case *v > 1, !free:
		t.req.Drop("temperature")
	default:
		t.Temperature = v
	}
	switch v := talk.TopP; {
	case v == nil, *v == 1 && t.family.claude:
	case !free, t.Temperature != nil && !t.family.samplesBoth():
		t.req.Drop("top_p")
	default:
		t.TopP = v
	}
	switch {
	case talk.TopK == nil:
	case !free:
		t.req.Drop("top_k")
	default:
		t.TopK = talk.TopK
	}
	return nil
}

// maxUserID is the longest user id that Anthropic accepts, in characters.
const maxUserID = 256

func (t *translation) rest() error {
	t.StopSequences = t.talk.Stop
	for _, name := range [...]string{"user", "safety_identifier"} {
		switch v := t.root.Get(name); {
		case v.Str == "" && v.Type == gjson.String, !v.Exists(), v.Type == gjson.Null:
		case v.Type != gjson.String, len([]rune(v.Str)) > maxUserID:
			t.req.Drop(name)
		case t.Metadata == nil:
			t.Metadata = &metadata{v.Str}
		case t.Metadata.UserID != v.Str:
			t.req.Drop(name)
		}
	}
	t.CacheControl = cacheControl(t.root)
	return nil
}

// cacheControl returns the prompt cache mark that v carries.
func cacheControl(v gjson.Result) json.RawMessage {
	if c := v.Get("cache_control"); c.IsObject() {
		return json.RawMessage(c.Raw)
	}
	return nil
}
