package chat

import (
	"encoding/json"
	"errors"
	"regexp"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// said is all that a message may say: words of ours, and numbers.
var said = regexp.MustCompile(`^(body: want a JSON object|The body (must be one JSON object: it (is empty|begins with a byte order mark, leave that out|is in UTF-16 and not in UTF-8|goes on after the object, at byte \d+|ends too early, after \d+ bytes|has a duplicate name at byte \d+|has half a surrogate pair at byte \d+, as of an emoji that was cut in two|is not valid (UTF-8|JSON) at byte \d+)|is compressed; send it as it is, without Content-Encoding))$`)

// FuzzObject holds what is taken for one JSON object to what other parsers take,
// and what is said of the rest to words of ours.
func FuzzObject(f *testing.F) {
	for _, s := range []string{
		`{}`, ` {"a":"\ud83d\ude00"} `, `{"a":"\ud83d"}`, `{"\ude00":1}`, "{\"a\":\"\xff\"}", "{\"a\":\"\xf0\x9f", `{"a":1,"a":2}`, `{"a":1} x`, `{"a":1}{}`,
		``, ` `, `{`, `[{}]`, `null`, "\ufeff{}", "\xff\xfe{\x00", "\x1f\x8b\x08", "\x28\xb5\x2f\xfd", `{"a":01}`, `{"a":"\u`, `{"a":"\ud8`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := checkObject(body)
		if err == nil {
			if !json.Valid(body) || jsontext.Value(body).Kind() != '{' {
				t.Fatalf("%q is taken", body)
			}
			return
		}
		e, ok := errors.AsType[*apierror.Error](err)
		if !ok || !said.MatchString(e.Message) {
			t.Fatalf("of %q: %v", body, err)
		}
	})
}
