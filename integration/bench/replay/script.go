package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Script describes an answer.
type Script struct {
	Chunks int           // with one word each
	Gap    time.Duration // between them
	Held   bool          // whether the stream stays open after them

	// NullUsage writes "usage":null into every chunk, as OpenAI does if the
	// request asks for the usage. Other servers omit it.
	NullUsage bool
}

// Parse reads the script in a model's name: the number of chunks and options, as
// in "64", "64-5ms", "64-null", "1-held".
func Parse(model string) (Script, error) {
	count, rest, more := strings.Cut(model, "-")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return Script{}, fmt.Errorf("model %q: want a number of chunks, as in 64-5ms", model)
	}
	s := Script{Chunks: n}
	for more {
		var word string
		word, rest, more = strings.Cut(rest, "-")
		switch word {
		case "held":
			s.Held = true
		case "null":
			s.NullUsage = true
		default:
			if s.Gap, err = time.ParseDuration(word); err != nil {
				return Script{}, fmt.Errorf("model %q: want held, null or a gap, got %q", model, word)
			}
		}
	}
	return s, nil
}
