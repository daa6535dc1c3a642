package sharedanswer

import (
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
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// waiter waits for a flight.
type waiter struct {
	answer *httptest.ResponseRecorder
	goAway context.CancelFunc
	err    chan error
}

func (f *flight) waiter() *waiter {
	ctx, cancel := context.WithCancel(context.Background())
	w := &waiter{httptest.NewRecorder(), cancel, make(chan error, 1)}
	go func() { w.err <- f.wait(ctx, &client{x: &Request{Exchange: &chat.Exchange{W: w.answer}}}) }()
	return w
}

// lead joins a flight, which has to be a new one, and begins its call.
func lead(t *testing.T, key string) (f *flight, ctx context.Context) {
	t.Helper()
	f, leads := join(key, false)
	if !leads {
		t.Fatal("there is a flight already")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	f.call(new(record.Record), cancel)
	return f, ctx
}

// join joins a flight that has to be this one.
func (f *flight) join(t *testing.T, key string) *waiter {
	t.Helper()
	if got, leads := join(key, false); leads || got != f {
		t.Fatal("it is another flight")
	}
	return f.waiter()
}

func wantNoFlights(t *testing.T) {
	t.Helper()
	flights.mu.Lock()
	defer flights.mu.Unlock()
	if len(flights.byKey) > 0 {
		t.Errorf("flights are left: %v", slices.Collect(maps.Keys(flights.byKey)))
	}
}

func (f *flight) say(text string) {
	f.Header().Set("Content-Type", "text/event-stream")
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

	run("every waiter gets all of it", func(t *testing.T) {
		f, ctx := lead(t, "k")
		early := f.waiter()
		f.say("one")
		synctest.Wait()
		if got := early.answer.Body.String(); got != "one" || !early.answer.Flushed {
			t.Errorf("got %q, flushed %v", got, early.answer.Flushed)
		}
		late := f.join(t, "k")
		_, _ = f.Write([]byte(" two"))
		f.finish("k", nil)
		for _, w := range []*waiter{early, late} {
			if err := <-w.err; err != nil || w.answer.Body.String() != "one two" {
				t.Errorf("%v, %q", err, w.answer.Body)
			}
		}
		if ctx.Err() != nil {
			t.Error("the call was cancelled")
		}
		// what a waiter's client gets is its own
		early.answer.Header()["Content-Type"][0] = "changed"
		if late.answer.Header().Get("Content-Type") == "changed" || f.begun.Get("Content-Type") == "changed" {
			t.Error("the header is shared")
		}
	})

	run("the last one to leave cancels the call, and waits for it", func(t *testing.T) {
		f, ctx := lead(t, "k")
		a := f.waiter()
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
		// what was given up is not joined
		other, ctx2 := lead(t, "k")
		f.finish("k", context.Canceled)
		<-b.err
		again := other.join(t, "k")
		c := other.waiter()
		other.say("whole")
		other.finish("k", nil)
		<-again.err
		if err := <-c.err; err != nil || c.answer.Body.String() != "whole" || ctx2.Err() != nil {
			t.Errorf("%v, %q", err, c.answer.Body)
		}
	})

	run("a cached answer takes the place of a call", func(t *testing.T) {
		f, leads := join("k", false)
		if !leads {
			t.Fatal("there is a flight already")
		}
		first, second := f.waiter(), f.join(t, "k")
		f.fill(&recording{head: head{Status: http.StatusOK, Header: http.Header{}}, body: []byte("cached")})
		f.finish("k", nil)
		for _, w := range []*waiter{first, second} {
			if err := <-w.err; err != nil || w.answer.Body.String() != "cached" {
				t.Errorf("%v, %q", err, w.answer.Body)
			}
		}
	})

	run("the first failure counts, and is not cached", func(t *testing.T) {
		f, _ := lead(t, "k")
		w := f.waiter()
		f.say("one")
		f.TakeFailure(apierror.AIError())
		f.TakeFailure(apierror.AITimeout())
		f.finish("k", nil)
		if err := <-w.err; apierror.From(err).Code != "ai_error" || w.answer.Body.String() != "one" {
			t.Errorf("%v, %q", err, w.answer.Body)
		}
		if f.recording(nil) != nil {
			t.Error("it is cached")
		}
	})

	run("a panic is a failure", func(t *testing.T) {
		f, _ := lead(t, "k")
		w := f.waiter()
		f.finish("k", f.run(func() error { panic("at the provider's") }))
		if err := <-w.err; err == nil || !strings.Contains(err.Error(), "at the provider's") || apierror.From(err).Code != "internal_error" {
			t.Errorf("%v", err)
		}
	})

	run("an answer that is broken off is a failure", func(t *testing.T) {
		f, _ := lead(t, "k")
		w := f.waiter()
		f.say("one")
		err := f.run(func() error { panic(http.ErrAbortHandler) })
		if f.recording(err) != nil {
			t.Error("it is cached")
		}
		f.finish("k", err)
		if err := <-w.err; !errors.Is(err, errBrokenOff) || apierror.From(err).Code != "ai_error" || w.answer.Body.String() != "one" {
			t.Errorf("%v, %q", err, w.answer.Body)
		}
	})

	run("a status is passed on, and not cached", func(t *testing.T) {
		f, _ := lead(t, "k")
		w := f.waiter()
		f.WriteHeader(http.StatusEarlyHints)
		f.WriteHeader(http.StatusTeapot)
		_, _ = f.Write([]byte("short"))
		if f.recording(nil) != nil {
			t.Error("it is cached")
		}
		f.finish("k", nil)
		if err := <-w.err; err != nil || w.answer.Code != http.StatusTeapot || w.answer.Body.String() != "short" {
			t.Errorf("%v, %d %q", err, w.answer.Code, w.answer.Body)
		}
	})

	run("what a budget has ended is not cached", func(t *testing.T) {
		f, _ := lead(t, "k")
		w := f.waiter()
		f.say("one")
		if f.recording(nil) == nil {
			t.Error("the whole is not cached either")
		}
		f.rec.SetCall(record.Call{BudgetSpent: true})
		if f.recording(nil) != nil {
			t.Error("it is cached")
		}
		f.finish("k", nil)
		<-w.err
	})

	run("a fresh one takes its place", func(t *testing.T) {
		f, _ := lead(t, "k")
		old := f.waiter()
		fresh, leads := join("k", true)
		if !leads {
			t.Fatal("it is answered by an earlier one")
		}
		fresh.call(new(record.Record), func(error) {})
		p := fresh.waiter()
		q := fresh.join(t, "k")
		f.say("old")
		f.finish("k", nil)
		fresh.say("new")
		if f.recording(nil) != nil || fresh.recording(nil) == nil {
			t.Error("the older answer is cached, or the newer one is not")
		}
		fresh.finish("k", nil)
		for _, w := range []*waiter{old, p, q} {
			if err := <-w.err; err != nil {
				t.Error(err)
			}
		}
	})

	run("it does not grow without bound", func(t *testing.T) {
		f, _ := lead(t, "k")
		w := f.waiter()
		f.say("")
		piece := make([]byte, 1<<20)
		n := 0
		for {
			if _, err := f.Write(piece); err != nil {
				break
			}
			if n += len(piece); n > maxShared {
				t.Fatal("it takes more than its limit")
			}
		}
		f.TakeFailure(apierror.AITimeout()) // what follows from it
		f.finish("k", nil)
		err := <-w.err
		if !errors.Is(err, errTooLong) || apierror.From(err).Code != "ai_error" || w.answer.Body.Len() != maxShared {
			t.Errorf("%v, %d bytes", err, w.answer.Body.Len())
		}
	})

	run("a document is taken whatever its length", func(t *testing.T) {
		f, _ := lead(t, "k")
		w := f.waiter()
		f.WriteHeader(http.StatusOK)
		if _, err := f.Write(make([]byte, maxShared+1)); err != nil {
			t.Error(err)
		}
		f.finish("k", nil)
		if err := <-w.err; err != nil || w.answer.Body.Len() != maxShared+1 || w.answer.Flushed {
			t.Errorf("%v, %d bytes, flushed %v", err, w.answer.Body.Len(), w.answer.Flushed)
		}
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
			f, leads := join(key, i%50 == 0)
			if leads {
				ctx, cancel := context.WithCancelCause(t.Context())
				f.call(new(record.Record), cancel)
				all.Go(func() {
					defer cancel(nil)
					f.finish(key, f.run(func() error {
						f.say("")
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
			w := f.waiter()
			if gone {
				w.goAway()
				<-w.err
				return
			}
			if err := <-w.err; err != nil || w.answer.Body.String() != strings.Repeat("x", 100) {
				t.Errorf("%v, %d bytes", err, w.answer.Body.Len())
			}
		})
	}
	all.Wait()
	wantNoFlights(t)
}

func TestHeaderOfAFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const key = "t/header"
		f, _ := lead(t, key)
		waiting := f.waiter()
		synctest.Wait()
		if waiting.answer.Flushed {
			t.Error("a header is sent before there is one")
		}
		f.Header().Set("Content-Type", "text/event-stream")
		f.WriteHeader(http.StatusOK)
		synctest.Wait()
		if !waiting.answer.Flushed || waiting.answer.Header().Get("Content-Type") != "text/event-stream" {
			t.Error("the header waits for the first event")
		}
		f.finish(key, nil)
		if err := <-waiting.err; err != nil {
			t.Error(err)
		}
	})
	wantNoFlights(t)
}
