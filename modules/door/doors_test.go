package door_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
)

// doors are all doors, with the members that a request needs there.
var doors = map[string]struct {
	door.Door
	members string
}{
	"messages":  {messages.Door{}, `"max_tokens":9,"messages":[{"role":"user","content":"hi"}]`},
	"responses": {responses.Door{}, `"input":"hi"`},
}

// TestDroppedNames has names of the client's that must not get into a header.
func TestDroppedNames(t *testing.T) {
	for name, d := range doors {
		t.Run(name, func(t *testing.T) {
			c, err := d.Open([]byte(`{` + d.members + `,"mcp_servers":[1],"a, b":1,"a\r\nb":1,"` + strings.Repeat("x", 65) + `":1}`))
			if err != nil || !slices.Equal(c.Dropped(), []string{"mcp_servers"}) {
				t.Errorf("dropped %q, %v", c.Dropped(), err)
			}
			var many strings.Builder
			for i := range 1000 {
				many.WriteString(`,"m` + strconv.Itoa(i) + `":1`)
			}
			c, err = d.Open([]byte(`{` + d.members + many.String() + `}`))
			if err != nil || len(c.Dropped()) > 32 {
				t.Errorf("dropped %d names, %v", len(c.Dropped()), err)
			}
		})
	}
}
