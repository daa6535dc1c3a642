package openai

import (
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestPlainDelta(t *testing.T) {
	for data, want := range map[string]bool{
		`{"type":"response.output_text.delta","sequence_number":5,"item_id":"m","output_index":0,"content_index":0,"delta":"Hi ü","logprobs":[],"obfuscation":"x"}`: true,
		`{"type":"response.output_text.delta","delta":""}`:                       true,
		`{"type":"response.output_text.delta","delta":"a\"b"}`:                   false,
		`{"type":"response.output_text.delta","delta":"a","logprobs":[{"a":1}]}`: false,
		`{"type":"response.output_text.delta","delta":7}`:                        false,
		`{"type":"response.output_text.delta","n":01,"delta":"a"}`:               false,
		`{"type":"response.output_text.delta","delta":"a",}`:                     false,
		`{"type":"response.output_text.delta","delta":"a"}}`:                     false,
		`{"type":"response.output_text.delta","delta":"a`:                        false,
		`{"type":"response.output_text.deltas","delta":"a"}`:                     false,
		`{"type":"response.output_text.delta"}`:                                  false,
		`{"type":"response.output_text.delta", "delta":"a"}`:                     false,
	} {
		if got := new(responseReader).Plain([]byte(data), new(provider.Facts)); got != want {
			t.Errorf("%s: %v", data, got)
		}
	}
}

// FuzzPlainDelta checks that what is read without parsing is what parsing reads.
func FuzzPlainDelta(f *testing.F) {
	f.Add(`,"sequence_number":5,"item_id":"m","delta":"Hi","logprobs":[]}`)
	f.Add(`,"delta":"a","delta":"b"}`)
	f.Fuzz(func(t *testing.T, rest string) {
		data := string(deltaBegin) + rest
		var quick, parsed provider.Facts
		if !new(responseReader).Plain([]byte(data), &quick) {
			return
		}
		if !json.Valid([]byte(data)) {
			t.Fatalf("no JSON: %q", data)
		}
		v := gjson.Parse(data)
		twice := 0
		v.ForEach(func(name, _ gjson.Result) bool {
			if name.Str == "delta" || name.Str == "type" {
				twice++
			}
			return true
		})
		if twice != 2 {
			return // which no server sends
		}
		if _, err := new(responseReader).Read(v, &parsed); err != nil || quick.Text != parsed.Text || quick.Content != parsed.Content || quick.OutputBytes != parsed.OutputBytes {
			t.Errorf("%q: %+v, want %+v, %v", data, quick, parsed, err)
		}
	})
}
