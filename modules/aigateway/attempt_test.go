package aigateway

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// durations writes durations in a handler's JSON as the numbers that they
// are kept as.
func durations(config string) string {
	return regexp.MustCompile(`"[0-9]+m?s"`).ReplaceAllStringFunc(config, func(s string) string {
		d, _ := time.ParseDuration(s[1 : len(s)-1])
		return strconv.FormatInt(int64(d), 10)
	})
}

// slowClient takes its time for each write.
type slowClient struct {
	*httptest.ResponseRecorder
	takes time.Duration
}

func (w *slowClient) Write(p []byte) (int, error) {
	time.Sleep(w.takes)
	return w.ResponseRecorder.Write(p)
}

// TestStall has streams that fall silent once they have begun.
func TestStall(t *testing.T) {
	t.Run("a_client_that_reads_slowly_is_no_silence_of_the_target", func(t *testing.T) {
		one, two := &script{replies: []reply{says("Once ", "upon ", "a time")}}, &script{replies: []reply{says("no")}}
		h := newGateway(t, durations(`{"stall_timeout":"5s","circuit_breaker":{"failures":1}}`), one, two)
		synctest.Test(t, func(t *testing.T) {
			w := &slowClient{httptest.NewRecorder(), 12 * time.Second}
			serve(t, h, w, newRequest(t.Context(), streamed))
			a := read(w.ResponseRecorder)
			a.wantWhole(t, "Once upon a time")
			wantCalls(t, []*script{one, two}, 1, 0)
			if s := state(t, h); s != route.Closed {
				t.Errorf("the circuit is %s", s)
			}
		})
	})
	t.Run("long_after_the_answer_has_begun_it_is_silence_still", func(t *testing.T) {
		one := &script{replies: []reply{streams(text("Once "), pause(4*time.Second, text("upon ")), silence)}}
		two := &script{replies: []reply{says("Once upon a time")}}
		h := newGateway(t, durations(`{"stall_timeout":"5s","try_duration":"3s","circuit_breaker":{"failures":1}}`), one, two)
		synctest.Test(t, func(t *testing.T) {
			a := ask(t, h, streamed)
			a.wantWhole(t, "Once upon a time")
			wantCalls(t, []*script{one, two}, 1, 1)
			if s := state(t, h); s != route.Open {
				t.Errorf("the circuit is %s", s)
			}
		})
	})
	t.Run("behind_the_finish_reason_the_answer_is_whole", func(t *testing.T) {
		one, two := &script{replies: []reply{streams(text("Hello"), finish("stop"), silence)}}, &script{replies: []reply{says("no")}}
		h := newGateway(t, durations(`{"stall_timeout":"5s"}`), one, two)
		synctest.Test(t, func(t *testing.T) {
			a := ask(t, h, streamed)
			a.wantWhole(t, "Hello")
			wantCalls(t, []*script{one, two}, 1, 0)
		})
	})
}

// TestSpeaksAgainst tells which failures are the target's, and which are
// others' doing.
func TestSpeaksAgainst(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"a_failure", unavailable(), true},
		{"no_sense", &provider.Error{Reason: provider.ReasonBadAnswer}, true},
		{"a_cut", provider.ErrCut, true},
		{"silence", fmt.Errorf("%w: %w", errSilent, errors.New("x")), true},
		{"time_that_others_have_used_up", fmt.Errorf("%w: %w", errOutOfTime, unavailable()), false},
		{"too_much_asked", &provider.Error{Reason: provider.ReasonRateLimited}, false},
		{"another_answer", errDiverged, false},
		{"our_own_store", apierror.StorageUnavailable(errors.New("disk")), false},
		{"success", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newGateway(t, `{"circuit_breaker":{"failures":1}}`, new(script))
			a := begin(t, h)
			a.over(tc.err)
			if got := state(t, h) == route.Open; got != tc.want {
				t.Errorf("the circuit is %s", state(t, h))
			}
		})
	}
}

// begin begins an attempt at the model fast.
func begin(t *testing.T, h *Handler) *attempt {
	t.Helper()
	r := newRequest(t.Context(), streamed)
	x, _ := h.app.Enter(httptest.NewRecorder(), r)
	req, err := parseRequest([]byte(streamed))
	if err != nil {
		t.Fatal(err)
	}
	choice, err := h.choose(x, req)
	if err != nil {
		t.Fatal(err)
	}
	c := h.newCall(x, req, choice)
	t.Cleanup(c.end)
	a, err := c.enter(0, c.order[0])
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestCounted has streams that end before their provider has counted all.
func TestCounted(t *testing.T) {
	for _, tc := range []struct {
		name  string
		steps []step
		want  provider.Usage
	}{
		{"all", []step{text("Hello"), usage(7, 3)}, provider.Usage{Input: 7, Output: 3}},
		{"nothing", []step{text("Hello you"), text("!")}, provider.Usage{Input: 8, Output: 3, Estimated: true}},
		{"the_input_only", []step{usage(7, 0), text("Hello you"), text("!")}, provider.Usage{Input: 7, Output: 3, Estimated: true}},
		{"so_far", []step{text("Hello"), usage(7, 2), text(" you"), usage(7, 3)}, provider.Usage{Input: 7, Output: 3}},
		{"not_the_last_chunk", []step{text("Hello"), usage(7, 2), text(" you")}, provider.Usage{Input: 7, Output: 3, Estimated: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := begin(t, newGateway(t, `{}`, &script{replies: []reply{streams(tc.steps...)}}))
			defer a.over(nil)
			if err := a.open(); err != nil {
				t.Fatal(err)
			}
			for range tc.steps {
				if _, err := a.Next(); err != nil {
					t.Fatal(err)
				}
			}
			if got, ok := a.counted(); got != tc.want || !ok {
				t.Errorf("counted are %+v, %v, want %+v", got, ok, tc.want)
			}
		})
	}
}

// TestGone has a client that leaves while a cut answer is being rescued: what
// it got is the first target's.
func TestGone(t *testing.T) {
	one := &script{replies: []reply{streams(text("Once "))}}
	two := &script{replies: []reply{{after: time.Hour}}}
	h := newGateway(t, `{}`, one, two)
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		r := newRequest(ctx, streamed)
		done := make(chan struct{})
		go func() {
			serve(t, h, httptest.NewRecorder(), r)
			close(done)
		}()
		synctest.Wait()
		leave()
		<-done
		if c := record.Get(r).Call; c.Provider != "one" || c.Usage.Output != 2 {
			t.Errorf("the call is told as %+v", c)
		}
	})
}

// TestPanic has a provider that panics: the call is settled all the same, and
// the target is not left in the middle of an attempt.
func TestPanic(t *testing.T) {
	broken := func(context.Context) (*provider.Chunk, error) { panic("broken") }
	for name, steps := range map[string][]step{"before_the_answer": {broken}, "within_the_answer": {text("Hello"), broken}} {
		t.Run(name, func(t *testing.T) {
			h := newGateway(t, `{"circuit_breaker":{"failures":1}}`, &script{replies: []reply{streams(steps...)}})
			func() {
				defer func() {
					if p := recover(); p != "broken" {
						t.Errorf("recovered %v", p)
					}
				}()
				serve(t, h, httptest.NewRecorder(), newRequest(t.Context(), streamed))
			}()
			if s := state(t, h); s != route.Open {
				t.Errorf("the circuit is %s", s)
			}
		})
	}
}

// TestGoneAtTheBudget has a client that leaves as its budget is used up: the
// call ends as it does for any client that has left.
func TestGoneAtTheBudget(t *testing.T) {
	h := newGateway(t, `{}`, &script{replies: []reply{says("Hello")}})
	a := begin(t, h)
	c := a.c
	c.x.W = failing{httptest.NewRecorder()}
	c.answers(a)
	c.out = newChunkWriter(c)
	defer c.out.close()
	err := c.out.stop(&budgetError{errors.New("used up")})
	if err == nil {
		t.Fatal("the write did not fail")
	}
	if err = c.cut(err); !errors.Is(err, context.Canceled) {
		t.Errorf("the call ends with %v", err)
	}
}

// failing is a client that has gone.
type failing struct{ *httptest.ResponseRecorder }

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// TestLinger has streams that neither end nor send an end mark after their finish
// reason.
func TestLinger(t *testing.T) {
	two := `{"model":"fast","stream":true,"n":2,"messages":[{"role":"user","content":"hi"}]}`
	for _, tc := range []struct {
		name, body string
		steps      []step
		takes      time.Duration
		text       string
		reasons    string
	}{
		{"are_ended_after_a_second", streamed, []step{text("Hello"), finish("stop"), silence}, time.Second, "Hello", "[0:stop]"},
		{"get_no_more_time_for_a_usage", streamed, []step{text("Hello"), finish("stop"), pause(900*time.Millisecond, usage(7, 3)), silence}, time.Second, "Hello", "[0:stop]"},
		{"wait_for_all_choices", two, []step{
			text("Hello"), finish("stop"),
			pause(3*time.Second, chunk(`[{"index":1,"delta":{"content":"Hi"},"finish_reason":"length"}]`, "")), silence,
		}, 4 * time.Second, "HelloHi", "[0:stop 1:length]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newGateway(t, durations(`{"stall_timeout":"60s"}`), &script{replies: []reply{streams(tc.steps...)}})
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				w := httptest.NewRecorder()
				serve(t, h, w, newRequest(t.Context(), tc.body))
				if took := time.Since(begun); took != tc.takes {
					t.Errorf("ended after %v, want %v", took, tc.takes)
				}
				a := read(w)
				if a.text != tc.text || !a.done || a.code != "" || fmt.Sprint(a.reasons) != tc.reasons {
					t.Errorf("got %+v", a)
				}
			})
		})
	}
}
