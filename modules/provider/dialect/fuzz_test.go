package dialect

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// FuzzParse checks that a conversation complies with the strictest rules,
// whatever the client sends.
func FuzzParse(f *testing.F) {
	for _, messages := range []string{
		`{"role":"user","content":"hi"}`,
		assistantCalls(callOf("c", "7zip", `"{"`), callOf("c", "a.b", `null`)) + "," + resultOf("c", "1") + "," + resultOf("c", "2") + "," + resultOf("c", "3"),
		resultOf("c", "1") + `,{"role":"assistant","content":" x "},` + assistantCalls(callOf("", "f", `[1]`)),
		`{"role":"system","content":"be"},{"role":"user","content":[{"type":"text","text":" "},{"type":"image_url","image_url":{"url":"data:image/jpg;base64,AAAA"}}]}`,
	} {
		f.Add([]byte(`{"messages":[` + messages + `],"tools":[{"type":"function","function":{"name":"a_b"}}],"stop":["a"," "]}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			return // the gateway has refused it
		}
		c, err := Parse(&provider.Request{Body: body}, strictest)
		if err != nil {
			if _, ok := errors.AsType[*provider.Error](err); !ok {
				t.Errorf("failed with %v", err)
			}
			return
		}
		if len(c.Messages) == 0 || c.Messages[0].Role != RoleUser {
			t.Fatal("the user does not begin")
		}
		open := make(map[string]bool)
		seen := make(map[string]bool)
		asked := false // a user or a tool has spoken since the assistant
		for i, m := range c.Messages {
			if m.Role == RoleAssistant && asked && len(open) > 0 {
				t.Errorf("message %d: calls without results before it: %v", i, open)
			}
			asked = m.Role != RoleAssistant
			for _, call := range m.ToolCalls {
				var o map[string]any
				if !validID.MatchString(call.ID) || seen[call.ID] || !strictest.ToolName.MatchString(call.Name) ||
					json.Unmarshal(call.Arguments, &o) != nil || o == nil {
					t.Errorf("message %d: call %+v", i, call)
				}
				open[call.ID], seen[call.ID] = true, true
			}
			if m.Role == RoleTool {
				if !open[m.ToolID] || m.ToolName == "" {
					t.Errorf("message %d: result of %q, a call of %q", i, m.ToolID, m.ToolName)
				}
				delete(open, m.ToolID)
			} else if len(m.Parts) == 0 && len(m.ToolCalls) == 0 {
				t.Errorf("message %d says nothing", i)
			}
			for _, p := range m.Parts {
				if p.Kind == PartText && strings.TrimSpace(p.Text) == "" {
					t.Errorf("message %d has blank text", i)
				}
			}
		}
		if len(open) > 0 {
			t.Errorf("calls without results: %v", open)
		}
	})
}
