package responses

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/customtool"
	"github.com/caddy-chat/caddy-chat/modules/door"
)

// item is an item of an answer. Which members it has depends on its type.
type item struct {
	ID        string  `json:"id"`
	Type      string  `json:"type"`
	Status    string  `json:"status,omitempty"`
	Role      string  `json:"role,omitempty"`
	Content   []part  `json:"content,omitzero"`
	Summary   []part  `json:"summary,omitzero"`
	Encrypted string  `json:"encrypted_content,omitempty"`
	CallID    string  `json:"call_id,omitempty"`
	Execution string  `json:"execution,omitempty"`
	Namespace string  `json:"namespace,omitempty"`
	Name      string  `json:"name,omitempty"`
	Arguments any     `json:"arguments,omitempty"` // text; of a search an object
	Input     *string `json:"input,omitempty"`
}

// part is a part of a message or of a summary.
type part struct {
	Type        string          `json:"type"`
	Text        *string         `json:"text,omitempty"`
	Annotations []annotation    `json:"annotations,omitzero"`
	Logprobs    json.RawMessage `json:"logprobs,omitempty"`
	Refusal     *string         `json:"refusal,omitempty"`
}

// annotation is a source that a text names.
type annotation struct {
	Type  string `json:"type"` // always "url_citation"
	Start int64  `json:"start_index"`
	End   int64  `json:"end_index"`
	URL   string `json:"url"`
	Title string `json:"title"`
}

const (
	typeMessage   = "message"
	typeReasoning = "reasoning"
	typeFunction  = "function_call"
	typeCustom    = "custom_tool_call"
	typeSearch    = "tool_search_call"
	typeFound     = "tool_search_output"
	typeText      = "output_text"
	typeRefusal   = "refusal"
	typeSummary   = "summary_text"
	noLogprobs    = "[]"
)

// prefixes begin the ids of items.
var prefixes = map[string]string{typeMessage: "msg_", typeReasoning: "rs_", typeFunction: "fc_", typeCustom: "ctc_", typeSearch: "tsc_"}

// newItem returns an item whose place among the output is known.
func (c *call) newItem(typ string, at int) *item {
	return &item{ID: prefixes[typ] + c.id + strconv.Itoa(at), Type: typ}
}

// newCallItem returns the item of a tool call.
func (c *call) newCallItem(id, name string, at int) *item {
	o := c.tools.origin(name)
	it := c.newItem(o.call, at)
	it.CallID = id
	if it.Type == typeSearch {
		it.Execution = "client"
		return it
	}
	it.Namespace, it.Name = o.namespace, o.name
	return it
}

// setArguments gives a call its arguments, which are a custom tool's text and a search's
// object.
func (i *item) setArguments(arguments string) {
	if i.Type == typeCustom {
		i.Input = new(customtool.Input(arguments))
		return
	}
	if strings.TrimSpace(arguments) == "" {
		arguments = "{}" // clients parse it
	}
	i.Arguments = arguments
	if i.Type == typeSearch {
		i.Arguments = searchOf(arguments)
	}
}

// searchOf returns the arguments of a search. Those that have broken off are none.
func searchOf(arguments string) json.RawMessage {
	if gjson.Valid(arguments) && gjson.Parse(arguments).IsObject() {
		return json.RawMessage(arguments)
	}
	return json.RawMessage("{}")
}

// newText returns a part of a message with visible text.
func newText(text string, logprobs json.RawMessage, sources []annotation) part {
	if len(logprobs) == 0 {
		logprobs = json.RawMessage(noLogprobs)
	}
	if sources == nil {
		sources = []annotation{}
	}
	return part{Type: typeText, Text: &text, Annotations: sources, Logprobs: logprobs}
}

func newRefusal(text string) part { return part{Type: typeRefusal, Refusal: &text} }

func newSummary(text string) part { return part{Type: typeSummary, Text: &text} }

// sourcesOf returns the annotations of a message.
func sourcesOf(list gjson.Result) []annotation {
	var sources []annotation
	for _, e := range list.Array() {
		if c := e.Get("url_citation"); e.Get("type").Str == "url_citation" && c.Get("url").Str != "" {
			sources = append(sources, annotation{"url_citation", c.Get("start_index").Int(), c.Get("end_index").Int(), c.Get("url").Str, c.Get("title").Str})
		}
	}
	return sources
}

// seal puts what the provider wants back into a reasoning item, if the client takes
// it. It reports whether the item carries something.
func (c *call) seal(i *item, t thoughts) bool {
	if !c.sealed || t.Text == "" && t.Blocks == nil && t.Extra == nil {
		return false
	}
	i.Encrypted = door.Seal(t)
	return true
}
