package replay

import (
	"strconv"
	"strings"
	"time"
)

// Mark begins every word of an answer. It occurs nowhere else, so that a client
// can count words in any format by counting marks.
const Mark = "~"

// unstamped is the place of the send time: nanoseconds since 1970, which have 19
// digits until the year 2286.
const unstamped = "0000000000000000000"

// StampLen is the length of a send time. It follows the mark.
const StampLen = len(unstamped)

// stamped is a chunk that contains its send time.
type stamped struct {
	wire []byte
	at   int
}

func newStamped(chunk string) stamped {
	return stamped{[]byte(chunk), strings.Index(chunk, Mark) + len(Mark)}
}

// now returns the chunk with the current time, in the same memory each time.
func (s stamped) now() []byte {
	strconv.AppendInt(s.wire[s.at:s.at], time.Now().UnixNano(), 10)
	return s.wire
}
