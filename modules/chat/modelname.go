package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxModelChars = 256

// WantModel is what an error says of a name that is not valid.
const WantModel = "want the name of a model, 1 to 256 printable characters"

// ValidModel says whether s can name a model: 1 to 256 characters of UTF-8, all
// of them printable. Names are written to headers, logs and terminals, where
// control characters and marks of the writing direction would disguise what
// follows.
func ValidModel(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxModelChars &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
