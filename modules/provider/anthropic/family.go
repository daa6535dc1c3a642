package anthropic

import (
	"strconv"
	"strings"
	"unicode"
)

// family is what a model's name says of it: what Claude models take and
// refuse goes by their version.
type family struct {
	claude  bool
	line    string // opus, sonnet, haiku, ...
	version int    // 405 is 4.5; newest where the name has none
}

const newest = 99_00

// familyOf reads names such as claude-sonnet-4-5-20250929, claude-3-5-haiku
// and, as others call them, anthropic/claude-opus-4.5 and
// claude-opus-4@20250514.
func familyOf(model string) family {
	_, name, ok := strings.Cut(strings.ToLower(model), "claude")
	if !ok {
		return family{}
	}
	f := family{claude: true, version: newest}
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	numbers := 0
	for _, w := range words {
		n, err := strconv.Atoi(w)
		// A longer one is a date.
		isNumber := err == nil && len(w) <= 2
		switch {
		case isNumber && numbers == 0:
			f.version = n * 100
			numbers++
			continue
		case isNumber && numbers == 1:
			f.version += n
		case err != nil && f.line == "":
			f.line = w
		}
		if numbers > 0 {
			// Only what stands right behind the first number belongs to it.
			numbers = 2
		}
	}
	return f
}

// continues says whether the model goes on with an assistant message that has
// been begun. From 4.6 on that is refused.
func (f family) continues() bool { return f.claude && f.version >= 300 && f.version <= 405 }

// budgeted says whether the model thinks within a budget, and adaptive
// whether it decides by itself how much.
func (f family) budgeted() bool { return f.claude && f.version >= 307 && f.version < 406 }

func (f family) adaptive() bool { return f.claude && f.version >= 406 }

// eager says whether the model thinks although nobody asked for it, and
// obedient whether that can be turned off.
func (f family) eager() bool { return f.claude && f.version >= 500 }

func (f family) obedient() bool {
	return f.line == "opus" || f.line == "sonnet" || f.line == "haiku"
}

// samples says whether the model takes a temperature and its like, and
// samplesBoth whether it takes top_p beside a temperature.
func (f family) samples() bool { return !f.claude || f.version < 407 }

func (f family) samplesBoth() bool { return !f.claude || f.version < 401 }

// structured says whether the model's answers and tool calls can be held to a
// JSON schema.
func (f family) structured() bool { return f.claude && f.version >= 401 }

// limit is the most tokens that the model can be asked for; 0 where that is
// not known.
func (f family) limit() int64 {
	switch {
	case !f.claude, f.version > 405:
		return 0
	case f.version < 305:
		return 4096
	case f.version < 307:
		return 8192
	case f.line == "opus" && f.version < 405:
		return 32_000
	}
	return 64_000
}

// maxTokens is the limit of answers where the client names none. Before 4.5
// the model refuses a request of which prompt and limit together are larger
// than its context, so that not all of it is given away there.
func (f family) maxTokens() int64 {
	switch {
	case !f.claude:
		return 4096
	case f.version >= 405:
		return 64_000
	}
	return min(f.limit(), 32_000)
}
