package sharedanswer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

func TestIdempotency(t *testing.T) {
	app, s := newStore(t)
	run := func(name string, test func(t *testing.T, n *node)) {
		for _, begins := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, begins %v", name, begins), func(t *testing.T) {
				n := newNode(t, app, s)
				n.begins = begins
				test(t, n)
				n.wantNoMaker()
			})
		}
	}

	run("an answer is followed while it is made, on any node, and given again", func(t *testing.T, n *node) {
		first := n.ask("q", "1")
		m := n.maker()
		m.do(func() error {
			m.w.Header().Set("X-Answer", "kept")
			m.w.Header().Set(HeaderCache, "miss")
			m.w.WriteHeader(http.StatusEarlyHints)
			return nil
		})
		m.say(": keep-alive\n\n")
		m.say("one ")
		other := newNode(t, app, s)
		other.path = n.path
		second, third := n.ask("q", "2"), other.ask("q", "3")
		for _, a := range []*asking{first, second, third} {
			a.wantText(": keep-alive\n\none ")
		}
		n.ask("other", "4").wantRest(http.StatusUnprocessableEntity, "idempotency_key_reused")
		m.say("two")
		second.wantText(": keep-alive\n\none two")
		m.end(nil)
		for _, a := range []*asking{first, second, third} {
			a.wantRest(http.StatusOK, ": keep-alive\n\none two")
		}
		again := other.ask("q", "5")
		again.wantRest(http.StatusOK, "one two")
		n.ask("other", "6").wantRest(http.StatusUnprocessableEntity, "idempotency_key_reused")
		other.wantNoMaker()
		if got := first.got.Header.Get(HeaderCache); got != "miss" {
			t.Errorf("the first one's %s is %q", HeaderCache, got)
		}
		for _, a := range []*asking{second, third, again} {
			h := a.got.Header
			if h.Get("X-Answer") != "kept" || h.Get(HeaderCache) != "" || len(h.Values("X-Of-This")) != 1 || h.Get("Content-Type") != "text/event-stream" {
				t.Errorf("the header is %v", h)
			}
		}
	})

	run("many at once are one", func(t *testing.T, n *node) {
		var list []*asking
		for i := range 50 {
			list = append(list, n.ask("q", fmt.Sprint(i)))
		}
		m := n.maker()
		m.say("one answer")
		m.end(nil)
		for _, a := range list {
			a.wantRest(http.StatusOK, "one answer")
		}
	})

	run("a failure before the answer is shared, and frees the key", func(t *testing.T, n *node) {
		n.set(func() { n.cont = false })
		first := n.ask("q", "1")
		m := n.maker()
		second := n.follower("q", "2")
		m.end(apierror.RateLimited(0))
		first.wantRest(http.StatusTooManyRequests, "rate_limited")
		second.wantRest(http.StatusTooManyRequests, "rate_limited")
		other := n.ask("other", "3")
		n.maker().end(errors.New("unforeseen"))
		other.wantRest(http.StatusInternalServerError, "internal_error")
	})

	run("an answer with another status is passed on, and frees the key", func(t *testing.T, n *node) {
		for range 2 {
			first := n.ask("q", "1")
			m := n.maker()
			m.do(func() error {
				m.w.WriteHeader(http.StatusTeapot)
				_, err := io.WriteString(m.w, "short")
				return err
			})
			second := n.follower("q", "2")
			m.end(nil)
			first.wantRest(http.StatusTeapot, "short")
			second.wantRest(http.StatusTeapot, "short")
		}
	})

	run("a failure behind some of it frees the key", func(t *testing.T, n *node) {
		for i, fail := range []func(*maker){
			func(m *maker) { m.do(func() error { m.w.TakeFailure(apierror.AIError()); return nil }); m.end(nil) },
			func(m *maker) { m.end(apierror.AIError()) },
			func(m *maker) { m.steps <- func() error { panic(http.ErrAbortHandler) } },
		} {
			first := n.ask(fmt.Sprint(i), "1")
			m := n.maker()
			m.say("half ")
			second := n.ask(fmt.Sprint(i), "2")
			second.wantText("half ")
			fail(m)
			first.wantFailed("half ", "ai_error", "1")
			second.wantFailed("half ", "ai_error", "2")
		}
	})

	run("with a note it is the answer", func(t *testing.T, n *node) {
		n.set(func() { n.uses, n.stands = true, true })
		first := n.ask("q", "1")
		m := n.maker()
		m.say("half ")
		m.do(func() error {
			m.w.Note([]byte("noted"))
			m.w.TakeFailure(apierror.AITimeout())
			m.w.TakeFailure(apierror.AIError()) // what follows from it
			return nil
		})
		m.end(context.Canceled)
		first.wantFailed("half ", "ai_timeout", "1")
		n.ask("q", "2").wantFailed("half ", "ai_timeout", "2")
	})

	run("an answer counts while it stands", func(t *testing.T, n *node) {
		n.set(func() { n.uses, n.stands = true, true })
		for i, note := range []string{"", "noted"} {
			a := n.ask("q", "1")
			m := n.maker()
			m.say(fmt.Sprint(i))
			if note != "" {
				m.do(func() error { m.w.Note([]byte(note)); return nil })
			}
			m.end(nil)
			a.wantRest(http.StatusOK, fmt.Sprint(i))
		}
		n.ask("q", "2").wantRest(http.StatusOK, "1")
		n.set(func() { n.stands = false })
		a := n.ask("q", "3")
		n.maker().end(apierror.AIError())
		a.wantRest(http.StatusBadGateway, "ai_error")
	})

	run("the end is seen once the answer is stored", func(t *testing.T, n *node) {
		first := n.ask("q", "1")
		m := n.maker()
		m.say("one ")
		second := n.ask("q", "2")
		second.wantText("one ")
		first.wantText("one ")
		m.do(func() error { m.w.Hold(); return nil })
		m.say("two")
		m.end(nil)
		first.wantText("one two")
		key := KeyOf("idempotent", "ann", n.path, "key")
		if _, err := s.CacheGet(t.Context(), noTenant, key); err != nil {
			t.Error(err)
		}
		first.wantRest(http.StatusOK, "one two")
		second.wantRest(http.StatusOK, "one two")
		n.ask("q", "3").wantRest(http.StatusOK, "one two")
	})

	run("a document may be held as a whole", func(t *testing.T, n *node) {
		first := n.ask("q", "1")
		m := n.maker()
		second := n.follower("q", "2")
		m.do(func() error {
			m.w.Hold()
			m.w.WriteHeader(http.StatusCreated)
			_, err := io.WriteString(m.w, "{}")
			return err
		})
		m.end(nil)
		for _, a := range []*asking{first, second, n.ask("q", "3")} {
			a.wantRest(http.StatusCreated, "{}")
		}
	})

	run("a panic frees the key", func(t *testing.T, n *node) {
		first := n.ask("q", "1")
		m := n.maker()
		m.say("one")
		second := n.ask("q", "2")
		second.wantText("one")
		m.steps <- func() error { panic(fmt.Sprint("of ", t.Name())) }
		second.wantFailed("one", "internal_error", "2")
		if _, err := io.ReadAll(first.begun().Body); err == nil {
			t.Error("the first one is not cut")
		}
		a := n.ask("other", "3")
		n.maker().end(apierror.AIError())
		a.wantRest(http.StatusBadGateway, "ai_error")
	})
}
