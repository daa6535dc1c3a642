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

// maxAnswer is the largest whole answer. It has room for 2,048 of the longest
// embeddings.
const maxAnswer = 64 << 20

// MaxEvent is the largest event of a stream. Images come in a single event.
const MaxEvent = 16 << 20

// ReadAll reads a whole answer and trims what may surround the document.
func ReadAll(ctx context.Context, r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return nil, Failure(ctx, fmt.Errorf("reading the answer: %w", err))
	}
	if len(body) > maxAnswer {
		return nil, provider.TooLong("the answer", maxAnswer)
	}
	return trim(body), nil
}

// NoStream is the failure of an answer of KindOther that should have been an
// event stream. It does not quote the answer, which may hold anything, keys
// included.
func NoStream() error {
	return provider.BadAnswer(errors.New("the answer is no event stream"))
}

// BadAnswer is the failure of an answer of an unexpected kind.
func BadAnswer(resp *http.Response, what string) error {
	return &provider.Error{
		Reason: provider.ReasonBadAnswer,
		Status: resp.StatusCode,
		Err:    fmt.Errorf("the answer, of type %q, is %s", resp.Header.Get("Content-Type"), what),
	}
}

// trim removes white space and a byte order mark around a document.
func trim(b []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(b), []byte("\xef\xbb\xbf")))
}

// Kind is what the first bytes of a body look like, whatever its Content-Type
// says.
type Kind int

// The kinds of bodies. A body without content is blank.
const (
	KindOther Kind = iota
	KindBlank
	KindJSON
	KindSSE
)

// KindOf returns the kind of a body that begins like this. A body that ends
// within the name of an event stream's field counts as a stream that was cut.
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

// fields are the beginnings of an event stream's lines.
var fields = [...]string{":", "data:", "event:", "id:", "retry:"}

// maxPeek is how much white space may precede an answer.
const maxPeek = 4 << 10

// Peek reads as much of r as KindOf needs, and returns that together with a
// reader of the whole.
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

// telling says whether begin is enough for KindOf.
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
