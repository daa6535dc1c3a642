package chatsession

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
)

// TestKeepOrigins keeps what messages were made of, unless they become too large with it.
func TestKeepOrigins(t *testing.T) {
	for name, c := range map[string]struct {
		size int // of a text
		kept string
	}{
		"small": {10, "yes yes"},
		"large": {maxMessage / 3, "yes yes"},
		"full":  {maxMessage/2 + 10, "no no"},
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":%q},{"type":"image","source":{"type":"url","url":"https://x.example"}}]}]}]}`, strings.Repeat("a", c.size))
			call, err := messages.Door{}.Open([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			req, err := parseCall(call.Completion(), call, nil)
			if err != nil {
				t.Fatal(err)
			}
			var kept []string
			for _, m := range req.messages {
				if len(m.Raw) > maxMessage {
					t.Errorf("a message has %d bytes", len(m.Raw))
				}
				if strings.Contains(string(m.Raw), door.MemberMessages) {
					kept = append(kept, "yes")
				} else {
					kept = append(kept, "no")
				}
				if wire := appendWire(nil, m); strings.Contains(string(wire), door.MemberMessages) || len(wire) > wireSize(m) {
					t.Errorf("it goes on as %.100s, of %d bytes and not %d", wire, len(wire), wireSize(m))
				}
			}
			if got := strings.Join(kept, " "); got != c.kept {
				t.Errorf("kept: %s, want %s", got, c.kept)
			}
		})
	}
}
