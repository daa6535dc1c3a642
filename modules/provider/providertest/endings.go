package providertest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// endings checks what becomes of answers that end early, that fail, or that
// are not what they should be.
func endings(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	for _, tc := range []struct {
		name string
		run  func(*testing.T, *subject)
	}{
		{"cut", cutAnywhere},
		{"hanging", hanging},
		{"silent", silent},
		{"failed in the middle", failedInTheMiddle},
		{"failed behind the end", failedBehindTheEnd},
		{"malformed event", malformedEvent},
		{"large event", largeEvent},
		{"not what it says", disguised},
		{"no answer", noAnswer},
		{"error with status 200", errorWithoutStatus},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, s) })
	}
}

// cutAnywhere ends a stream behind each event and in the middle of it: it is
// whole only where all was said.
func cutAnywhere(t *testing.T, s *subject) {
	r := hi
	r.Parts = append(slices.Clone(hi.Parts), Part{Call: 1, ID: "call_a", Name: "weather", Arguments: arguments})
	r.Finish = "tool_calls"
	for _, manner := range [...]Manner{Whole, Reset} {
		var sent []byte
		ended := false
		for i, event := range s.Events(r) {
			for _, more := range [...][]byte{event[:len(event)/2], event[len(event)/2:]} {
				sent = append(sent, more...)
				s.Answer(http.StatusOK, s.streamType(), bytes.Clone(sent), manner)
				a := streamOf(t.Context(), t, s, s.request(plainBody))
				said := a.Text == r.Text() && slices.EqualFunc(a.ToolCalls, r.Calls(), s.sameCall)
				switch {
				case !strings.HasPrefix(r.Text(), a.Text):
					t.Errorf("cut in event %d: %q is no beginning of the text", i, a.Text)
				case a.Finish != "" && (a.Err != nil || !said || a.Finish != r.Finish):
					t.Errorf("cut in event %d: finished with %q, %+v, %q, but ended with %v", i, a.Text, a.ToolCalls, a.Finish, a.Err)
				case a.Finish == "" && !errors.Is(a.Err, provider.ErrCut):
					t.Errorf("cut in event %d: ended with %v, want ErrCut", i, a.Err)
				}
				ended = a.Finish != ""
			}
		}
		if !ended {
			t.Errorf("a stream that was not cut has no end")
		}
	}
}

// patience is how long something may take that ought to happen at once.
const patience = 20 * time.Second

var errLeft = errors.New("the client went away")

// cancelled makes a call, ends its context once the server hangs, and checks
// that the call ends with the cause.
func (s *subject) cancelled(t *testing.T, ask asking) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() { ended <- ask(ctx, t, s, s.request(plainBody)).Err }()
	select {
	case <-s.hanging:
	case err := <-ended:
		t.Fatalf("ended before its time, with %v", err)
	}
	cancel(errLeft)
	left(t, ended)
}

// left checks that a call whose context ended does so too.
func left(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, errLeft) || errors.Is(err, provider.ErrCut) {
			t.Errorf("ended with %v, want the cause", err)
		}
	case <-time.After(patience):
		t.Fatal("the context ended, but the call did not")
	}
}

// atFirstWord ends the context of a stream when its first word has come, which has
// to be before there is more.
func atFirstWord(t *testing.T, s *subject) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		chunks, err := s.Stream(ctx, s.request(plainBody))
		if err != nil {
			ended <- err
			return
		}
		defer chunks.Close()
		for {
			chunk, err := chunks.Next()
			if err != nil {
				ended <- err
				return
			}
			if chunk.Text != "" {
				cancel(errLeft)
			}
		}
	}()
	left(t, ended)
}

// hanging has the server go silent in the middle.
func hanging(t *testing.T, s *subject) {
	events := s.Events(hi)
	s.Answer(http.StatusOK, s.streamType(), join(events[:len(events)/2]), Hang)
	t.Run("at the first word", func(t *testing.T) { atFirstWord(t, s) })
	<-s.hanging
	t.Run("stream", func(t *testing.T) { s.cancelled(t, streamOf) })
	whole := s.Whole(hi)
	s.Answer(http.StatusOK, jsonType, whole[:len(whole)/2], Hang)
	t.Run("whole", func(t *testing.T) { s.cancelled(t, completionOf) })
	s.Answer(http.StatusBadRequest, jsonType, s.Failure(http.StatusBadRequest, "no")[:2], Hang)
	s.both(t, s.cancelled)
}

// silent has the server say nothing.
func silent(t *testing.T, s *subject) {
	s.Answer(http.StatusOK, nil, nil, Silent)
	s.both(t, s.cancelled)
	s.Answer(http.StatusOK, s.streamType(), nil, Hang)
	t.Run("behind the header", func(t *testing.T) { s.cancelled(t, streamOf) })

	gone, cancel := context.WithCancelCause(t.Context())
	cancel(errLeft)
	s.both(t, func(t *testing.T, ask asking) {
		ended := make(chan error, 1)
		ended <- ask(gone, t, s, s.request(plainBody)).Err
		left(t, ended)
	})
}

func failedInTheMiddle(t *testing.T, s *subject) {
	events := s.Events(hi)
	for name, at := range map[string]int{"the beginning": 0, "the middle": len(events) / 2} {
		s.Answer(http.StatusOK, s.streamType(), join(append(slices.Clone(events[:at]), s.FailureEvent("out of order"))), Whole)
		a := streamOf(t.Context(), t, s, s.request(plainBody))
		e, ok := errors.AsType[*provider.Error](a.Err)
		if !ok || e.Message != "out of order" {
			t.Errorf("at %s: ended with %v, want the provider's error", name, a.Err)
		}
		if !strings.HasPrefix(hi.Text(), a.Text) || at > 0 && a.Text == "" {
			t.Errorf("at %s: the text before it is %q", name, a.Text)
		}
	}
}

// failedBehindTheEnd: what was finished stays so.
func failedBehindTheEnd(t *testing.T, s *subject) {
	for _, manner := range [...]Manner{Whole, Reset} {
		s.Answer(http.StatusOK, s.streamType(), join(append(s.Events(hi), s.FailureEvent("out of order"))), manner)
		s.check(t, "a stream", hi, streamOf(t.Context(), t, s, s.request(plainBody)))
	}
}

func malformedEvent(t *testing.T, s *subject) {
	for at := range len(s.Events(hi)) / 2 {
		s.Answer(http.StatusOK, s.streamType(), join(slices.Insert(s.Events(hi), at+1, s.Malformed)), Whole)
		a := streamOf(t.Context(), t, s, s.request(plainBody))
		if a.Skipped != 1 {
			t.Errorf("behind event %d: %d events are counted as skipped, want 1", at, a.Skipped)
		}
		a.Skipped = 0
		s.check(t, "a stream", hi, a)
	}
}

func largeEvent(t *testing.T, s *subject) {
	r := reply("stop", Part{Text: "a"}, Part{Text: strings.Repeat("large", 1<<20)}, Part{Text: "z"})
	s.answerStream(r, Whole)
	s.check(t, "a stream", r, streamOf(t.Context(), t, s, s.request(plainBody)))
	s.answerWhole(r)
	s.check(t, "a whole answer", r, completionOf(t.Context(), t, s, s.request(plainBody)))
}

// disguised sends answers under another type, compressed, or in other lines.
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

// noAnswer sends what is no answer at all.
func noAnswer(t *testing.T, s *subject) {
	whole := string(s.Whole(hi))
	for _, tc := range []struct {
		name, body string
		cut        bool // it may pass for an answer that was cut
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
