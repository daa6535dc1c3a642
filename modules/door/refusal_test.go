package door_test

import (
	"errors"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestRefusal has requests that only a provider of the door's own API may understand.
func TestRefusal(t *testing.T) {
	const search = `,"tools":[{"type":"web_search_20250305","name":"web_search"}]`
	for d, members := range map[door.Door]map[string]string{
		messages.Door{}: {
			``: "",
			search + `,"tool_choice":{"type":"auto"}`:                             "",
			search + `,"tool_choice":{"type":"any"}`:                              "tool_choice",
			search + `,"tool_choice":{"type":"tool","name":"web_search"}`:         "tool_choice",
			search + `,"tool_choice":{"type":"some"}`:                             "tool_choice.type",
			`,"output_config":{"effort":"huge"}`:                                  "output_config.effort",
			`,"thinking":{"type":"dreamy"}`:                                       "thinking.type",
			`,"system":[{"type":"image","source":{}},{"type":"text","text":"x"}]`: "system.0",
		},
		responses.Door{}: {
			``: "",
			`,"tools":[{"type":"web_search"}],"tool_choice":"auto"`:                                                                     "",
			`,"tools":[{"type":"web_search"}],"tool_choice":"required"`:                                                                 "tool_choice",
			`,"tools":[{"type":"web_search"}],"tool_choice":{"type":"web_search"}`:                                                      "tool_choice.type",
			`,"tools":[{"type":"web_search"}],"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"web_search"}]}`: "tool_choice.tools",
		},
	} {
		for member, param := range members {
			c, err := d.Open([]byte(`{"model":"m","max_tokens":9,"input":"hi","messages":[{"role":"user","content":"hi"}]` + member + `}`))
			if _, isResponses := d.(responses.Door); isResponses {
				c, err = d.Open([]byte(`{"model":"m","input":"hi"` + member + `}`))
			}
			if err != nil {
				t.Errorf("%s: %v", member, err)
				continue
			}
			e, _ := errors.AsType[*provider.Error](c.Refusal())
			if (e == nil) != (param == "") || e != nil && (e.Param != param || e.Reason != provider.ReasonUnsupported) {
				t.Errorf("%s: %v, want one about %s", member, c.Refusal(), param)
			}
		}
	}
}
