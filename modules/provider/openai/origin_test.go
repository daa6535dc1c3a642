package openai

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func first(body []byte, _ []string) []byte { return body }

// FuzzWithout leaves things out of any request, which stays one, and has no more of them.
func FuzzWithout(f *testing.F) {
	for _, body := range []string{
		`{"input":[{"type":"reasoning","id":"rs_1"},{"type":"code_interpreter_call"},{"role":"user","content":"a"}]}`,
		`{"input":[{"id":"msg_1","role":"assistant","content":[{"parsed":null,"type":"output_text"}]},{"type":"function_call","id":"fc_1","parsed_arguments":{}}]}`,
		`{"input":[ {"type":"reasoning","encrypted_content":"a"} , {"type":"code_interpreter_call"} ]}`,
		`{"input":"a"}`,
		`{"input":[{"id":"0"}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) || !gjson.ParseBytes(body).IsObject() {
			return // the gateway has refused it
		}
		for name, do := range map[string]func([]byte) []byte{
			"references": func(b []byte) []byte { return first(without(b, isReference)) },
			"reasoning":  func(b []byte) []byte { return first(without(b, isReasoning)) },
			"parsed":     func(b []byte) []byte { return withoutParsed(new(provider.Request), b) },
			"ids":        withoutIDs,
		} {
			got := do(bytes.Clone(body))
			if !json.Valid(got) {
				t.Errorf("%s: %s became %s", name, body, got)
			}
			if name != "ids" && name != "parsed" && !bytes.Equal(do(got), got) {
				t.Errorf("%s: %s has more to leave out", name, got)
			}
		}
	})
}
