package messages

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/door"
)

func TestUnsealed(t *testing.T) {
	var (
		signed   = `{"type":"thinking","thinking":"deep","signature":"sig"}`
		blocks   = door.Seal(sealed{Blocks: []json.RawMessage{json.RawMessage(signed)}})
		foreign  = `{"type":"thinking","thinking":"x","signature":"` + unsigned("gpt") + `"}`
		item     = `{"type":"thinking","thinking":"x","signature":"` + door.Seal(sealed{By: "gpt-5.5", Blocks: []json.RawMessage{json.RawMessage(`{"type":"reasoning","index":1,"item":{"type":"reasoning","id":"rs_1"}}`)}}) + `"}`
		byGoogle = door.SealID("call_1", sealedCall{Extra: json.RawMessage(`{"google":{}}`)})
		odd      = door.SealID("toolu_1", sealedCall{ID: "functions.f:0"})
	)
	const (
		hi   = `{ "role":"user","content":"hi"}`
		text = `{"type":"text","text":"so"}`
	)
	said := func(blocks string) string { return `{"role":"assistant","content":[` + blocks + `]}` }
	for _, tc := range []struct {
		name, in, want string // without the one the request is translated
		dropped        []string
	}{
		{"signed thoughts behind the rest", said(text+`,{"type":"redacted_thinking","data":"`+blocks+`"}`) + "," + hi, said(signed+","+text) + "," + hi, nil},
		{"another's thoughts", said(foreign+","+text) + "," + hi, said(text) + "," + hi, []string{"messages.content.thinking"}},
		{"an item of reasoning", said(item+","+text) + "," + hi, said(text) + "," + hi, []string{"messages.content.thinking"}},
		{"another's thoughts alone", hi + "," + said(foreign) + "," + hi, hi + "," + hi, []string{"messages.content.thinking"}},
		{"a broken seal", said(`{"type":"redacted_thinking","data":"cch1_?"},`+text) + "," + hi, said(text) + "," + hi, []string{"messages.content.redacted_thinking"}},
		{
			"the id of a call", said(`{"type":"tool_use","id":"`+odd+`","name":"f","input":{}}`) + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"` + odd + `","content":"x"}]}`,
			said(`{"type":"tool_use","id":"toolu_1","name":"f","input":{}}`) + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"x"}]}`, nil,
		},
		{
			"a signature in an id", said(`{"type":"tool_use","id":"`+byGoogle+`","name":"f","input":{}}`) + "," + hi,
			said(`{"type":"tool_use","id":"call_1","name":"f","input":{}}`) + "," + hi, []string{"messages.tool_calls.extra_content"},
		},
		{"a seal at an unknown place", said(`{"type":"new","x":"`+blocks+`"}`) + "," + hi, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const begin, end = `{"x" : 1,"messages":[`, `],"y":[ ]}`
			got, dropped, ok := Door{}.Unsealed([]byte(begin + tc.in + end))
			if ok != (tc.want != "") || ok && (string(got) != begin+tc.want+end || !slices.Equal(dropped, tc.dropped)) {
				t.Errorf("%v, dropped %q\n got %s\nwant %s", ok, dropped, got, begin+tc.want+end)
			}
			_, _, ok = Door{}.Unsealed([]byte(`{"thinking":{"type":"enabled","budget_tokens":2000},"messages":[` + tc.in + end))
			if ok != (tc.want != "" && tc.dropped == nil) {
				t.Errorf("with a budget of thinking: %v", ok)
			}
		})
	}
}
