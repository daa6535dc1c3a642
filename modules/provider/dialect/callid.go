package dialect

import (
	"strings"

	"github.com/google/uuid"
)

// NewCallID makes up an id for a tool call to which the provider gave none. It
// is as long as OpenAI's own ids: OpenAI refuses ids of more than 40
// characters, and the conversation may continue there.
func NewCallID() string {
	return "call_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:24]
}

// CallIDs gives the calls of a conversation ids of their own, which all providers take. The
// same calls always get the same ids. The zero CallIDs has given none yet.
type CallIDs struct{ given unique }

// Give returns the id of the next call, whose provider may have given it to another call, too.
func (c *CallIDs) Give(id string) string { return c.given.take(callID(id)) }

// callID makes an id acceptable to all providers. The call may be another
// provider's, with an id of its own form.
func callID(id string) string {
	if id == "" {
		return "call"
	}
	id = plain(id)
	// The end of an id is more likely to be unique.
	return id[max(0, len(id)-maxName):]
}
