package sharedanswer

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// heldBegin holds the first turn that begins, before and after it has.
type heldBegin struct {
	store.Store
	held   chan holding // gets what is held
	passes chan struct{}
}

type holding struct {
	ctx context.Context // of the beginning
	key string          // the turn that claims the key
}

func (s *heldBegin) Begin(ctx context.Context, tenant string, k store.SessionKey, b store.Beginning, msgs ...*store.Message) (store.Begun, error) {
	if b.Key == nil {
		return s.Store.Begin(ctx, tenant, k, b, msgs...)
	}
	s.held <- holding{ctx, b.Key.Turn}
	<-s.passes
	begun, err := s.Store.Begin(context.WithoutCancel(ctx), tenant, k, b, msgs...)
	s.held <- holding{ctx, b.Key.Turn}
	<-s.passes
	return begun, err
}

// TestLeavesWhileBegins has the leader's client leave while its turn begins: the key is
// claimed once, and no request is still counted as waiting in the end.
func TestLeavesWhileBegins(t *testing.T) {
	app, s := newStore(t)
	for _, cont := range []bool{false, true} {
		for _, when := range []string{"before", "after"} {
			t.Run(fmt.Sprintf("continue %v, %s", cont, when), func(t *testing.T) {
				held := &heldBegin{s, make(chan holding), make(chan struct{})}
				n := newNode(t, app, held)
				n.cont, n.begins = cont, true
				first := n.ask("q", "1")
				step := func(now bool) holding {
					h := <-held.held
					if now {
						first.goAway()
						if !cont {
							<-h.ctx.Done()
						}
					}
					held.passes <- struct{}{}
					return h
				}
				step(when == "before")
				key := step(when == "after").key
				m := n.maker()
				if !cont {
					m.do(func() error { return m.r.Context().Err() })
					go func() { step(false); step(false) }() // of the next one
					n.ask("q", "2")
					m = n.maker()
				}
				m.say("whole")
				m.end(nil)
				waitFor(t, "nobody waits", func() bool {
					_, free, err := s.Take(t.Context(), noTenant, slotOf(key, 1))
					return err == nil && free
				})
				go func() { step(false); step(false) }() // of one that finds the key taken
				n.ask("q", "3").wantRest(http.StatusOK, "whole")
				n.wantNoMaker()
			})
		}
	}
}
