package chatsession

import (
	"cmp"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
)

// inBackground lets a turn run without its client, who follows the response or asks for
// it later. The client is answered once the model is called, or why it is not. The turn has
// a request of its own, since Caddy's ends with this handler.
func (h *Handler) inBackground(x *chat.Exchange, c *talk) error {
	ctx, release := x.Outlive()
	w := &noClient{header: make(http.Header)}
	srv, _ := x.R.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	r := caddyhttp.PrepareRequest(x.R.Clone(ctx), caddy.NewReplacer(), w, srv)
	rec := x.Rec.Fork()
	record.Put(r, rec)
	own := h.app.NewExchange(w, r, rec)
	let, err := own.Lease()
	if err != nil {
		release()
		return err
	}
	leave := c.gates.Stay()
	begins := *c.kept
	a := &announcement{begun: make(chan struct{}), called: make(chan struct{}), ended: make(chan error, 1)}
	a.keep = func() error {
		begins.Asked = c.kept.Asked
		if err := h.keep(ctx, own, &begins); err != nil {
			return h.storeError("cache put", err)
		}
		return nil
	}
	c.claim, c.begun = sharedanswer.ClaimOf(x.W), func() { close(a.begun) }
	c.called, rec.BeforeCall = a.call, a.call
	go func() {
		defer release()
		defer let()
		defer leave()
		if err := c.turnAlone(own); a.end(err) {
			h.endInBackground(own, c, err)
		}
	}()
	if err := a.wait(); err != nil {
		return err
	}
	if recorder := sharedanswer.RecorderOf(x.W); recorder != nil {
		recorder.Note(provider.Encode(answered{Session: begins.Session, Response: begins.id()}))
	}
	if c.followed {
		return h.followKept(x, &begins)
	}
	return writeDocument(x, begins.document())
}

// callWait is how long a client waits at most once the turn has begun: not every handler
// says when it calls a model.
const callWait = time.Second

// announcement keeps a response in the background, as one that runs, before the model is
// called. A turn that ends before that has no response.
type announcement struct {
	keep   func() error
	begun  chan struct{} // closed when the turn has begun
	called chan struct{} // closed when the response is kept
	ended  chan error    // why the turn has ended before that

	mu   sync.Mutex
	done bool // either of them
	err  error
}

// call keeps the response, at the first call.
func (a *announcement) call() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		return a.err
	}
	a.done = true
	if a.err = a.keep(); a.err == nil {
		close(a.called)
	} else {
		a.ended <- a.err
	}
	return a.err
}

// end reports whether there is a response, whose turn has ended with err.
func (a *announcement) end(err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		return a.err == nil
	}
	a.done, a.err = true, cmp.Or(err, error(apierror.AIError()))
	a.ended <- a.err
	return false
}

// wait waits until the response is kept, or returns why it is not.
func (a *announcement) wait() error {
	select {
	case err := <-a.ended:
		return err
	case <-a.begun:
	}
	timer := time.NewTimer(callWait)
	defer timer.Stop()
	select {
	case err := <-a.ended:
		return err
	case <-a.called:
		return nil
	case <-timer.C:
	}
	return a.call()
}

// turnAlone takes the turn outside of a request, where a panic would end the process. An
// answer that breaks off panics with http.ErrAbortHandler.
func (c *talk) turnAlone(x *chat.Exchange) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		err = apierror.AIError()
		if v != http.ErrAbortHandler { //nolint:errorlint // it is panicked as it is
			c.h.log.Error("a turn in the background panicked", zap.Any("panic", v), zap.Stack("stack"))
		}
	}()
	return c.turn(x)
}

// endInBackground keeps why a turn has ended with err, unless its answer says so.
func (h *Handler) endInBackground(x *chat.Exchange, c *talk, err error) {
	if err == nil && len(c.kept.Response) > 0 {
		return
	}
	if err == nil {
		err = apierror.AIError()
	}
	if !c.kept.cancelled {
		h.log.Error("a response in the background has failed", zap.String("trace_id", x.Rec.TraceID), zap.Error(err))
	}
	c.kept.Events = 1 // there was nothing before the end
	h.keepEnd(x, c.kept, c.kept.unanswered(failureOf(err)))
}

// noClient is the ResponseWriter of an answer without a client.
type noClient struct{ header http.Header }

func (w *noClient) Header() http.Header         { return w.header }
func (w *noClient) WriteHeader(int)             {}
func (w *noClient) Write(p []byte) (int, error) { return len(p), nil }
func (w *noClient) Flush()                      {}

// Interface guards
var _ http.Flusher = (*noClient)(nil)
