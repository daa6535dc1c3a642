package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// maxAnswer is the largest whole answer: 2,048 of the longest embeddings fit.
const maxAnswer = 64 << 20

// MaxEvent is the largest event of a stream: images come in one.
const MaxEvent = 16 << 20

// ReadAll reads a whole answer, without what may stand around a document.
func ReadAll(ctx context.Context, r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return nil, Failure(ctx, fmt.Errorf("reading the answer: %w", err))
	}
	if len(body) > maxAnswer {
		return nil, provider.BadAnswer(fmt.Errorf("the answer has more than %d bytes", maxAnswer))
	}
	return trim(body), nil
}

// NoStream is what an answer is that was to be an event stream and is of
// KindOther. It is not quoted: it may say anything, a key included.
func NoStream() error {
	return provider.BadAnswer(errors.New("the answer is no event stream"))
}

// BadAnswer is an answer of a kind that was not expected.
func BadAnswer(resp *http.Response, what string) error {
	return &provider.Error{
		Reason: provider.ReasonBadAnswer,
		Status: resp.StatusCode,
		Err:    fmt.Errorf("the answer, of type %q, is %s", resp.Header.Get("Content-Type"), what),
	}
}

// trim takes off what may stand around a document: white space and a byte
// order mark.
func trim(b []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(b), []byte("\xef\xbb\xbf")))
}

// Kind is what a body is by the look of its beginning, whatever its
// Content-Type says.
type Kind int

// The kinds of bodies. A body with nothing in it is blank.
const (
	KindOther Kind = iota
	KindBlank
	KindJSON
	KindSSE
)

// KindOf tells the kind of a body that begins like this. One that ends within
// the name of an event stream's field is such a stream, cut off.
func KindOf(begin []byte) Kind {
	begin = trim(begin)
	switch {
	case len(begin) == 0:
		return KindBlank
	case begin[0] == '{' || begin[0] == '[':
		return KindJSON
	}
	for _, field := range fields {
		if n := min(len(begin), len(field)); string(begin[:n]) == field[:n] {
			return KindSSE
		}
	}
	return KindOther
}

// fields are what the lines of an event stream begin with.
var fields = [...]string{":", "data:", "event:", "id:", "retry:"}

// maxPeek is how much white space may come before an answer.
const maxPeek = 4 << 10

// Peek reads as much of r as is needed to tell what it is, and returns that
// and a reader of the whole.
func Peek(r io.Reader) (begin []byte, whole io.Reader, err error) {
	buf := make([]byte, maxPeek)
	n := 0
	for n < len(buf) && !telling(buf[:n]) {
		m, err := r.Read(buf[n:])
		n += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return buf[:n], io.MultiReader(bytes.NewReader(buf[:n]), r), nil
}

// telling says whether KindOf needs no more than begin.
func telling(begin []byte) bool {
	const longest = len("event:")
	switch begin = trim(begin); {
	case len(begin) >= longest:
		return true
	case KindOf(begin) == KindSSE:
		return slices.ContainsFunc(fields[:], func(field string) bool { return strings.HasPrefix(string(begin), field) })
	}
	return KindOf(begin) == KindJSON
}
