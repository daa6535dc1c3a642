package messages

import (
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// efforts are the names that chat completions have for Anthropic's.
var efforts = map[string]string{"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}

// thinking asks for reasoning. Anthropic's provider gets thinking as it is, the
// others an effort.
func (t *translation) thinking(members map[string]gjson.Result) error {
	v := members["thinking"]
	if v.Type != gjson.Null && !v.IsObject() {
		return provider.Invalid("thinking", `want an object such as {"type":"adaptive"}`)
	}
	t.dropped.Others(members["output_config"], "output_config", "effort", "format")
	effort := members["output_config"].Get("effort").Str
	if effort != "" && efforts[effort] == "" {
		t.refuse("output_config.effort", "want low, medium, high, xhigh or max")
	}
	switch typ := typeOf(v); typ {
	case "", "disabled":
		if v.IsObject() && typ == "" {
			return provider.Invalid("thinking.type", "want enabled, adaptive or disabled")
		}
		if effort != "" {
			t.dropped.Add("output_config.effort") // elsewhere it would ask for reasoning
		}
		if v.IsObject() {
			t.Thinking = json.RawMessage(v.Raw)
		}
		return nil
	case "adaptive":
	case "enabled":
		budget := v.Get("budget_tokens")
		if budget.Type != gjson.Number || budget.Num < 1 {
			return provider.Invalid("thinking.budget_tokens", "required, a whole number of at least 1024")
		}
		if effort == "" {
			effort = provider.EffortOf(budget.Num)
		}
	default:
		t.refuse("thinking.type", "want enabled, adaptive or disabled")
	}
	t.Thinking = json.RawMessage(v.Raw)
	t.ReasoningEffort = efforts[effort]
	return nil
}

type responseFormat struct {
	Type       string     `json:"type"`
	JSONSchema jsonSchema `json:"json_schema"`
}

type jsonSchema struct {
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"schema"`
	Strict bool            `json:"strict,omitempty"`
}

// format reads the schema of the answer, whose member once had another name.
func (t *translation) format(members map[string]gjson.Result) error {
	path, v := "output_config.format", members["output_config"].Get("format")
	if v.Type == gjson.Null {
		path, v = "output_format", members["output_format"]
	}
	if v.Type == gjson.Null {
		return nil
	}
	t.dropped.Others(v, path, "type", "schema")
	schema := v.Get("schema")
	if v.Get("type").Str != "json_schema" || !schema.IsObject() {
		return provider.Invalid(path, "want an object with type json_schema and a schema")
	}
	t.ResponseFormat = responseFormat{"json_schema", jsonSchema{"answer", json.RawMessage(schema.Raw), isStrict(schema)}}
	return nil
}

// sealed stands in place of Anthropic's signature or data of a block of reasoning that
// another provider has given, or that has come in chat completions.
type sealed struct {
	Blocks []json.RawMessage `json:"blocks,omitempty"` // thinking_blocks
	By     string            `json:"by,omitempty"`     // the model that has written it, if Claude has not signed it
}

// unsigned returns the signature of reasoning that its provider has not signed.
func unsigned(by string) string { return door.Seal(sealed{By: by}) }

// sealItem returns the signature of a block that carries an item of OpenAI's Responses.
func sealItem(block gjson.Result, by string) string {
	return door.Seal(sealed{Blocks: []json.RawMessage{json.RawMessage(block.Raw)}, By: by})
}
