package chat

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

const maxUserChars = 128

// UserFrom reads the user from a header; without one it is anonymous.
// Errors are *apierror.Error.
func UserFrom(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) == 0 || (len(values) == 1 && values[0] == "") {
		return record.Anonymous, nil
	}
	if len(values) > 1 {
		return "", apierror.InvalidRequest(name, "want this header once")
	}
	if !ValidUser(values[0]) {
		return "", apierror.InvalidRequest(name, "want 1 to 128 characters, no control characters")
	}
	return values[0], nil
}

// ValidUser says whether s can name a user: 1 to 128 characters of UTF-8, none
// of them a control character, which no header can carry.
func ValidUser(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxUserChars &&
		!strings.ContainsFunc(s, unicode.IsControl)
}
