package messages

import (
	"testing"

	"github.com/tidwall/gjson"
)

// TestStrict asks for answers and for calls of tools by schemas of which OpenAI refuses some
// in its strict mode.
func TestStrict(t *testing.T) {
	for schema, want := range map[string]bool{
		`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`:                                                                                                         true,
		`{"type":"object","properties":{},"additionalProperties":false}`:                                                                                                                                                true,
		`{"$schema":"x","type":"object","properties":{"a":{"type":["string","null"],"enum":["x"]}},"required":["a"],"additionalProperties":false}`:                                                                      true,
		`{"type":"object","properties":{"a":{"type":"array","items":{"$ref":"#/$defs/b"}}},"required":["a"],"additionalProperties":false,"$defs":{"b":{"type":"object","properties":{},"additionalProperties":false}}}`: true,
		`{"type":"object","properties":{"a":{"anyOf":[{"type":"string","format":"date"},{"type":"null"}]}},"required":["a"],"additionalProperties":false}`:                                                              true,
		`{"type":"object"}`: false,
		`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"],"additionalProperties":false}`:                                            false,
		`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}`:                                                                                               false,
		`{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"string"}},"additionalProperties":false}},"required":["a"],"additionalProperties":false}`: false,
		`{"type":"object","properties":{"a":{"type":"array","items":{"type":"object"}}},"required":["a"],"additionalProperties":false}`:                                          false,
		`{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"required":["a"],"additionalProperties":false,"$defs":{"b":{"type":"object","properties":{}}}}`:                false,
		`{"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":false}`:                                                                                  false,
		`{"type":"object","properties":{"a":true},"required":["a"],"additionalProperties":false}`:                                                                                false,
		`{"type":"object","properties":{"a":{"type":"string","maxLength":9}},"required":["a"],"additionalProperties":false}`:                                                     false,
		`{"type":"object","properties":{"a":{"type":"string","format":"uri"}},"required":["a"],"additionalProperties":false}`:                                                    false,
		`{"type":"object","properties":{"a":{"type":"string","default":"x"}},"required":["a"],"additionalProperties":false}`:                                                     false,
		`{"type":"object","properties":{"a":{"anyOf":[{"type":"object"},{"type":"null"}]}},"required":["a"],"additionalProperties":false}`:                                       false,
		`{"anyOf":[{"type":"object","properties":{},"additionalProperties":false}]}`:                                                                                             false,
		`{"type":"array","items":{"type":"string"}}`: false,
	} {
		for _, member := range []string{`"output_config":{"format":`, `"output_format":`} {
			body := `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],` + member + `{"type":"json_schema","schema":` + schema + `}}`
			if member != `"output_format":` {
				body += "}"
			}
			c, err := Door{}.Open([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			format := gjson.GetBytes(c.Completion(), "response_format.json_schema")
			if got := format.Get("strict"); got.Bool() != want || got.Exists() != want || format.Get("schema").Raw != schema {
				t.Errorf("strict %v, want %v: %s", got.Raw, want, format)
			}
		}
		c, err := Door{}.Open([]byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"t","strict":true,"input_schema":` + schema + `}]}`))
		if err != nil {
			t.Fatal(err)
		}
		function := gjson.GetBytes(c.Completion(), "tools.0.function")
		if got := function.Get("strict"); got.Bool() != want || got.Exists() != want || function.Get("parameters").Raw != schema {
			t.Errorf("a tool: strict %v, want %v: %s", got.Raw, want, function)
		}
	}
}
