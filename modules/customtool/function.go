// Package customtool lets models that only know functions call custom tools, whose input
// is any text.
package customtool

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Parameters are those of a function that stands for a custom tool.
var Parameters = json.RawMessage(`{"type":"object","properties":{"input":{"type":"string","description":"The whole input of the tool, as plain text."}},"required":["input"],"additionalProperties":false}`)

// Description describes a custom tool, including the grammar of its input, which only
// OpenAI enforces.
func Description(text string, grammar gjson.Result) string {
	if definition := grammar.Get("definition").Str; definition != "" {
		text += fmt.Sprintf("\n\nThe input must match this grammar (%s):\n\n%s", grammar.Get("syntax").Str, definition)
	}
	return text
}

// Arguments returns a custom tool's input as the arguments of its function.
func Arguments(input string) string {
	return string(provider.Encode(struct {
		Input string `json:"input"`
	}{input}))
}

// Input returns the text in the arguments of a function that stands for a custom tool. A
// model that ignores the function's parameters may have sent the text itself, and an answer
// may have broken off within it.
func Input(arguments string) string {
	for _, whole := range [...]string{arguments, strings.TrimSuffix(arguments, `\`) + `"}`} {
		if input := gjson.Get(whole, "input"); gjson.Valid(whole) && input.Type == gjson.String {
			return input.Str
		}
	}
	return arguments
}
