package openai

import (
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// flatTool is a tool of Responses. Chat completions have all but its type one level deeper.
type flatTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"` // of a function
	Strict      *bool           `json:"strict,omitempty"`     // of a function
	Format      json.RawMessage `json:"format,omitempty"`     // of a custom tool
}

// noParameters are those of a function that says nothing of them.
var noParameters = json.RawMessage(`{"type":"object","properties":{}}`)

// tool returns a tool; nothing for one that Responses do not know from chat completions.
func (t *toResponse) tool(v gjson.Result) string {
	typ := v.Get("type").Str
	of := v.Get(typ)
	flat := flatTool{Type: typ, Name: of.Get("name").Str, Description: of.Get("description").Str}
	t.preq.DropOthers(v, "tools", "type", typ)
	switch typ {
	case "function":
		t.preq.DropOthers(of, "tools.function", "name", "description", "parameters", "strict")
		flat.Parameters = noParameters
		if p := of.Get("parameters"); p.IsObject() {
			flat.Parameters = json.RawMessage(p.Raw)
		}
		// here a function is strict unless it says otherwise, and there it is not
		flat.Strict = new(of.Get("strict").Bool())
	case "custom":
		t.preq.DropOthers(of, "tools.custom", "name", "description", "format")
		flat.Format = formatOf(of.Get("format"))
	default:
		t.preq.Drop("tools." + typ)
		return ""
	}
	return string(provider.Encode(flat))
}

// formatOf returns the format of a custom tool's input, whose grammar stands one level
// deeper in chat completions.
func formatOf(v gjson.Result) json.RawMessage {
	g := v.Get("grammar")
	switch {
	case !v.IsObject():
		return nil
	case !g.IsObject():
		return json.RawMessage(v.Raw)
	}
	return provider.Encode(struct {
		Type       string `json:"type"`
		Syntax     string `json:"syntax"`
		Definition string `json:"definition"`
	}{"grammar", g.Get("syntax").Str, g.Get("definition").Str})
}

// choice returns which tools the model has to call.
func (t *toResponse) choice(v gjson.Result) string {
	allowed := v.Get("allowed_tools")
	switch {
	case !v.IsObject():
		return v.Raw
	case !allowed.IsObject():
		return flatChoice(v)
	}
	return `{"type":"allowed_tools","mode":` + string(provider.Encode(allowed.Get("mode").Str)) + `,"tools":` + list(allowed.Get("tools"), flatChoice) + `}`
}

// flatChoice returns a tool among others by its name.
func flatChoice(v gjson.Result) string {
	typ := v.Get("type").Str
	return string(provider.Encode(flatTool{Type: typ, Name: v.Get(typ + ".name").Str}))
}

// text returns the member with the format of the answer, and with how long it is to be.
func (t *toResponse) text() (string, string) {
	if t.texted {
		return "", ""
	}
	t.texted = true
	var text struct {
		Format    json.RawMessage `json:"format,omitempty"`
		Verbosity json.RawMessage `json:"verbosity,omitempty"`
	}
	if v := t.root.Get("response_format"); v.IsObject() {
		text.Format = t.format(v)
	}
	if v := t.root.Get("verbosity"); v.Type != gjson.Null {
		text.Verbosity = json.RawMessage(v.Raw)
	}
	return "text", string(provider.Encode(text))
}

// format returns the format of the answer, whose schema stands one level deeper in chat
// completions.
func (t *toResponse) format(v gjson.Result) json.RawMessage {
	of := v.Get("json_schema")
	t.preq.DropOthers(v, "response_format", "type", "json_schema")
	if provider.IsEmpty(of) {
		return json.RawMessage(v.Raw)
	}
	schema := object(of, func(name string, v gjson.Result) (string, string) { return name, v.Raw })
	return append([]byte(`{"type":"json_schema",`), schema[1:]...)
}
