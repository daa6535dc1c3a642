package aigateway

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// speaker is a provider with other APIs.
type speaker struct {
	provider.Provider
}

func (speaker) Speaks(provider.API) bool { return true }

// TestNative has requests that go as they came, and those that only the door can read.
func TestNative(t *testing.T) {
	h := &Handler{providers: map[string]provider.Provider{"speaker": speaker{}}}
	for name, tc := range map[string]struct {
		content string
		native  bool
		more    string
	}{
		"text":                      {`"hi"`, true, ""},
		"Anthropic's own signature": {`[{"type":"thinking","thinking":"Hm.","signature":"c2ln"},{"type":"text","text":"hi"}]`, true, ""},
		"a sealed signature":        {`[{"type":"thinking","thinking":"Hm.","signature":"` + door.Seal(1) + `"},{"type":"text","text":"hi"}]`, true, ""},
		"one that is missed":        {`[{"type":"thinking","thinking":"Hm.","signature":"` + door.Seal(1) + `"},{"type":"text","text":"hi"}]`, false, `,"thinking":{"type":"enabled","budget_tokens":1024}`},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(`{"max_tokens":9,"messages":[{"role":"assistant","content":` + tc.content + `}]` + tc.more + `}`)
			opened, err := messages.Door{}.Open(body)
			if err != nil {
				t.Fatal(err)
			}
			c := &call{h: h, req: &request{stream: true, door: opened, native: &provider.Native{API: provider.APIMessages, Body: body}}}
			var preq provider.Request
			c.throughDoor(&preq, route.Target{Provider: "speaker"})
			if native := preq.Native != nil; native != tc.native || preq.Translated == native {
				t.Errorf("native %t, translated %t, want native %t", native, preq.Translated, tc.native)
			}
			if preq.Native != nil && door.Sealed(preq.Native.Body) {
				t.Errorf("the provider gets %s", preq.Native.Body)
			}
		})
	}
}
