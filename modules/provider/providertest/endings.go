package providertest

import (
	"bytes"
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

// endings checks answers that end early, that fail, or that are not what they
// should be.
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
		{"end mark", endMark},
		{"malformed event", malformedEvent},
		{"noise", noise},
		{"pings", pings},
		{"closed early", closedEarly},
		{"connection", connection},
		{"large event", largeEvent},
		{"not what it says", disguised},
		{"no answer", noAnswer},
		{"error with status 200", errorWithoutStatus},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, s) })
	}
}

// cutAnywhere ends a stream after each event and in the middle of it. It is
// whole only if everything was sent.
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
		// A reset may discard what was not read yet.
		if !ended && manner == Whole {
			t.Error("a stream that was not cut has no end")
		}
	}
	whole := s.Whole(hi)
	s.Answer(http.StatusOK, jsonType, whole[:len(whole)/2], Reset)
	err := completionOf(t.Context(), t, s, s.request(plainBody)).Err
	if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnavailable {
		t.Errorf("half of a whole answer: failed with %v, want it unavailable", err)
	}
}

// patience is how long something may take that should happen at once.
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

// left checks that a call ends once its context has ended.
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

// atFirstWord ends the context of a stream when its first word has come, which
// must not take any more events.
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

// failedBehindTheEnd: a finished answer stays finished.
func failedBehindTheEnd(t *testing.T, s *subject) {
	events := s.Events(hi)
	finished := 0
	for at := len(events); at > 0; at-- {
		s.Answer(http.StatusOK, s.streamType(), join(events[:at]), Whole)
		if streamOf(t.Context(), t, s, s.request(plainBody)).Finish == "" {
			break
		}
		finished++
		for _, manner := range [...]Manner{Whole, Reset} {
			s.Answer(http.StatusOK, s.streamType(), join(slices.Insert(s.Events(hi), at, s.FailureEvent("out of order"))), manner)
			a := streamOf(t.Context(), t, s, s.request(plainBody))
			if manner == Reset && a.Finish == "" && errors.Is(a.Err, provider.ErrCut) {
				continue // the reset discarded what was not read yet
			}
			if a.Err != nil || a.Text != hi.Text() || a.Finish != hi.Finish {
				t.Errorf("behind event %d: got %q, finished with %q, ended with %v", at-1, a.Text, a.Finish, a.Err)
			}
		}
	}
	if finished == 0 {
		t.Error("no event finishes a stream")
	}
}

// endMark: after its end mark a stream has ended, whatever the connection does.
func endMark(t *testing.T, s *subject) {
	if !s.has(HasEndMark) {
		t.Skip("this dialect has no end mark")
	}
	s = s.start(t, upstream.Upstream{APIKey: configuredKey})
	s.answerStream(hi, Hang)
	ended := make(chan Answer, 1)
	go func() { ended <- streamOf(t.Context(), t, s, s.request(plainBody)) }()
	select {
	case a := <-ended:
		s.check(t, "a stream", hi, a)
	case <-time.After(patience):
		t.Fatal("the stream came to its mark, but did not end")
	}
}

// malformedEvent puts an event that breaks off into a stream: a piece of the
// answer is lost.
func malformedEvent(t *testing.T, s *subject) {
	for at := range len(s.Events(hi)) / 2 {
		s.Answer(http.StatusOK, s.streamType(), join(slices.Insert(s.Events(hi), at+1, s.Malformed)), Whole)
		a := streamOf(t.Context(), t, s, s.request(plainBody))
		if a.Finish != "" || !errors.Is(a.Err, provider.ErrCut) {
			t.Errorf("behind event %d: finished with %q and ended with %v, want ErrCut", at, a.Finish, a.Err)
		}
	}
}

// noise puts an event that is nothing of an answer's into a stream.
func noise(t *testing.T, s *subject) {
	if s.Noise == nil {
		return
	}
	for at := range len(s.Events(hi)) / 2 {
		s.Answer(http.StatusOK, s.streamType(), join(slices.Insert(s.Events(hi), at+1, s.Noise)), Whole)
		a := streamOf(t.Context(), t, s, s.request(plainBody))
		if a.Skipped != 1 {
			t.Errorf("behind event %d: %d events are counted as skipped, want 1", at, a.Skipped)
		}
		a.Skipped = 0
		s.check(t, "a stream", hi, a)
	}
}

// pings puts pings between all events.
func pings(t *testing.T, s *subject) {
	events := [][]byte{s.Ping}
	for _, event := range s.Events(hi) {
		events = append(events, event, s.Ping)
	}
	s.Answer(http.StatusOK, s.streamType(), join(events), Whole)
	s.check(t, "a stream", hi, streamOf(t.Context(), t, s, s.request(plainBody)))
}

// closedEarly closes a stream that goes on. The call has to end with it.
func closedEarly(t *testing.T, s *subject) {
	s = s.start(t, upstream.Upstream{APIKey: configuredKey})
	events := s.Events(hi)
	s.Answer(http.StatusOK, s.streamType(), join(events[:len(events)/2]), Hang)
	chunks, err := s.Stream(context.WithoutCancel(t.Context()), s.request(plainBody))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chunks.Next(); err != nil {
		t.Error(err)
	}
	<-s.hanging
	if err := chunks.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-s.left:
	case <-time.After(patience):
		t.Fatal("the stream was closed, but the call goes on")
	}
}

// connection checks that a call reuses the connection of the one before it.
func connection(t *testing.T, s *subject) {
	s = s.start(t, upstream.Upstream{APIKey: configuredKey})
	s.answerWhole(hi)
	used := func(ask asking) string {
		s.check(t, "an answer", hi, ask(t.Context(), t, s, s.request(plainBody)))
		req, _ := s.sent(t)
		return req.RemoteAddr
	}
	if first, second := used(completionOf), used(completionOf); first != second {
		t.Error("a whole answer's connection is not used again")
	}
	// The provider does not wait long for the end of a stream's body.
	s.answerStream(hi, Whole)
	for range 50 {
		if first, second := used(streamOf), used(streamOf); first == second {
			return
		}
	}
	t.Error("a stream's connection is not used again")
}
