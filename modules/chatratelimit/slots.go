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
	h      *Handler
	ctx    context.Context // the request's
	store  store.Store
	tenant string
	takes  []store.Take // without windows

	mu    sync.Mutex // a proxy reads the body in another goroutine
	held  bool
	ended bool
}

// newSlots returns the slots of a granted request, which holds them.
func (h *Handler) newSlots(ctx context.Context, s store.Store, tenant string, takes []store.Take) *slots {
	sl := &slots{h: h, ctx: ctx, store: s, tenant: tenant, held: true}
	for _, t := range takes {
		if t.Slots > 0 {
			sl.takes = append(sl.takes, store.Take{Key: t.Key, Slots: t.Slots})
		}
	}
	return sl
}

// awaitBody gives the slots back until the body is there, if one is to come.
func (sl *slots) awaitBody(r *http.Request) {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return // its body is not waited for
	}
	if r.ContentLength == 0 {
		return
	}
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.giveBack()
	r.Body = &record.Gate{ReadCloser: r.Body, Enter: sl.enter}
}

var errEnded = errors.New("the request has ended")

// enter takes the slots, unless they are held. Errors are *apierror.Error.
func (sl *slots) enter() error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.held {
		return nil
	}
	if sl.ended {
		return errEnded
	}
	_, granted, err := sl.store.Take(sl.ctx, sl.tenant, sl.takes)
	switch {
	case err != nil:
		return sl.h.withoutStore(err)
	case !granted:
		return apierror.RateLimited(0) // when a slot comes free is not known
	}
	sl.held = true
	return nil
}

// end gives the slots back for good.
func (sl *slots) end() {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.ended = true
	sl.giveBack()
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
