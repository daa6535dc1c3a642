package chat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// checkObject checks that a body is one JSON object. The error says what is wrong
// with it, and where, but quotes nothing of it.
func checkObject(body []byte) error {
	if jsontext.Value(body).IsValid() && jsontext.Value(body).Kind() == jsontext.KindBeginObject {
		return nil
	}
	if err := checkBegin(body); err != nil {
		return err
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	v, err := d.ReadValue()
	if err != nil {
		return apierror.BadJSON(fault(body, err)).Because(errors.New("invalid JSON"))
	}
	kind := v.Kind()
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return apierror.BadJSON(fmt.Sprintf("it goes on after the object, at byte %d", d.InputOffset()))
	}
	if kind != jsontext.KindBeginObject {
		return apierror.InvalidRequest("body", "want a JSON object")
	}
	return nil
}

// prefixes are the beginnings of bodies that are no plain JSON.
var prefixes = []struct {
	begin   string
	failure func() *apierror.Error
}{
	{"\x1f\x8b", apierror.CompressedBody},         // gzip
	{"\x28\xb5\x2f\xfd", apierror.CompressedBody}, // zstd
	{"\xef\xbb\xbf", func() *apierror.Error { return apierror.BadJSON("it begins with a byte order mark, leave that out") }},
	{"\xff\xfe", wideText},
	{"\xfe\xff", wideText},
}

func wideText() *apierror.Error { return apierror.BadJSON("it is in UTF-16 and not in UTF-8") }

func checkBegin(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return apierror.BadJSON("it is empty")
	}
	for _, p := range prefixes {
		if bytes.HasPrefix(body, []byte(p.begin)) {
			return p.failure()
		}
	}
	return nil
}

// fault says what is wrong with a body that the decoder has refused.
func fault(body []byte, err error) string {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("it ends too early, after %d bytes", len(body))
	case !ok:
		return "it cannot be read"
	case errors.Is(err, jsontext.ErrDuplicateName):
		return fmt.Sprintf("it has a duplicate name at byte %d", syntax.ByteOffset)
	case halfPair(body[syntax.ByteOffset:]):
		return fmt.Sprintf("it has half a surrogate pair at byte %d, as of an emoji that was cut in two", syntax.ByteOffset)
	case !utf8.FullRune(body[syntax.ByteOffset:]), !utf8.Valid(body[:min(len(body), int(syntax.ByteOffset)+utf8.UTFMax)]):
		return fmt.Sprintf("it is not valid UTF-8 at byte %d", syntax.ByteOffset)
	default:
		return fmt.Sprintf("it is not valid JSON at byte %d", syntax.ByteOffset)
	}
}

// halfPair reports whether text begins with the escape of a surrogate.
func halfPair(text []byte) bool {
	const digits = len(`\ud8`)
	return len(text) > digits && text[0] == '\\' && text[1] == 'u' && (text[2] == 'd' || text[2] == 'D') &&
		bytes.IndexByte([]byte("89abcdefABCDEF"), text[3]) >= 0
}
