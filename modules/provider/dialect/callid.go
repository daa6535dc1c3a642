package dialect

import (
	"strings"

	"github.com/google/uuid"
)

// NewCallID makes up the id of a tool call that the provider gave none. It is
// as long as OpenAI's own: longer than 40 characters OpenAI itself takes none,
// where a conversation goes on there.
func NewCallID() string {
	return "call_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:24]
}
