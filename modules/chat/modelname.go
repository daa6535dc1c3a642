package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

const maxModelChars = 256

// ValidModel says whether s can name a model: 1 to 256 characters of UTF-8, all
// of them printable. Names are written to headers, logs and terminals, where
// control characters and marks of the writing direction would disguise what
// follows.
func ValidModel(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxModelChars &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// CheckModel checks the name of a model that a request has in a field. What is not
// in a tenant's list of models is not allowed, whether it is a name or not. t may be
// nil. Errors are *apierror.Error.
func CheckModel(t *tenant.Tenant, field, name string) error {
	switch {
	case ValidModel(name):
		return nil
	case name != "" && t != nil && !t.MayUse(name):
		return apierror.ModelNotAllowed()
	}
	return apierror.InvalidRequest(field, "want the name of a model, 1 to 256 printable characters")
}
