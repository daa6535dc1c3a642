// Package dialect holds what the adapters of providers with an API of their own
// share: it parses the client's request, and writes the answer in OpenAI's
// shape.
package dialect

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// The roles of a message. System messages at the beginning are kept in
// Conversation.System, and later ones are the user's.
const (
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleTool      = "tool"
)

// Conversation is a parsed chat completions request. Members that the client
// did not send are nil or empty.
type Conversation struct {
	System   []string  // the texts of the system and developer messages at the beginning
	Messages []Message // all others, as Rules and pair make them
	Tools    []Tool

	// SystemMessages are the messages behind System, for what only one provider
	// understands.
	SystemMessages []Message

	// ToolChoice is auto, none, required or function, or empty if the client
	// did not set it. ToolName belongs to function.
	ToolChoice        string
	ToolName          string
	ParallelToolCalls *bool

	Format *Format // nil for plain text

	MaxTokens        *int64
	Temperature      *float64
	TopP             *float64
	TopK             *int64
	FrequencyPenalty *float64
	PresencePenalty  *float64
	Seed             *int64
	Stop             []string
	ReasoningEffort  string // none, minimal, low, medium, high or xhigh

	// Names tells the tools' names back. All others in the conversation are
	// those that the provider accepts.
	Names *Names

	rules Rules
}

// Message is one message of a conversation.
type Message struct {
	Role      string
	Parts     []Part
	Reasoning string     // an assistant's, as the client sent it back
	ToolCalls []ToolCall // of an assistant
	ToolID    string     // the id of the call that a tool's message answers
	ToolName  string     // the name of the tool whose result this is
	Failed    bool       // the tool has; only if the rules have Failures

	// Path is the message's place in the body, for errors.
	Path string

	// Raw is the message as it came, for what only one provider understands.
	Raw gjson.Result
}

// Text is the message's text parts, joined. Those of an assistant are one text in pieces. All
// others are texts of their own, kept apart by a blank line unless white space is there.
func (m *Message) Text() string {
	var b strings.Builder
	spaced := true
	for _, p := range m.Parts {
		if p.Text == "" {
			continue
		}
		first, _ := utf8.DecodeRuneInString(p.Text)
		if m.Role != RoleAssistant && !spaced && !unicode.IsSpace(first) {
			b.WriteString("\n\n")
		}
		b.WriteString(p.Text)
		last, _ := utf8.DecodeLastRuneInString(p.Text)
		spaced = unicode.IsSpace(last)
	}
	return b.String()
}

// The kinds of a part.
const (
	PartText  = "text"
	PartImage = "image_url"
	PartFile  = "file"
	PartAudio = "input_audio"
)

// Part is a part of a message's content: text, or a file by URL or as data.
type Part struct {
	Kind      string
	Text      string
	URL       string // http or https
	MediaType string // of Data, such as image/png
	Data      string // base64
	Name      string // of a file

	// Path is the part's place in the body, for errors.
	Path string

	// Raw is the part as it came, for what only one provider understands.
	Raw gjson.Result
}

// ToolCall is a call that an assistant made. Its ID is the only one of its kind
// in the conversation, and one result has it. Arguments is a JSON object.
type ToolCall struct {
	ID        string
	Name      string
	Arguments json.RawMessage

	// Raw is the call as it came, for what only one provider understands.
	Raw gjson.Result
}

// Tool is a function that the model may call. Parameters is the JSON schema of an
// object, nil if the client sent none.
type Tool struct {
	Name        string
	Description string
	Parameters  json.RawMessage
	Strict      bool

	// Raw is the tool as it came, for what only one provider understands.
	Raw gjson.Result
}

// Format is a response_format of JSON. Schema is nil if any object will do.
type Format struct {
	Name   string
	Schema json.RawMessage
	Strict bool
}

// handled are the members of a body that every adapter supports: a Conversation
// has a place for them, or they are the gateway's own.
var handled = []string{
	"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
}

// refused are the members that ask for another kind of answer. To drop one of
// them would change what the client gets.
var refused = map[string]string{
	"functions":     "want tools in place of functions",
	"function_call": "want tool_choice in place of function_call",
	"tools":         "this provider does not support tools",
	"audio":         "this provider only answers with text",
	"logprobs":      "this provider does not report log probabilities",
	"top_logprobs":  "this provider does not report log probabilities",
	"n":             "this provider only returns one choice",
}

// Parse parses a request, and makes it comply with the rules of the provider.
// Errors are *provider.Error.
func Parse(req *provider.Request, rules Rules) (*Conversation, error) {
	root, supported := gjson.ParseBytes(req.Body), rules.Members
	if err := sift(req, root, supported); err != nil {
		return nil, err
	}
	if req.Continue != "" && !req.Continuable() {
		return nil, provider.Unsupported("messages", "an answer to this request cannot be continued")
	}
	c := &Conversation{rules: rules}
	var err error
	root.Get("messages").ForEach(func(i, m gjson.Result) bool {
		err = c.addMessage(req, m, fmt.Sprintf("messages.%d", i.Int()))
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	if err := c.parseTools(req, root); err != nil {
		return nil, err
	}
	c.nameTools()
	if err := c.settle(req); err != nil {
		return nil, err
	}
	if err := c.parseFormat(req, root.Get("response_format")); err != nil {
		return nil, err
	}
	req.DropOthers(root.Get("stream_options"), "stream_options", "include_usage")
	if err := c.parseStop(req, root.Get("stop")); err != nil {
		return nil, err
	}
	return c, c.parseOptions(root)
}

// sift drops or refuses what the adapter does not carry over.
func sift(req *provider.Request, root gjson.Result, supported []string) error {
	var err error
	root.ForEach(func(k, v gjson.Result) bool {
		name := k.Str
		if v.Type == gjson.Null || slices.Contains(handled, name) || slices.Contains(supported, name) || saysNothing(name, v) {
			return true
		}
		if name == "modalities" {
			if v.Get(`#(=="audio")`).Exists() {
				err = provider.Unsupported("modalities", "this provider only answers with text")
			}
			return err == nil
		}
		if why, ok := refused[name]; ok {
			err = provider.Unsupported(name, why)
			return false
		}
		req.Drop(name)
		return true
	})
	return err
}

func (c *Conversation) parseTools(req *provider.Request, root gjson.Result) error {
	if !slices.Contains(c.rules.Members, "tools") {
		return nil
	}
	seen := make(map[string]string) // the tools as they came, by name
	if tools := root.Get("tools"); tools.Exists() && tools.Type != gjson.Null && !tools.IsArray() {
		return provider.Invalid("tools", "want a list")
	}
	for i, t := range root.Get("tools").Array() {
		path := fmt.Sprintf("tools.%d", i)
		if typ := t.Get("type").Str; typ != "function" {
			return provider.Unsupported(path+".type", "this provider only supports functions")
		}
		f := t.Get("function")
		tool := Tool{Name: f.Get("name").Str, Description: f.Get("description").Str, Strict: f.Get("strict").Bool(), Raw: t}
		if tool.Name == "" {
			return provider.Invalid(path+".function.name", "required, the function's name")
		}
		if first, ok := seen[tool.Name]; ok {
			// Providers refuse two tools with one name.
			if first != t.Raw {
				req.Drop("tools")
			}
			continue
		}
		seen[tool.Name] = t.Raw
		c.others(req, t, "tools", "type", "function")
		c.others(req, f, "tools.function", "name", "description", "parameters", "strict")
		var err error
		if tool.Parameters, err = c.parameters(req, f.Get("parameters"), path+".function.parameters"); err != nil {
			return err
		}
		c.Tools = append(c.Tools, tool)
	}
	req.DropOthers(root.Get("tool_choice"), "tool_choice", "type", "function")
	if p := root.Get("parallel_tool_calls"); p.IsBool() {
		c.ParallelToolCalls = new(p.Bool())
	}
	return c.parseToolChoice(root.Get("tool_choice"))
}

func (c *Conversation) parseToolChoice(v gjson.Result) error {
	switch {
	case !v.Exists() || v.Type == gjson.Null:
	case v.Str == "auto", v.Str == "none", v.Str == "required":
		c.ToolChoice = v.Str
	case v.Get("type").Str == "function" && v.Get("function.name").Str != "":
		c.ToolChoice, c.ToolName = "function", v.Get("function.name").Str
	case v.Get("type").Str == "allowed_tools", v.Get("type").Str == "custom":
		return provider.Unsupported("tool_choice", "this provider only supports auto, none, required and functions")
	default:
		return provider.Invalid("tool_choice", "want auto, none, required or a function")
	}
	if len(c.Tools) == 0 && (c.ToolChoice == "required" || c.ToolChoice == "function") {
		return provider.Invalid("tool_choice", "want tools to choose from")
	}
	return nil
}

func (c *Conversation) parseFormat(req *provider.Request, v gjson.Result) error {
	if !slices.Contains(c.rules.Members, "response_format") || !v.Exists() || v.Type == gjson.Null {
		return nil
	}
	switch v.Get("type").Str {
	case "text":
	case "json_object":
		c.Format = new(Format)
	case "json_schema":
		schema := v.Get("json_schema.schema")
		if !schema.IsObject() {
			return provider.Invalid("response_format.json_schema.schema", "required, a JSON schema")
		}
		req.DropOthers(v.Get("json_schema"), "response_format.json_schema", "name", "schema", "strict")
		c.Format = &Format{
			Name:   v.Get("json_schema.name").Str,
			Schema: json.RawMessage(schema.Raw),
			Strict: v.Get("json_schema.strict").Bool(),
		}
	default:
		return provider.Invalid("response_format.type", "want text, json_object or json_schema")
	}
	return nil
}

func (c *Conversation) parseOptions(root gjson.Result) error {
	supported := c.rules.Members
	var err error
	number := func(name string) *float64 {
		v := root.Get(name)
		switch {
		case !v.Exists() || v.Type == gjson.Null || !slices.Contains(supported, name) && !slices.Contains(handled, name):
			return nil
		case v.Type != gjson.Number:
			err = provider.Invalid(name, "want a number")
			return nil
		}
		return &v.Num
	}
	whole := func(name string) *int64 {
		switch f := number(name); {
		case f == nil:
			return nil
		case *f != math.Trunc(*f) || math.Abs(*f) >= 1<<63:
			err = provider.Invalid(name, "want a whole number")
			return nil
		}
		// A float64 does not hold all digits.
		return new(root.Get(name).Int())
	}
	c.MaxTokens = whole("max_completion_tokens")
	if c.MaxTokens == nil {
		c.MaxTokens = whole("max_tokens")
	}
	c.Temperature, c.TopP, c.TopK = number("temperature"), number("top_p"), whole("top_k")
	c.FrequencyPenalty, c.PresencePenalty = number("frequency_penalty"), number("presence_penalty")
	c.Seed = whole("seed")
	if slices.Contains(supported, "reasoning_effort") {
		c.ReasoningEffort = root.Get("reasoning_effort").Str
	}
	return err
}

// parseStop reads the stop sequences. An empty one would stop an answer at once.
func (c *Conversation) parseStop(req *provider.Request, v gjson.Result) error {
	if !slices.Contains(c.rules.Members, "stop") || !v.Exists() || v.Type == gjson.Null {
		return nil
	}
	list := []gjson.Result{v}
	if v.IsArray() {
		list = v.Array()
	}
	for _, s := range list {
		switch {
		case s.Type != gjson.String:
			return provider.Invalid("stop", "want a string or a list of strings")
		case s.Str == "":
		case c.rules.NoBlanks && strings.TrimSpace(s.Str) == "":
			req.Drop("stop")
		default:
			c.Stop = append(c.Stop, s.Str)
		}
	}
	return nil
}

// nameTools gives all tools names that the provider accepts.
func (c *Conversation) nameTools() {
	if c.rules.ToolName == nil {
		return
	}
	var names []string
	c.eachName(func(name string) string {
		names = append(names, name)
		return name
	})
	c.Names = NewNames(c.rules.ToolName, names)
	c.eachName(c.Names.Give)
}

// eachName replaces the names of the tools wherever one stands.
func (c *Conversation) eachName(replace func(string) string) {
	for i := range c.Tools {
		c.Tools[i].Name = replace(c.Tools[i].Name)
	}
	if c.ToolName != "" {
		c.ToolName = replace(c.ToolName)
	}
	for i := range c.Messages {
		for j := range c.Messages[i].ToolCalls {
			call := &c.Messages[i].ToolCalls[j]
			call.Name = replace(call.Name)
		}
	}
}
