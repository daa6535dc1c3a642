package responses

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// completion is the chat completions request that a request becomes.
type completion struct {
	Model             json.RawMessage `json:"model,omitempty"`
	Messages          []*message      `json:"messages"`
	Stream            json.RawMessage `json:"stream,omitempty"`
	MaxTokens         json.RawMessage `json:"max_tokens,omitempty"`
	Temperature       json.RawMessage `json:"temperature,omitempty"`
	TopP              json.RawMessage `json:"top_p,omitempty"`
	ReasoningEffort   json.RawMessage `json:"reasoning_effort,omitempty"`
	ResponseFormat    json.RawMessage `json:"response_format,omitempty"`
	Verbosity         json.RawMessage `json:"verbosity,omitempty"`
	Logprobs          bool            `json:"logprobs,omitempty"`
	TopLogprobs       json.RawMessage `json:"top_logprobs,omitempty"`
	Tools             []tool          `json:"tools,omitempty"`
	ToolChoice        any             `json:"tool_choice,omitempty"`
	ParallelToolCalls json.RawMessage `json:"parallel_tool_calls,omitempty"`
	User              json.RawMessage `json:"user,omitempty"`
	SafetyIdentifier  json.RawMessage `json:"safety_identifier,omitempty"`
	PromptCacheKey    json.RawMessage `json:"prompt_cache_key,omitempty"`
	ServiceTier       json.RawMessage `json:"service_tier,omitempty"`
}

// needsStore are the members that refer to what was stored before, or ask to store
// what is answered later.
var needsStore = []string{"previous_response_id", "conversation", "background"}

// errNoStore is what is wrong with these.
const errNoStore = "not available here: nothing is stored without chat_session. Send the whole conversation as input"

// open reads a request.
func open(body []byte, stored bool) (*call, error) {
	c := newCall()
	return c, c.open(body, stored)
}

func (c *call) open(body []byte, stored bool) error {
	root := gjson.ParseBytes(body)
	c.Stored, c.body = stored, body
	if root.Get("store").Type == gjson.True && !stored {
		c.dropped.Add("store")
	}
	keeping, err := keepingOf(root)
	if err != nil {
		return err
	}
	if err := checkStored(root, errNoStore); err != nil && !stored {
		return err
	}
	made := new(completion)
	made.TopLogprobs = given(root.Get("top_logprobs"))
	if err := c.readMembers(made, root); err != nil {
		return err
	}
	if !made.Logprobs && made.TopLogprobs != nil {
		c.dropped.Add("top_logprobs") // only what include asks for is in an answer
		made.TopLogprobs = nil
	}
	if err := c.readTools(made, root); err != nil {
		return err
	}
	if made.Messages, err = c.readInput(root); err != nil {
		return err
	}
	c.completion = provider.Encode(made)
	c.echo = echoOf(root)
	c.background = stored && keeping.Background
	if stored && keeping.Truncate {
		c.echo.Truncation = truncationAuto
	}
	if keeping.Conversation != "" {
		c.echo.Conversation = &named{keeping.Conversation}
	}
	c.sealed = c.sealed || stored // for references to the items
	return nil
}

// checkStored refuses a request that needs a store, for a reason.
func checkStored(root gjson.Result, why string) error {
	for _, name := range needsStore {
		if v := root.Get(name); v.Exists() && v.Type != gjson.Null && v.Type != gjson.False {
			return provider.Invalid(name, why)
		}
	}
	return nil
}

// given returns a member as it was sent; nil if it is missing or null.
func given(v gjson.Result) json.RawMessage {
	if !v.Exists() || v.Type == gjson.Null {
		return nil
	}
	return json.RawMessage(v.Raw)
}

// readMembers reads everything but input and tools.
func (c *call) readMembers(made *completion, root gjson.Result) error {
	var err error
	root.ForEach(func(name, v gjson.Result) bool {
		if v.Type == gjson.Null {
			return true
		}
		err = c.readMember(made, name.Str, v)
		return err == nil
	})
	return err
}

func (c *call) readMember(made *completion, name string, v gjson.Result) error {
	raw := json.RawMessage(v.Raw)
	switch name {
	case "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs": // read elsewhere
	case "store", "metadata", "background", "previous_response_id", "conversation": // the response says what becomes of them
	case "stream_options":
		if v.Get("include_obfuscation").Bool() {
			c.dropped.Add("stream_options.include_obfuscation")
		}
	case "model":
		made.Model = raw
	case "stream":
		made.Stream = raw
	case "temperature":
		made.Temperature = raw
	case "top_p":
		made.TopP = raw
	case "user":
		made.User = raw
	case "safety_identifier":
		made.SafetyIdentifier = raw
	case "prompt_cache_key":
		made.PromptCacheKey = raw
	case "service_tier":
		made.ServiceTier = raw
	case "max_output_tokens":
		if v.Type != gjson.Number || v.Num < 1 || v.Num != math.Trunc(v.Num) {
			return provider.Invalid(name, "want a whole number from 1")
		}
		made.MaxTokens = raw
	case "reasoning":
		return c.readReasoning(made, v)
	case "text":
		return c.readText(made, v)
	case "include":
		return c.readInclude(made, v)
	case "truncation":
		if v.Str != truncationDisabled && (!c.Stored || v.Str != truncationAuto) {
			c.dropped.Add(name)
		}
	case "prompt":
		return provider.Invalid(name, "not available here: prompts are stored at OpenAI. Send instructions and input")
	default:
		if !provider.IsEmpty(v) {
			c.dropped.Add(name)
		}
	}
	return nil
}

func (c *call) readReasoning(made *completion, v gjson.Result) error {
	if !v.IsObject() {
		return provider.Invalid("reasoning", "want an object")
	}
	effort := v.Get("effort")
	if effort.Exists() && effort.Type != gjson.String && effort.Type != gjson.Null {
		return provider.Invalid("reasoning.effort", "want a string")
	}
	made.ReasoningEffort = given(effort)
	c.dropped.Others(v, "reasoning", "effort", "summary")
	return nil
}

func (c *call) readText(made *completion, v gjson.Result) error {
	if !v.IsObject() {
		return provider.Invalid("text", "want an object")
	}
	made.Verbosity = given(v.Get("verbosity"))
	c.dropped.Others(v, "text", "verbosity", "format")
	format := v.Get("format")
	c.dropped.Others(format, "text.format", "type", "name", "description", "schema", "strict")
	switch format.Get("type").Str {
	case "json_object":
		made.ResponseFormat = json.RawMessage(`{"type":"json_object"}`)
	case "json_schema":
		if !format.Get("schema").IsObject() {
			return provider.Invalid("text.format.schema", "required, a JSON schema")
		}
		made.ResponseFormat = provider.Encode(map[string]any{"type": "json_schema", "json_schema": schemaFormat{
			format.Get("name").Str, given(format.Get("description")), json.RawMessage(format.Get("schema").Raw), given(format.Get("strict")),
		}})
	case "text":
	default:
		if given(format) != nil {
			return provider.Invalid("text.format.type", "want text, json_object or json_schema")
		}
	}
	return nil
}

type schemaFormat struct {
	Name        string          `json:"name"`
	Description json.RawMessage `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema"`
	Strict      json.RawMessage `json:"strict,omitempty"`
}

func (c *call) readInclude(made *completion, v gjson.Result) error {
	if !v.IsArray() {
		return provider.Invalid("include", "want a list")
	}
	for i, e := range v.Array() {
		switch {
		case e.Type != gjson.String:
			return provider.Invalid(fmt.Sprintf("include.%d", i), "want a string")
		case e.Str == "reasoning.encrypted_content":
			c.sealed = true
		case e.Str == "message.output_text.logprobs":
			made.Logprobs, c.logprobs = true, true
		default:
			c.dropped.Add("include") // what a tool of OpenAI's has found, for instance
		}
	}
	return nil
}
