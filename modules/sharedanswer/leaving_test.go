package sharedanswer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

func TestIdempotencyLeaving(t *testing.T) {
	app, s := newStore(t)
	var n *node
	run := func(name string, cont bool, test func(*testing.T)) {
		for _, begins := range []bool{false, true} {
			n = newNode(t, app, s)
			n.cont, n.begins = cont, begins
			t.Run(fmt.Sprintf("%s, begins %v", name, begins), test)
			n.wantNoMaker()
		}
	}
	ended := func(m *maker) error {
		m.do(func() error { <-m.r.Context().Done(); return nil })
		return context.Cause(m.r.Context())
	}

	run("one that continues needs no client", true, func(t *testing.T) {
		first := n.ask("q", "1")
		m := n.maker()
		m.say("one ")
		first.wantText("one ")
		first.goAway()
		waitFor(t, "the server sees it", func() bool {
			m.say("x")
			return m.w.gone
		})
		if m.r.Context().Err() != nil {
			t.Error("the answer was ended")
		}
		m.end(nil)
		again := n.ask("q", "2")
		again.wantText("one x")
		again.goAway()
	})

	run("else the last one to leave ends it, and frees the key", false, func(t *testing.T) {
		first := n.ask("left", "1")
		m := n.maker()
		m.say("one ")
		first.wantText("one ")
		second := n.ask("left", "2")
		second.wantText("one ")
		first.goAway()
		waitFor(t, "the server sees it", func() bool {
			m.say("x")
			return m.w.gone
		})
		second.wantText("one x")
		if m.r.Context().Err() != nil {
			t.Error("the answer was ended")
		}
		second.goAway()
		if err := ended(m); !errors.Is(err, errGone) {
			t.Errorf("it ended because %v", err)
		}
		m.end(context.Canceled)
		<-m.served // by then the key is free
		third := n.ask("another body", "3")
		m = n.maker()
		m.say("whole")
		m.end(nil)
		third.wantRest(http.StatusOK, "whole")
	})

	run("who comes to an answer that was given up tries anew", false, func(t *testing.T) {
		first := n.ask("given up", "1")
		m := n.maker()
		first.goAway()
		if err := ended(m); !errors.Is(err, errGone) {
			t.Errorf("it ended because %v", err)
		}
		second := n.follower("given up", "2")
		m.end(context.Canceled)
		m = n.maker()
		m.say("whole")
		m.end(nil)
		second.wantRest(http.StatusOK, "whole")
	})
}

// TestIdempotencyAlarm has a turn cancelled, which is to look who is there.
func TestIdempotencyAlarm(t *testing.T) {
	app, s := newStore(t)
	n := newNode(t, app, s)
	n.cont = false
	x := n.keyed(nil, httptest.NewRequest(http.MethodPost, n.path, nil), nil)
	k := NewIdempotency(app, zap.NewNop()).keyed(x)
	leave, err := k.attend("turn")
	if err != nil {
		t.Fatal(err)
	}
	look := func() (cause error) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			alarm := make(chan struct{})
			close(alarm)
			c := k.newClaim(k.newFeed("turn"))
			c.made(alarm)
			go c.watch(ctx, cancel)
			synctest.Wait()
			cause = context.Cause(ctx)
		})
		return cause
	}
	if err := look(); err != nil {
		t.Errorf("with a request there it ended: %v", err)
	}
	leave(false)
	if err := look(); !errors.Is(err, errGone) {
		t.Errorf("with no request there it ended with %v", err)
	}
}

// slowClient takes what is written when the test lets it.
type slowClient struct {
	*httptest.ResponseRecorder
	writes chan struct{} // gets a value before each write
	lets   chan struct{}
}

func (c *slowClient) Write(p []byte) (int, error) {
	c.writes <- struct{}{}
	<-c.lets
	return c.ResponseRecorder.Write(p)
}

// TestIdempotencySlowFollower has a client that is still reading when the
// events of its answer are gone.
func TestIdempotencySlowFollower(t *testing.T) {
	app, s := newStore(t)
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"goes on with the stored answer", nil, "one two"},
		{"gets an error without one", apierror.AITimeout(), "one data: {\"error\""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t, app, s)
			first := n.ask("q", "1")
			m := n.maker()
			m.say("one ")
			first.wantText("one ")

			slow := &slowClient{httptest.NewRecorder(), make(chan struct{}, 9), make(chan struct{})}
			done := make(chan error)
			x := n.keyed(slow, httptest.NewRequest(http.MethodPost, n.path, nil), []byte("q"))
			go func() { done <- NewIdempotency(app, zap.NewNop()).Serve(x, nil) }()
			<-slow.writes

			m.say("two")
			m.end(tc.err)
			_, _ = io.ReadAll(first.begun().Body)
			// the next request under the key takes the place of the events
			if _, err := s.Claim(t.Context(), noTenant, m.w.k.claim, "another", keyLease); err != nil {
				t.Fatal(err)
			}
			if err := s.Publish(t.Context(), noTenant, m.w.k.claim, "another", store.Event{N: 1, Kind: eventRequest}); err != nil {
				t.Fatal(err)
			}
			close(slow.lets)
			if err := <-done; err != nil || !strings.HasPrefix(slow.Body.String(), tc.want) {
				t.Errorf("%q, %v", slow.Body, err)
			}
			if err := s.FinishTurn(t.Context(), noTenant, m.w.k.claim, "another", 0); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestIdempotencyBounds(t *testing.T) {
	app, s := newStore(t)
	piece := strings.Repeat("x", 4<<20)
	read := func(a *asking) chan string {
		text := make(chan string, 1)
		body := a.begun().Body
		go func() {
			b, _ := io.ReadAll(body)
			text <- string(b)
		}()
		return text
	}

	t.Run("a long answer is followed and not stored", func(t *testing.T) {
		n := newNode(t, app, s)
		first := n.ask("q", "1")
		m := n.maker()
		m.say("one")
		texts := []chan string{read(first), read(n.ask("q", "2"))}
		m.say(piece)
		m.say(piece)
		m.say(piece)
		m.end(nil)
		for i, text := range texts {
			if got := len(<-text); got != 3+3*len(piece) {
				t.Errorf("%d: %d bytes", i, got)
			}
		}
		again := n.ask("q", "3")
		n.maker().end(apierror.AIError())
		again.wantRest(http.StatusBadGateway, "ai_error")
	})

	t.Run("one that is too long to follow reaches its client alone", func(t *testing.T) {
		n := newNode(t, app, s)
		first := n.ask("q", "1")
		m := n.maker()
		m.say("one")
		whole := read(first)
		second := read(n.ask("q", "2"))
		for range 9 {
			m.say(piece)
		}
		if got := <-second; len(got) < maxShared-len(piece) || len(got) > maxShared+1000 || !strings.Contains(got, `"ai_error"`) {
			t.Errorf("the second one got %d bytes", len(got))
		}
		m.end(nil)
		if got := len(<-whole); got != 3+9*len(piece) {
			t.Errorf("the first one got %d bytes", got)
		}
	})

	t.Run("it ends when it reaches no client", func(t *testing.T) {
		n := newNode(t, app, s)
		first := n.ask("q", "1")
		m := n.maker()
		m.say("one")
		first.wantText("one")
		first.goAway()
		var err error
		for i := 0; err == nil; i++ {
			if i > 20 {
				t.Fatal("it goes on")
			}
			m.do(func() error {
				_, err = io.WriteString(m.w, piece)
				return nil
			})
		}
		if !errors.Is(err, errTooLong) {
			t.Error(err)
		}
		m.end(err)
	})
}
