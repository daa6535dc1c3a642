package ollama

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// read reads a request as Ollama does, whose arguments have to be objects, see
// https://github.com/ollama/ollama/blob/main/docs/api.md. The templates of models
// want the results of calls behind them.
func read(sent []byte) (providertest.Asked, error) {
	var r chatRequest
	var asked providertest.Asked
	dec := json.NewDecoder(bytes.NewReader(sent))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return asked, err
	}
	for _, m := range r.Messages {
		switch m.Role {
		case "system":
			asked.Add("user", providertest.Said{Kind: "system", Text: m.Content})
		case "user":
			asked.Add("user", providertest.Said{Kind: "text", Text: m.Content})
		case "tool":
			asked.Add("user", providertest.Said{Kind: "result", ID: m.ToolCallID, Name: m.ToolName, Text: m.Content})
		case "assistant":
			asked.Add("assistant", providertest.Said{Kind: "text", Text: m.Content})
			for _, c := range m.ToolCalls {
				asked.Add("assistant", providertest.Said{Kind: "call", ID: c.ID, Name: c.Function.Name, Arguments: string(c.Function.Arguments)})
			}
		default:
			return asked, fmt.Errorf("role %s", m.Role)
		}
	}
	for _, t := range r.Tools {
		asked.Tools = append(asked.Tools, t.Function.Name)
	}
	return asked, asked.Refusal(providertest.Strictness{})
}
