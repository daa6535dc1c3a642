package responses

import (
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// custom is a custom tool of a chat completion.
type custom struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Format      json.RawMessage `json:"format,omitempty"`
}

// customCall is a call of one.
type customCall struct {
	Name  string `json:"name"`
	Input string `json:"input"`
}

type grammarFormat struct {
	Type    string  `json:"type"` // always "grammar"
	Grammar grammar `json:"grammar"`
}

type grammar struct {
	Syntax     json.RawMessage `json:"syntax,omitempty"`
	Definition json.RawMessage `json:"definition,omitempty"`
}

// newCustom returns a tool of this API as one of a chat completion, where its grammar
// stands deeper.
func newCustom(name string, v gjson.Result) tool {
	format := v.Get("format")
	made := &custom{name, v.Get("description").Str, given(format)}
	if format.Get("type").Str == "grammar" && !format.Get("grammar").Exists() {
		made.Format = provider.Encode(grammarFormat{"grammar", grammar{given(format.Get("syntax")), given(format.Get("definition"))}})
	}
	return tool{Type: "custom", Custom: made}
}
