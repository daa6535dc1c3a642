package chatratelimit

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// slots are what one request takes of the limits on concurrent requests. While
// its body is on the way it holds none, so that slow clients do not keep others
// out.
type slots struct {
	h        *Handler
	ctx      context.Context // the request's
	store    store.Store
	endLease func() // the store's
	tenant   string
	takes    []store.Take // without windows

	mu    sync.Mutex // a proxy reads the body in another goroutine
	held  bool
	stays int // the request, and its work that outlives it; 0 once it has ended
}

// newSlots returns the slots of a granted request. It holds them already, unless
// its body is to come: then it takes them when the body is there.
func (h *Handler) newSlots(r *http.Request, s store.Store, endLease func(), tenant string, takes []store.Take) *slots {
	sl := &slots{h: h, ctx: r.Context(), store: s, endLease: endLease, tenant: tenant, held: true}
	for _, t := range takes {
		if t.Slots > 0 {
			sl.takes = append(sl.takes, store.Take{Key: t.Key, Slots: t.Slots})
		}
	}
	if bodyToCome(r) {
		sl.held = false
		r.Body = &record.Gate{ReadCloser: r.Body, Keeper: sl}
	}
	return sl
}

// bodyToCome says whether a request has a body that is waited for.
func bodyToCome(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return r.ContentLength != 0
	}
	return false
}

var errEnded = errors.New("the request has ended")

// Enter takes the slots, unless they are held. Errors are *apierror.Error.
func (sl *slots) Enter() error {
	var asked error // what the store answered
	err := sl.EnterWith(func(takes []store.Take) error {
		asked = sl.take(takes)
		return asked
	})
	if asked != nil && !errors.Is(asked, store.ErrNoSlot) {
		return sl.h.withoutStore(asked)
	}
	return err
}

func (sl *slots) take(takes []store.Take) error {
	if len(takes) == 0 {
		return nil
	}
	_, granted, err := sl.store.Take(sl.ctx, sl.tenant, takes)
	if err == nil && !granted {
		return store.ErrNoSlot
	}
	return err
}

// EnterWith takes the slots with an operation of the store, whose errors it returns.
func (sl *slots) EnterWith(op func(takes []store.Take) error) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.held {
		return op(nil)
	}
	if sl.stays == 0 {
		return errEnded
	}
	err := op(sl.takes)
	if errors.Is(err, store.ErrNoSlot) {
		return apierror.RateLimited(0) // when a slot comes free is not known
	}
	sl.held = err == nil
	return err
}

// Stay holds the slots, if they are taken, until leave is called. When all have left,
// they are given back for good.
func (sl *slots) Stay() (leave func()) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.stays++
	return sync.OnceFunc(sl.leave)
}

func (sl *slots) leave() {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.stays--; sl.stays == 0 {
		sl.giveBack()
		sl.endLease()
	}
}

func (sl *slots) giveBack() {
	if !sl.held {
		return
	}
	sl.held = false
	// the slot must come back even when the request was cancelled
	ctx, cancel := context.WithTimeout(context.WithoutCancel(sl.ctx), releaseTimeout)
	defer cancel()
	if err := sl.store.Release(ctx, sl.tenant, sl.takes); err != nil {
		sl.h.app.StoreFailed("release")
		sl.h.log.Error("giving back a concurrent request", zap.String("tenant", sl.tenant), zap.Error(err))
	}
}

// releaseTimeout bounds how long a request waits for the store to take its slots
// back.
const releaseTimeout = 5 * time.Second

// Interface guards
var _ record.GateKeeper = (*slots)(nil)
