package chatsession

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	// turnLease is how long a turn of a node that died keeps its session
	// busy, where several nodes share a store.
	turnLease = 30 * time.Second

	// settleTimeout bounds the last writes of a turn, which happen whether
	// or not the client is still there.
	settleTimeout = 10 * time.Second

	titleChars = 80
)

var errCancelled = errors.New("the turn was cancelled")

// turn is what a client says, one message under /chat, and its answer.
type turn struct {
	h     *Handler
	x     *exchange
	id    string
	begun time.Time

	// whose turn it is; what follows in the chain may change the record
	tenant  string
	session store.SessionKey

	// ctx lives as long as the turn should: beyond the client where it
	// continues without one, and not beyond the process's end.
	ctx    context.Context
	cancel context.CancelCauseFunc

	stored   []*store.Message // what was sent and not in the session before
	begins   bool             // the session has no message before the answer
	tokensIn int64
	asked    string // the model that the client asked for
	model    string // as far as it is known before the call
}

func (h *Handler) newTurn(x *exchange) *turn {
	return &turn{h: h, x: x, id: record.NewID(), begun: time.Now(), tenant: x.Rec.Tenant.ID, session: x.session()}
}

// claim makes this the running turn of the session, until end is called. A
// stream is cut when the process ends; an answer that comes as one document
// is let finish, as any request is.
func (t *turn) claim(streamed bool) (end func(), err error) {
	parent := t.x.R.Context()
	if t.h.OnDisconnect == disconnectContinue {
		parent = context.WithoutCancel(parent)
	}
	cancelled, err := t.x.store.Claim(t.x.R.Context(), t.tenant, t.session, t.id, turnLease)
	if errors.Is(err, store.ErrBusy) {
		return nil, apierror.SessionBusy()
	}
	if err != nil {
		return nil, t.h.storeError("claim", err)
	}
	t.ctx, t.cancel = chat.CallContext(parent, streamed)
	go t.watch(cancelled)
	return func() {
		t.cancel(nil)
		t.free()
	}, nil
}

// watch holds the claim while the turn runs, and ends the turn when somebody
// cancels it.
func (t *turn) watch(cancelled <-chan struct{}) {
	renew := time.NewTicker(turnLease / 3)
	defer renew.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-cancelled:
			t.cancel(errCancelled)
			return
		case <-renew.C:
			t.renew()
		}
	}
}

func (t *turn) renew() {
	if err := t.x.store.KeepTurn(t.ctx, t.tenant, t.session, t.id, turnLease); err != nil {
		t.h.log.Warn("renewing the claim of a turn", zap.String("turn", t.id), zap.Error(err))
	}
}

// free ends the turn with its last events. It may be called again without.
func (t *turn) free(last ...store.Event) {
	ctx, cancel := t.settleContext()
	defer cancel()
	if err := t.x.store.FinishTurn(ctx, t.tenant, t.session, t.id, time.Duration(t.h.ResumeWindow), last...); err != nil {
		t.h.app.StoreFailed("finish")
		t.h.log.Error("finishing a turn", zap.String("turn", t.id), zap.Error(err))
	}
}

// settleContext outlives the client and the turn.
func (t *turn) settleContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.x.R.Context()), settleTimeout)
}
