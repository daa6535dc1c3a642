package sharedanswer

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

var mine, others = [32]byte{1}, [32]byte{2}

// passenger rides a flight.
type passenger struct {
	answer *httptest.ResponseRecorder
	goAway context.CancelFunc
	err    chan error
}

func (f *Flight) carries(sum [32]byte) *passenger {
	ctx, cancel := context.WithCancel(context.Background())
	p := &passenger{httptest.NewRecorder(), cancel, make(chan error, 1)}
	go func() { p.err <- f.ride(ctx, &rider{w: p.answer, sum: sum, begin: func() {}}) }()
	return p
}

// take boards a flight, which has to be a new one, and sends it off.
func take(t *testing.T, key string, keeps bool) (f *Flight, ctx context.Context) {
	t.Helper()
	f, leads := board(key, false)
	if !leads {
		t.Fatal("there is a flight already")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	f.carry(mine, new(record.Record), cancel, keeps)
	return f, ctx
}

// join boards a flight that has to be this one.
func (f *Flight) join(t *testing.T, key string) *passenger {
	t.Helper()
	if got, leads := board(key, false); leads || got != f {
		t.Fatal("another flight is boarded")
	}
	return f.carries(mine)
}

func wantNoFlights(t *testing.T) {
	t.Helper()
	flights.mu.Lock()
	defer flights.mu.Unlock()
	if len(flights.byKey) > 0 {
		t.Errorf("flights are left: %v", slices.Collect(maps.Keys(flights.byKey)))
	}
}

func (f *Flight) begin(text string) {
	f.Header().Set("Content-Type", "text/event-stream")
	f.WriteHeader(http.StatusOK)
	_, _ = f.Write([]byte(text))
}

func TestFlight(t *testing.T) {
	run := func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t)
				synctest.Wait()
				wantNoFlights(t)
			})
		})
	}

	run("every rider gets all of it", func(t *testing.T) {
		f, ctx := take(t, "k", false)
		early := f.carries(mine)
		f.begin("one")
		synctest.Wait()
		if got := early.answer.Body.String(); got != "one" || !early.answer.Flushed {
			t.Errorf("got %q, flushed %v", got, early.answer.Flushed)
		}
		late := f.join(t, "k")
		_, _ = f.Write([]byte(" two"))
		f.land("k", nil)
		for _, p := range []*passenger{early, late} {
			if err := <-p.err; err != nil || p.answer.Body.String() != "one two" {
				t.Errorf("%v, %q", err, p.answer.Body)
			}
		}
		if ctx.Err() != nil {
			t.Error("the call was cancelled")
		}
		// what a rider's client gets is its own
		early.answer.Header()["Content-Type"][0] = "changed"
		if late.answer.Header().Get("Content-Type") == "changed" || f.begun.Get("Content-Type") == "changed" {
			t.Error("the header is shared")
		}
	})

	run("the last one to leave cancels the call, and waits for it", func(t *testing.T) {
		f, ctx := take(t, "k", false)
		a := f.carries(mine)
		b := f.join(t, "k")
		a.goAway()
		if err := <-a.err; !errors.Is(err, errGone) || ctx.Err() != nil {
			t.Fatalf("%v, %v", err, ctx.Err())
		}
		b.goAway()
		<-ctx.Done()
		synctest.Wait()
		if len(b.err) > 0 {
			t.Error("it did not wait for the call")
		}
		// nobody boards what was given up
		other, ctx2 := take(t, "k", false)
		f.land("k", context.Canceled)
		<-b.err
		again := other.join(t, "k")
		c := other.carries(mine)
		other.begin("whole")
		other.land("k", nil)
		<-again.err
		if err := <-c.err; err != nil || c.answer.Body.String() != "whole" || ctx2.Err() != nil {
			t.Errorf("%v, %q", err, c.answer.Body)
		}
	})

	run("one that keeps goes on without riders", func(t *testing.T) {
		f, ctx := take(t, "k", true)
		a := f.carries(mine)
		a.goAway()
		f.begin("one")
		synctest.Wait()
		b := f.join(t, "k")
		f.land("k", nil)
		if err := <-b.err; err != nil || b.answer.Body.String() != "one" || ctx.Err() != nil {
			t.Errorf("%v, %q, %v", err, b.answer.Body, ctx.Err())
		}
		<-a.err
	})

	run("whoever asks for something else is turned away", func(t *testing.T) {
		f, leads := board("k", false)
		if !leads {
			t.Fatal("there is a flight already")
		}
		lead, second := f.carries(others), f.join(t, "k")
		synctest.Wait()
		// not before it is known whose answer it is: here the second one's
		if len(lead.err)+len(second.err) > 0 {
			t.Fatal("turned away too early")
		}
		f.fill(&recording{sum: mine, header: http.Header{}, body: []byte("kept")})
		f.land("k", nil)
		if err := <-lead.err; !errors.Is(err, errOtherRequest) || lead.answer.Body.Len() > 0 {
			t.Errorf("%v, %q", err, lead.answer.Body)
		}
		if err := <-second.err; err != nil || second.answer.Body.String() != "kept" {
			t.Errorf("%v, %q", err, second.answer.Body)
		}
	})

	run("nobody is told of a failure in another's words", func(t *testing.T) {
		f, _ := take(t, "k", false)
		p := f.carries(mine)
		f.begin("one")
		f.TakeFailure(apierror.AIError())
		f.TakeFailure(apierror.AITimeout())
		f.land("k", nil)
		if err := <-p.err; apierror.From(err).Code != "ai_error" || p.answer.Body.String() != "one" {
			t.Errorf("%v, %q", err, p.answer.Body)
		}
		if f.recording(nil) != nil {
			t.Error("a failure is kept")
		}
	})

	run("a panic is a failure", func(t *testing.T) {
		f, _ := take(t, "k", false)
		p := f.carries(mine)
		f.land("k", f.make(func() error { panic("at the provider's") }))
		if err := <-p.err; err == nil || !strings.Contains(err.Error(), "at the provider's") || apierror.From(err).Code != "internal_error" {
			t.Errorf("%v", err)
		}
	})

	run("an answer that is broken off is a failure", func(t *testing.T) {
		f, _ := take(t, "k", false)
		p := f.carries(mine)
		f.begin("one")
		err := f.make(func() error { panic(http.ErrAbortHandler) })
		if f.recording(err) != nil {
			t.Error("it is kept")
		}
		f.Note = []byte("noted")
		kept := f.recording(err)
		f.land("k", err)
		if err := <-p.err; !errors.Is(err, errBrokenOff) || apierror.From(err).Code != "ai_error" || p.answer.Body.String() != "one" {
			t.Errorf("%v, %q", err, p.answer.Body)
		}
		// with a note it is given again as it was, to its end
		again, _ := board("k", false)
		q := again.carries(mine)
		again.fill(kept)
		again.land("k", nil)
		if err := <-q.err; apierror.From(err).Code != "ai_error" || q.answer.Body.String() != "one" || !q.answer.Flushed {
			t.Errorf("%v, %q", err, q.answer.Body)
		}
	})

	run("a status is passed on, and not kept", func(t *testing.T) {
		f, _ := take(t, "k", false)
		p := f.carries(mine)
		f.WriteHeader(http.StatusEarlyHints)
		f.WriteHeader(http.StatusTeapot)
		_, _ = f.Write([]byte("short"))
		f.Note = []byte("noted")
		if f.recording(nil) != nil {
			t.Error("it is kept")
		}
		f.land("k", nil)
		if err := <-p.err; err != nil || p.answer.Code != http.StatusTeapot || p.answer.Body.String() != "short" {
			t.Errorf("%v, %d %q", err, p.answer.Code, p.answer.Body)
		}
	})

	run("a fresh one takes its place", func(t *testing.T) {
		f, _ := take(t, "k", false)
		old := f.carries(mine)
		fresh, leads := board("k", true)
		if !leads {
			t.Fatal("it is answered by an earlier one")
		}
		fresh.carry(mine, new(record.Record), func(error) {}, false)
		p := fresh.carries(mine)
		q := fresh.join(t, "k")
		f.begin("old")
		f.land("k", nil)
		fresh.begin("new")
		if f.recording(nil) != nil || fresh.recording(nil) == nil {
			t.Error("the older answer is kept, or the newer one is not")
		}
		fresh.land("k", nil)
		for _, p := range []*passenger{old, p, q} {
			if err := <-p.err; err != nil {
				t.Error(err)
			}
		}
	})

	run("it does not grow without bound", func(t *testing.T) {
		f, _ := take(t, "k", false)
		p := f.carries(mine)
		f.begin("")
		piece := make([]byte, 1<<20)
		n := 0
		for {
			if _, err := f.Write(piece); err != nil {
				break
			}
			if n += len(piece); n > maxFlight {
				t.Fatal("it takes more than its limit")
			}
		}
		f.TakeFailure(apierror.AITimeout()) // what follows from it
		f.land("k", nil)
		err := <-p.err
		if !errors.Is(err, errTooLong) || apierror.From(err).Code != "ai_error" || p.answer.Body.Len() != maxFlight {
			t.Errorf("%v, %d bytes", err, p.answer.Body.Len())
		}
	})

	run("a document is taken whatever its length", func(t *testing.T) {
		f, _ := take(t, "k", false)
		p := f.carries(mine)
		f.WriteHeader(http.StatusOK)
		if _, err := f.Write(make([]byte, maxFlight+1)); err != nil {
			t.Error(err)
		}
		f.land("k", nil)
		if err := <-p.err; err != nil || p.answer.Body.Len() != maxFlight+1 || p.answer.Flushed {
			t.Errorf("%v, %d bytes, flushed %v", err, p.answer.Body.Len(), p.answer.Flushed)
		}
	})

	run("keep-alives are not given again", func(t *testing.T) {
		f, _ := take(t, "k", false)
		p := f.carries(mine)
		f.begin(": keep-alive\n\ndata: {\"a\":\": keep-alive\\n\\n\"}\n\n: keep-alive\n\ndata: [DONE]\n\n: keep-alive\n\n")
		if got := string(f.recording(nil).body); got != "data: {\"a\":\": keep-alive\\n\\n\"}\n\ndata: [DONE]\n\n" {
			t.Errorf("got %q", got)
		}
		f.land("k", nil)
		<-p.err
	})
}

// TestFlightsAtOnce has many come and go while answers are made.
func TestFlightsAtOnce(t *testing.T) {
	const keys, clients = 4, 200
	names := [keys]string{"a", "b", "c", "d"}
	var all sync.WaitGroup
	for i := range clients {
		key, gone := names[i%keys], i%3 == 0
		all.Go(func() {
			f, leads := board(key, i%50 == 0)
			if leads {
				ctx, cancel := context.WithCancelCause(t.Context())
				f.carry(mine, new(record.Record), cancel, i%2 == 0)
				all.Go(func() {
					defer cancel(nil)
					f.land(key, f.make(func() error {
						f.begin("")
						for range 100 {
							if ctx.Err() != nil {
								return ctx.Err()
							}
							_, _ = f.Write([]byte("x"))
						}
						return nil
					}))
				})
			}
			p := f.carries(mine)
			if gone {
				p.goAway()
				<-p.err
				return
			}
			if err := <-p.err; err != nil || p.answer.Body.String() != strings.Repeat("x", 100) {
				t.Errorf("%v, %d bytes", err, p.answer.Body.Len())
			}
		})
	}
	all.Wait()
	wantNoFlights(t)
}

func TestRecording(t *testing.T) {
	whole := &recording{
		sum: mine, header: http.Header{"Content-Type": {"text/event-stream"}, "X-Two": {"1", "2"}}, body: []byte("data: x\n\n"),
		note: []byte{0, 0xFF}, failure: &apierror.Error{Status: 502, Code: "ai_error", Message: "no", Param: "p", RetryAfter: 3},
	}
	b := whole.encode()
	got, err := decodeRecording(bytes.Clone(b))
	if err != nil || got.sum != mine || !bytes.Equal(got.body, whole.body) || !maps.EqualFunc(got.header, whole.header, slices.Equal) ||
		!bytes.Equal(got.note, whole.note) || *got.failure != *whole.failure {
		t.Errorf("%+v, %v", got, err)
	}
	head := len(b) - len(whole.body)
	for n := range head {
		if _, err := decodeRecording(b[:n]); !errors.Is(err, errNoRecording) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
	}
	for _, bad := range []string{"", "null", "[]", "{", "{}"} {
		a := append(make([]byte, 35, 64), byte(len(bad)))
		if _, err := decodeRecording(append(a, bad...)); !errors.Is(err, errNoRecording) {
			t.Errorf("with header %q: %v", bad, err)
		}
	}
}

func FuzzDecodeRecording(f *testing.F) {
	f.Add((&recording{sum: mine, header: http.Header{"A": {"b"}}, body: []byte("body"), note: []byte("note")}).encode())
	f.Add(make([]byte, 36))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeRecording(b)
		if err != nil {
			return
		}
		again, err := decodeRecording(a.encode())
		if err != nil || again.sum != a.sum || !bytes.Equal(again.body, a.body) || !bytes.Equal(again.note, a.note) || !maps.EqualFunc(again.header, a.header, slices.Equal) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}
