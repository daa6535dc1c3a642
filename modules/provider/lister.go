package provider

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lister is a provider that can list its models.
type Lister interface {
	// Models asks for the provider's names of its models. Of the request only
	// APIKey and TraceID count.
	Models(ctx context.Context, req *Request) ([]string, error)
}

// Counter is a provider that can count the tokens of a request.
type Counter interface {
	// CountTokens returns how many tokens the request's Native has, which is in
	// Anthropic's API. Of the rest only Model, APIKey and TraceID count.
	CountTokens(ctx context.Context, req *Request) (int64, error)
}

// maxModelChars is the longest name of a model.
const maxModelChars = 256

// ValidModel reports whether s can name a model: 1 to 256 printable characters.
func ValidModel(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxModelChars &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
