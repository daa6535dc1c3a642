package anthropic

import (
	"strconv"
	"strings"
	"unicode"
)

// family is a model's name and version. The version decides which parameters a
// Claude model accepts.
type family struct {
	claude  bool
	line    string // opus, sonnet, haiku, ...
	version int    // 405 is 4.5; newest if the name has none
}

const newest = 99_00

// familyOf parses names such as claude-sonnet-4-5-20250929 and
// claude-3-5-haiku, and as other servers write them, anthropic/claude-opus-4.5
// and claude-opus-4@20250514.
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
		// A longer number is a date.
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
			// Only a number right after the first one belongs to the version.
			numbers = 2
		}
	}
	return f
}

// continues says whether the model can continue an assistant message. Claude
// 4.6 and later refuse that.
func (f family) continues() bool { return f.claude && f.version >= 300 && f.version <= 405 }

// budgeted says whether the model takes a thinking budget, and adaptive whether
// it decides by itself how much to think.
func (f family) budgeted() bool { return f.claude && f.version >= 307 && f.version < 406 }

func (f family) adaptive() bool { return f.claude && f.version >= 406 }

// eager says whether the model thinks unless told otherwise, and obedient
// whether that can be turned off.
func (f family) eager() bool { return f.claude && f.version >= 500 }

func (f family) obedient() bool {
	return f.line == "opus" || f.line == "sonnet" || f.line == "haiku"
}

// samples says whether the model accepts temperature and similar parameters,
// and samplesBoth whether it accepts top_p together with temperature.
func (f family) samples() bool { return !f.claude || f.version < 407 }

func (f family) samplesBoth() bool { return !f.claude || f.version < 401 }

// structured says whether the model can be held to a JSON schema in its answers
// and tool calls.
func (f family) structured() bool { return f.claude && f.version >= 401 }

// limit is the most tokens that can be requested of the model; 0 if unknown.
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

// maxTokens is the limit if the client sets none. Models before 4.5 refuse a
// request whose prompt and limit together exceed the context, so they do not
// get their full limit.
func (f family) maxTokens() int64 {
	switch {
	case !f.claude:
		return 4096
	case f.version >= 405:
		return 64_000
	}
	return min(f.limit(), 32_000)
}
