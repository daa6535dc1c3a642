package chatsession

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	// turnLease is how long a session stays busy after its node has died, if
	// several nodes share a store.
	turnLease = 30 * time.Second

	// settleTimeout bounds the last writes of a turn, which happen even if
	// the client is gone.
	settleTimeout = 10 * time.Second

	titleChars = 80
)

var errCancelled = errors.New("the turn was cancelled")

// turn is what a client sends, such as a message under /chat, and the answer.
type turn struct {
	h     *Handler
	x     *chat.Exchange
	id    string
	begun time.Time

	// Copied from the record, which later handlers may change.
	tenant  string
	session store.SessionKey

	// ctx ends when the turn is cancelled, with the tenant, at shutdown if it is
	// streamed, and with the client unless on_disconnect is continue.
	ctx    context.Context
	cancel context.CancelCauseFunc

	gates        record.Gates        // to be passed when the turn begins
	claim        *sharedanswer.Claim // to be made then
	call         door.Call           // of another API; else nil
	kept         *keptResponse       // nil unless the answer is a response that is kept
	retry        bool                // the sent message may be answered again
	failed       *store.Message      // the partial answer that the new one replaces; may be nil
	stored       []*store.Message    // the sent messages that were new
	begins       bool                // the answer is the first message of the session
	answersTools bool                // the sent messages end with the result of a tool
	tokensIn     int64
	sent         int    // bytes of the request to the next handler
	fresh        bool   // the session is new
	after        uint64 // the message that it is to go on from; 0 for any
	limits       contextLimits
	choices      int    // that the client asked for; 0 for the default
	asked        string // the model that the client asked for
	model        string // the requested or the tenant's model; may be empty
}

func (h *Handler) newTurn(x *chat.Exchange) *turn {
	t := &turn{
		h: h, x: x, id: record.NewID(), begun: time.Now(),
		tenant: x.Rec.Tenant.ID, session: sessionKey(x), claim: sharedanswer.ClaimOf(x.W),
		limits: h.limits(),
	}
	if recorder := sharedanswer.RecorderOf(x.W); recorder != nil {
		t.retry = recorder.Retries()
	}
	return t
}

// begin makes this the running turn of the session, until end is called, and stores
// the sent messages, except those that the session already has. It returns the
// messages before them. If the turn cannot go on from its message, the error is elsewhere.
func (t *turn) begin(streamed bool, sent ...*store.Message) (past []*store.Message, end func(), err error) {
	var first store.Begun
	b, known := t.beginning(sent)
	var stored []*store.Message
	switch {
	case t.fresh:
		stored = sent
	case !t.retry:
		stored = newOf(sent)
		b.Further = len(stored) < len(sent)
	}
	if len(stored) > 0 {
		b.Title = title(stored)
	}
	begin := func() error {
		return t.gates.EnterWith(func(takes []store.Take) (err error) {
			b.Takes = takes
			first, err = t.x.Store.Begin(t.x.R.Context(), t.tenant, t.session, t.claim.With(b), stored...)
			return err
		})
	}
	err = begin()
	if errors.Is(err, store.ErrLost) {
		if err := t.h.endLost(t.x, t.session); err != nil {
			return nil, nil, t.h.storeError("end a lost turn", err)
		}
		err = begin()
	}
	if errors.Is(err, store.ErrBusy) && t.after == 0 {
		return nil, nil, apierror.SessionBusy()
	}
	if e, ok := errors.AsType[*apierror.Error](err); ok {
		return nil, nil, e // a gate is closed
	}
	if errors.Is(err, store.ErrKeyTaken) {
		return nil, nil, err
	}
	if t.after > 0 && isElsewhere(err) {
		return nil, nil, elsewhere{err}
	}
	if err != nil {
		return nil, nil, t.h.storeError("claim", err)
	}
	t.claim.Made(first)
	end = t.running(first.Cancelled, streamed)
	past, err = t.past(known, goesOn(sent), &first)
	if err == nil {
		past, err = t.began(past, sent, stored)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return past, end, nil
}

// elsewhere is the error of a turn that cannot go on from its message.
type elsewhere struct{ error }

func (e elsewhere) Unwrap() error { return e.error }

// isElsewhere reports whether an error says that the message which a turn was to go on from
// is not the last one: it is gone, or another turn has gone on, or goes on now.
func isElsewhere(err error) bool {
	return errors.Is(err, store.ErrGoneOn) || errors.Is(err, store.ErrBusy) || errors.Is(err, store.ErrNotFound)
}

// running runs what a claimed turn needs, until end is called. At shutdown a stream
// is cut, but a document may finish like any other request.
func (t *turn) running(cancelled <-chan struct{}, streamed bool) (end func()) {
	parent, release := t.x.R.Context(), func() {}
	if t.h.OnDisconnect == disconnectContinue {
		parent, release = t.x.Outlive()
	}
	t.ctx, t.cancel = chat.CallContext(parent, streamed)
	var watching sync.WaitGroup
	watching.Go(func() { t.watch(cancelled) })
	return func() {
		t.cancel(nil)
		release()
		watching.Wait() // it uses the store, which is let go of next
		t.free()
	}
}

// watch renews the claim while the turn runs, and ends the turn if it is
// cancelled.
func (t *turn) watch(cancelled <-chan struct{}) {
	renew := time.NewTicker(turnLease / 3)
	defer renew.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-cancelled:
			t.cancel(t.whyCancelled())
			return
		case <-renew.C:
			t.renew()
		}
	}
}

// tooLong ends the turn, because its answer is longer than may be held.
func (t *turn) tooLong(cause error) { t.cancel(apierror.FromProvider(cause)) }

// whyCancelled returns why a turn is cancelled: a client has asked for it, or the store has
// lost the claim.
func (t *turn) whyCancelled() error {
	err := t.x.Store.KeepTurn(t.ctx, t.tenant, t.session, t.id, turnLease)
	if errors.Is(err, store.ErrLost) {
		return apierror.StorageUnavailable(fmt.Errorf("the claim of a turn is lost: %w", err))
	}
	return errCancelled
}

func (t *turn) renew() {
	if err := t.x.Store.KeepTurn(t.ctx, t.tenant, t.session, t.id, turnLease); err != nil {
		t.h.log.Warn("renewing the claim of a turn", zap.String("turn", t.id), zap.Error(err))
	}
}

// free ends the turn with its last events and frees the session. It may be
// called twice.
func (t *turn) free(last ...store.Event) {
	ctx, cancel := t.settleContext()
	defer cancel()
	if err := t.x.Store.FinishTurn(ctx, t.tenant, t.session, t.id, time.Duration(t.h.ResumeWindow), last...); err != nil {
		t.h.app.StoreFailed("finish")
		t.h.log.Error("finishing a turn", zap.String("turn", t.id), zap.Error(err))
	}
}

// settleContext returns a context that outlives the client and the turn.
func (t *turn) settleContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.x.R.Context()), settleTimeout)
}
