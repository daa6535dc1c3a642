package provider

import (
	"testing"

	"github.com/tidwall/gjson"
)

func TestFinishOf(t *testing.T) {
	for raw, want := range map[string]string{
		`"stop"`: "stop", `"STOP"`: "stop", `"eos"`: "stop", `"end_turn"`: "stop", `{"type":"stop","matched":7}`: "stop",
		`"length"`: "length", `"max_tokens"`: "length", `{"type":"length"}`: "length", `"model_length"`: "length",
		`"tool_use"`: "tool_calls", `"function_call"`: "function_call", `"SAFETY"`: "content_filter",
		`"error"`: "error", `"unheard_of"`: "unheard_of", `""`: "", `null`: "", `7`: "", `[]`: "", `{}`: "",
	} {
		if got := FinishOf(gjson.Parse(`{"finish_reason":` + raw + `}`)); got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
}

func TestLost(t *testing.T) {
	for event, lost := range map[string]bool{
		`{"choices":[`: true, "\t{": true, "\ufeff{\"choices\":[]}": true,
		"": false, "ping": false, "<html>": false, "[1]": false, "\ufeff": false,
	} {
		if err := Lost([]byte(event), false); (err != nil) != lost {
			t.Errorf("%q: %v", event, err)
		}
	}
}
