package chatsession

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
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

// post serves POST /chat.
func (h *Handler) post(x *exchange, next caddyhttp.Handler) error {
	m, err := h.readMessage(x)
	if err != nil {
		return err
	}
	key, err := sharedanswer.ClientKey(x.R.Header)
	if err != nil {
		return err
	}
	if key == "" {
		return h.say(x, m, next)
	}
	k := &sharedanswer.KeyedRequest{Key: key, Same: [][]byte{m.body}}
	k.Stream, k.Frame = *m.Stream, x.failureFrame
	return h.once(x, k, func(x *exchange) error { return h.say(x, m, next) })
}

// say takes a turn under /chat.
func (h *Handler) say(x *exchange, m *message, next caddyhttp.Handler) error {
	t := h.newTurn(x)
	end, err := t.claim(*m.Stream)
	if err != nil {
		return err
	}
	defer end()
	return t.take(m, next)
}

// take carries out a turn under /chat that has been claimed.
func (t *turn) take(m *message, next caddyhttp.Handler) error {
	question := newMessage(roleUser, *m.Message)
	past, err := t.keep(question)
	if err != nil {
		return err
	}
	msgs := t.h.prompt(t.x, past, question)
	t.tokensIn = estimate(msgs)
	req := t.forward(m, msgs)

	out := t.newOutput(*m.Stream)
	defer out.stop()
	a := newAnswer(out)
	a.end(serveNext(next, a, req))
	return t.settle(a, out)
}

// errAborted is an answer that the next handler broke off.
var errAborted = fmt.Errorf("the next handler broke off: %w", provider.ErrCut)

// serveNext has the next handler answer. reverse_proxy panics when its
// upstream breaks off, to have the connection closed; here the turn has to be
// settled first.
func serveNext(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // panics with it are compared so, as net/http does
				panic(p)
			}
			err = errAborted
		}
	}()
	return next.ServeHTTP(w, r)
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

func (t *turn) options(create bool) store.AppendOptions {
	tn := t.x.Rec.Tenant
	return store.AppendOptions{
		Create:      create,
		Retention:   cmp.Or(tn.Retention, time.Duration(t.h.Retention)),
		MaxMessages: cmp.Or(tn.MaxMessages, t.h.MaxMessages),
	}
}

// keep stores what was sent, unless the session ends with it already, and
// returns the messages before it.
func (t *turn) keep(sent ...*store.Message) (past []*store.Message, err error) {
	past, err = t.past(len(sent))
	if err != nil {
		return nil, err
	}
	again := repeated(past, sent)
	t.begins = len(past) == 0 && len(sent) == 0
	past = past[:len(past)-again]
	return past, t.store(sent[again:])
}

func (t *turn) store(msgs []*store.Message) error {
	opts := t.options(true)
	if most := opts.MaxMessages; most > 0 && len(msgs) > most {
		msgs = msgs[len(msgs)-most:]
	}
	if len(msgs) == 0 {
		return nil
	}
	for _, m := range msgs {
		m.Time = t.begun
	}
	opts.Title = title(msgs)
	if err := t.x.store.Append(t.ctx, t.tenant, t.session, opts, msgs...); err != nil {
		return t.h.storeError("append", err)
	}
	t.stored = msgs
	return nil
}

// retract takes back what was stored when it was refused before a model was
// asked: it would be refused again with every message that follows it.
func (t *turn) retract() {
	ctx, cancel := t.settleContext()
	defer cancel()
	for _, m := range slices.Backward(t.stored) {
		err := t.x.store.Retract(ctx, t.tenant, t.session, m.Seq)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.h.app.StoreFailed("retract")
			t.h.log.Error("taking back a refused message", zap.Error(err))
			return
		}
	}
}

// storeAnswer stores the assistant's message and returns it. The session may
// have been deleted meanwhile, and then stays so: there is none.
func (t *turn) storeAnswer(a *answer, status string, u usage) (*store.Message, error) {
	m := newMessage(roleAssistant, a.text.String())
	m.Time, m.TokenCount, m.ModelID, m.Status = time.Now(), int(u.TokensOut), u.ModelID, status
	if raw := a.calls.message(m.Content); raw != nil {
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return nil, fmt.Errorf("putting tool calls together: %w", err)
		}
		m.Raw = compact.Bytes()
	}
	ctx, cancel := t.settleContext()
	defer cancel()
	err := t.x.store.Append(ctx, t.tenant, t.session, t.options(t.begins), m)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, t.h.storeError("append", err)
	}
	return m, nil
}

// title is the beginning of a conversation's first message: the user's, where
// there is one.
func title(msgs []*store.Message) string {
	s := msgs[0].Content
	for _, m := range msgs {
		if m.Role == roleUser && m.Content != "" {
			s = m.Content
			break
		}
	}
	if utf8.RuneCountInString(s) <= titleChars {
		return s
	}
	return string([]rune(s)[:titleChars-1]) + "…"
}
