package providertest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func largeEvent(t *testing.T, s *subject) {
	r := reply("stop", Part{Text: "a"}, Part{Text: strings.Repeat("large", 1<<20)}, Part{Text: "z"})
	s.answerStream(r, Whole)
	s.check(t, "a stream", r, streamOf(t.Context(), t, s, s.request(plainBody)))
	s.answerWhole(r)
	s.check(t, "a whole answer", r, completionOf(t.Context(), t, s, s.request(plainBody)))
}

// disguised sends answers with another type, compressed, or with other line
// ends.
func disguised(t *testing.T, s *subject) {
	play := func(name string, header http.Header, edit func([]byte) []byte) {
		t.Run(name, func(t *testing.T) {
			s.Answer(http.StatusOK, header, edit(join(s.Events(hi))), Bytes)
			s.check(t, "a stream", hi, streamOf(t.Context(), t, s, s.request(plainBody)))
			s.Answer(http.StatusOK, header, edit(s.Whole(hi)), Bytes)
			s.check(t, "a whole answer", hi, completionOf(t.Context(), t, s, s.request(plainBody)))
		})
	}
	as := func(b []byte) []byte { return b }
	play("of another type", htmlType, as)
	play("of a stream's type", s.streamType(), as)
	play("of JSON's type", jsonType, as)
	play("compressed", http.Header{"Content-Encoding": {"gzip"}}, zipped)
	if !s.has(HasLines) {
		return
	}
	play("byte order mark", s.streamType(), func(b []byte) []byte { return append([]byte("\xef\xbb\xbf"), b...) })
	play("carriage returns", s.streamType(), func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) })
	play("blank lines before", s.streamType(), func(b []byte) []byte { return append([]byte("\n\n"), b...) })
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	zw.Write(b)
	zw.Close()
	return out.Bytes()
}

// noAnswer sends what is not an answer.
func noAnswer(t *testing.T, s *subject) {
	whole := string(s.Whole(hi))
	for _, tc := range []struct {
		name, body string
		cut        bool // it may count as an answer that was cut
	}{
		{"HTML", "<!doctype html>\n<html><head><title>Sign in</title></head><body>Please sign in</body></html>", false},
		{"prose", "upstream connect error or disconnect/reset before headers", false},
		{"nothing", "", true},
		{"blank", " \n\n", true},
		{"JSON of another kind", `{"ok":true}`, false},
		{"JSON that is no object", `[]`, false},
		{"half of a whole answer", whole[:len(whole)/2], true},
	} {
		for typ, header := range map[string]http.Header{"HTML": htmlType, "JSON": jsonType, "stream": s.streamType()} {
			s.Answer(http.StatusOK, header, []byte(tc.body), Whole)
			t.Run(tc.name+" as "+typ, func(t *testing.T) {
				s.both(t, func(t *testing.T, ask asking) {
					a := ask(t.Context(), t, s, s.request(plainBody))
					e, ok := errors.AsType[*provider.Error](a.Err)
					switch {
					case a.Chunks > 0 || a.Content:
						t.Errorf("it has %d chunks", a.Chunks)
					case tc.cut && errors.Is(a.Err, provider.ErrCut):
					case !ok || e.Reason != provider.ReasonBadAnswer:
						t.Errorf("failed with %v, want a bad answer", a.Err)
					}
				})
			})
		}
	}
}

func errorWithoutStatus(t *testing.T, s *subject) {
	for _, header := range [...]http.Header{jsonType, s.streamType()} {
		s.Answer(http.StatusOK, header, s.Failure(http.StatusServiceUnavailable, "out of order"), Whole)
		s.both(t, func(t *testing.T, ask asking) {
			a := ask(t.Context(), t, s, s.request(plainBody))
			e, ok := errors.AsType[*provider.Error](a.Err)
			if !ok || e.Message != "out of order" || e.Reason != provider.ReasonUnavailable {
				t.Errorf("failed with %v, want the provider's error", a.Err)
			}
		})
	}
}
