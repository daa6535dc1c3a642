package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Script says how an answer comes.
type Script struct {
	Chunks int           // with one word each
	Gap    time.Duration // between them
	Held   bool          // whether the stream stays open after them

	// NullUsage writes "usage":null into every chunk, as OpenAI does where
	// the usage is asked for. Other servers leave it out.
	NullUsage bool
}

// Parse reads the script that a model is named after: the number of chunks,
// and what else there is to say, as in "64", "64-5ms", "64-null", "1-held".
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
