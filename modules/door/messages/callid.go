package messages

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/door"
)

// goodID is what Anthropic takes for the id of a call.
var goodID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// sealedCall is what the id of a call carries beside the id: what the provider wants
// back with the call, and its own id if Anthropic's clients could not use it.
type sealedCall struct {
	ID    string          `json:"id,omitempty"`
	Extra json.RawMessage `json:"extra,omitempty"` // extra_content
}

// callID returns the id of the nth call of a message, for the client.
func callID(message, id string, extra json.RawMessage, n int) string {
	s := sealedCall{Extra: extra}
	if !goodID.MatchString(id) {
		s.ID, id = id, "toolu_"+strings.TrimPrefix(message, idPrefix)+"_"+strconv.Itoa(n)
	}
	if s.ID == "" && s.Extra == nil {
		return id
	}
	return door.SealID(id, s)
}

// openCallID reverses callID.
func openCallID(sent string) (id string, extra json.RawMessage) {
	var s sealedCall
	id, _ = door.UnsealID(sent, &s)
	if s.ID != "" {
		id = s.ID
	}
	return id, s.Extra
}
