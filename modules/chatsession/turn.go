package chatsession

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/chatctx"
	"github.com/caddy-chat/caddy-chat/modules/chaterr"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	roleUser      = "user"
	roleAssistant = "assistant"

	// turnLease is how long a turn of a node that died keeps its session
	// busy, where several nodes share a store.
	turnLease = 30 * time.Second

	// settleTimeout bounds the last writes of a turn, which happen whether
	// or not the client is still there.
	settleTimeout = 10 * time.Second

	titleChars = 80
)

var errCancelled = errors.New("the turn was cancelled")

// turn is one message of the user's and its answer.
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

	question *store.Message
	stored   bool // the question was stored by this turn
	tokensIn int64
	model    string // as far as it is known before the call
}

// post serves POST /chat.
func (h *Handler) post(x *exchange, next caddyhttp.Handler) error {
	m, err := h.readMessage(x)
	if err != nil {
		return err
	}
	t := &turn{
		h: h, x: x, id: chatctx.NewID(), begun: time.Now(),
		tenant: x.rec.Tenant.ID, session: x.session(),
	}
	end, err := t.claim(*m.Stream)
	if err != nil {
		return err
	}
	defer end()

	past, unanswered, err := t.past()
	if err != nil {
		return err
	}
	if err := t.storeQuestion(*m.Message, unanswered); err != nil {
		return err
	}
	if !t.stored {
		past = past[:len(past)-1]
	}
	msgs := h.prompt(x, past, *m.Message)
	t.tokensIn = estimate(msgs)
	req, err := t.forward(m, msgs)
	if err != nil {
		return err
	}

	out := t.newOutput(*m.Stream)
	defer out.stop()
	a := newAnswer(out)
	a.end(serveNext(next, a, req))
	return t.settle(a, out)
}

// serveNext has the next handler answer. reverse_proxy panics when its
// upstream breaks off, to have the connection closed; here the turn has to be
// settled first.
func serveNext(next caddyhttp.Handler, a *answer, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // panics with it are compared so, as net/http does
				panic(p)
			}
			err = provider.ErrCut
		}
	}()
	return next.ServeHTTP(a, r)
}

// claim makes this the running turn of the session, until end is called. A
// stream is cut when the process ends; an answer that comes as one document
// is let finish, as any request is.
func (t *turn) claim(streamed bool) (end func(), err error) {
	parent := t.x.r.Context()
	if t.h.OnDisconnect == disconnectContinue {
		parent = context.WithoutCancel(parent)
	}
	cancelled, err := t.x.store.Claim(t.x.r.Context(), t.tenant, t.session, t.id, turnLease)
	if errors.Is(err, store.ErrBusy) {
		return nil, chaterr.SessionBusy()
	}
	if err != nil {
		return nil, t.h.storeError("claim", err)
	}
	t.ctx, t.cancel = chat.CallContext(parent, streamed)
	go t.keep(cancelled)
	return func() {
		t.cancel(nil)
		t.free()
	}, nil
}

// keep holds the claim while the turn runs, and ends the turn when somebody
// cancels it.
func (t *turn) keep(cancelled <-chan struct{}) {
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
			if err := t.x.store.KeepTurn(t.ctx, t.tenant, t.session, t.id, turnLease); err != nil {
				t.h.log.Warn("renewing the claim of a turn", zap.String("turn", t.id), zap.Error(err))
			}
		}
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
	return context.WithTimeout(context.WithoutCancel(t.x.r.Context()), settleTimeout)
}

func (t *turn) options(create bool) store.AppendOptions {
	tn := t.x.rec.Tenant
	return store.AppendOptions{
		Create:      create,
		Title:       title(t.question.Content),
		Retention:   cmp.Or(tn.Retention, time.Duration(t.h.Retention)),
		MaxMessages: cmp.Or(tn.MaxMessages, t.h.MaxMessages),
	}
}

// storeQuestion stores the user's message, unless it repeats the one that
// has found no answer: then it is that one.
func (t *turn) storeQuestion(text string, unanswered *store.Message) error {
	if unanswered != nil && unanswered.Content == text {
		t.question = unanswered
		return nil
	}
	t.question = &store.Message{
		ID:         chatctx.NewID(),
		Role:       roleUser,
		Content:    text,
		Time:       t.begun,
		TokenCount: int(provider.EstimateTokens(len(text))),
		Status:     store.StatusComplete,
	}
	err := t.x.store.Append(t.ctx, t.tenant, t.session, t.options(true), t.question)
	if err != nil {
		return t.h.storeError("append", err)
	}
	t.stored = true
	return nil
}

// retract takes the question back when it was refused before a model was
// asked: it would be refused again with every message that follows it.
func (t *turn) retract() {
	if !t.stored {
		return
	}
	ctx, cancel := t.settleContext()
	defer cancel()
	if err := t.x.store.Retract(ctx, t.tenant, t.session, t.question.Seq); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.h.app.StoreFailed("retract")
		t.h.log.Error("taking back a refused message", zap.Error(err))
	}
}

// storeAnswer stores the assistant's message. The session may have been
// deleted meanwhile, and then stays so.
func (t *turn) storeAnswer(text, status string, u usage) error {
	ctx, cancel := t.settleContext()
	defer cancel()
	err := t.x.store.Append(ctx, t.tenant, t.session, t.options(false), &store.Message{
		ID:         chatctx.NewID(),
		Role:       roleAssistant,
		Content:    text,
		Time:       time.Now(),
		TokenCount: int(u.TokensOut),
		ModelID:    u.ModelID,
		Status:     status,
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return t.h.storeError("append", err)
	}
	return nil
}

// title is the beginning of a conversation's first message.
func title(s string) string {
	if utf8.RuneCountInString(s) <= titleChars {
		return s
	}
	return string([]rune(s)[:titleChars-1]) + "…"
}
