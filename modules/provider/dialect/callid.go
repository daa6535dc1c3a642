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
