// Package chatsession implements the handler that serves /chat and keeps
// conversations.
package chatsession

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler serves the chat routes below its path and keeps conversations in the
// store. It turns a message and the conversation before it into an OpenAI chat
// completions request for the next handler: ai_gateway, or a reverse_proxy to
// any server with that API. The answer is streamed to the client and stored.
//
// A POST to /v1/chat/completions with an X-Session-Id is given the session's
// history and stored in the same way, but its answer is passed on, and a GET of
// its turn resumes it. All other requests are passed on.
type Handler struct {
	// The tenant of requests that did not pass tenant_resolve. Default: such
	// requests are refused.
	Tenant string `json:"tenant,omitempty"`

	// Where the routes are mounted. Default: /chat.
	Path string `json:"path,omitempty"`

	// How long messages are kept. A tenant's own setting wins. Default: 30
	// days.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How many messages a session keeps; the oldest go first. A tenant's own
	// setting wins. Default: 1000.
	MaxMessages int `json:"max_messages,omitempty"`

	// How many stored messages go to the model before the new one. Default:
	// 50.
	ContextMessages *int `json:"context_messages,omitempty"`

	// How many estimated tokens of stored messages go to the model. Default:
	// 8000.
	ContextTokens *int `json:"context_tokens,omitempty"`

	// The maximum length of a message, in Unicode code points. Default: 10000.
	MaxMessageChars int `json:"max_message_chars,omitempty"`

	// The maximum size of a request's body, in bytes. Default: 65536.
	MaxBody int64 `json:"max_body,omitempty"`

	// How long a client may take to send a request's body. Default: 30
	// seconds.
	ReadTimeout caddy.Duration `json:"read_timeout,omitempty"`

	// The system prompt. A tenant's own setting wins. Default: none.
	System string `json:"system,omitempty"`

	// What happens to an answer when its client goes away: continue lets it
	// finish and be stored, cancel stops it. Default: continue.
	OnDisconnect string `json:"on_disconnect,omitempty"`

	// How long the events of a finished answer can be replayed. Default: 5
	// minutes.
	ResumeWindow caddy.Duration `json:"resume_window,omitempty"`

	// How long a stream may be silent before a comment is sent. Default: 15
	// seconds.
	KeepAlive caddy.Duration `json:"keep_alive,omitempty"`

	app  *chat.App
	keys *sharedanswer.Idempotency
	log  *zap.Logger

	usageRefused *atomic.Bool // by the server behind the next handler
}

// defaultPath is where the routes are mounted if the configuration does not say.
const defaultPath = "/chat"

// Values of Handler.OnDisconnect.
const (
	disconnectContinue = "continue"
	disconnectCancel   = "cancel"
)

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.chat_session",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets the defaults.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	h.Path = cmp.Or(h.Path, defaultPath)
	h.Retention = cmp.Or(h.Retention, caddy.Duration(30*24*time.Hour))
	h.MaxMessages = cmp.Or(h.MaxMessages, 1000)
	h.MaxMessageChars = cmp.Or(h.MaxMessageChars, 10_000)
	h.MaxBody = cmp.Or(h.MaxBody, 64<<10)
	h.ReadTimeout = cmp.Or(h.ReadTimeout, caddy.Duration(chat.DefaultReadTimeout))
	h.OnDisconnect = cmp.Or(h.OnDisconnect, disconnectContinue)
	h.ResumeWindow = cmp.Or(h.ResumeWindow, caddy.Duration(5*time.Minute))
	h.KeepAlive = cmp.Or(h.KeepAlive, caddy.Duration(15*time.Second))
	if h.ContextMessages == nil {
		h.ContextMessages = new(50)
	}
	if h.ContextTokens == nil {
		h.ContextTokens = new(8000)
	}
	h.Path = strings.TrimRight(record.CleanPath(h.Path), "/")
	h.usageRefused = new(atomic.Bool)
	app, err := chat.FromContext(ctx)
	if err != nil {
		return err
	}
	app.NoteSessions(h.Path)
	h.app, h.keys = app, sharedanswer.NewIdempotency(app, h.log)
	h.warnOfNothingBehind(ctx)
	return nil
}

// Validate checks the settings.
func (h *Handler) Validate() error {
	switch {
	case !strings.HasPrefix(h.Path, "/"):
		return fmt.Errorf("path: %q: want a path such as /chat", h.Path)
	case h.OnDisconnect != disconnectContinue && h.OnDisconnect != disconnectCancel:
		return fmt.Errorf("on_disconnect: %q: want continue or cancel", h.OnDisconnect)
	case h.Retention < 0, h.MaxMessages < 0, *h.ContextMessages < 0, *h.ContextTokens < 0,
		h.MaxMessageChars < 0, h.MaxBody < 0, h.ReadTimeout < 0, h.ResumeWindow < 0, h.KeepAlive < 0:
		return errors.New("durations, counts and sizes: want values of at least 0")
	}
	return h.app.CheckTenant(h.Tenant)
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	path, ok := h.subpath(record.Path(r))
	turn, resumes := h.resumes(r)
	keeps := stores(r)
	if !ok && !resumes && !keeps && !remembers(r) {
		return next.ServeHTTP(w, r)
	}
	x, done := h.app.Enter(w, r)
	defer func() { done(err) }()

	switch {
	case ok:
		err = h.serve(x, path, next)
	case keeps:
		err = h.serveResponses(x, next)
	case resumes:
		err = h.serveResume(x, turn, next)
	default:
		err = h.serveCompletion(x, next)
	}
	if other, ok := errors.AsType[nextError](err); ok {
		return other.error
	}
	if err != nil {
		return apierror.Answer(h.log, x.W, r, err)
	}
	return nil
}

// serve answers a request to one of the chat routes, or returns why it could
// not.
func (h *Handler) serve(x *chat.Exchange, path string, next caddyhttp.Handler) error {
	if err := x.RequireTenant(h.Tenant); err != nil {
		return err
	}
	rt, id, err := match(path, x.R.Method)
	if err != nil {
		return err
	}
	release, err := h.lease(x, id)
	if err != nil {
		return err
	}
	defer release()

	switch rt {
	case routePost:
		return h.post(x, next)
	case routeList:
		return h.list(x)
	case routeHistory:
		return h.history(x)
	case routeDelete:
		return h.remove(x)
	case routeStream:
		return h.follow(x)
	default:
		return h.cancel(x)
	}
}

// serveCompletion answers a chat completions request with a session, or returns
// why it could not.
func (h *Handler) serveCompletion(x *chat.Exchange, next caddyhttp.Handler) error {
	if err := x.RequireTenant(h.Tenant); err != nil {
		return err
	}
	id, err := sessionOf(x.R.Header)
	if err != nil {
		return err
	}
	release, err := h.lease(x, id)
	if err != nil {
		return err
	}
	defer release()
	if record.Path(x.R) == countPath {
		return h.count(x, next)
	}
	return h.complete(x, next)
}

// serveResume answers a request for the rest of a chat completion, or returns why it
// could not. Without a tenant there is no session, so the next handler answers.
func (h *Handler) serveResume(x *chat.Exchange, turn string, next caddyhttp.Handler) error {
	if x.Rec.Tenant == nil && h.Tenant == "" {
		return h.passOn(x, next)
	}
	if err := x.RequireTenant(h.Tenant); err != nil {
		return err
	}
	release, err := h.lease(x, "")
	if err != nil {
		return err
	}
	defer release()
	return h.resume(x, turn, next)
}

// passOn lets the next handler answer.
func (h *Handler) passOn(x *chat.Exchange, next caddyhttp.Handler) error {
	if err := next.ServeHTTP(x.W, x.R); err != nil {
		return nextError{err}
	}
	return nil
}

// lease records the session and leases the store, until release is called.
func (h *Handler) lease(x *chat.Exchange, session string) (release func(), err error) {
	x.Rec.Session = session
	return x.Lease()
}

// storeError turns an error of the store into the one to answer.
func (h *Handler) storeError(op string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return apierror.SessionNotFound()
	}
	if errors.Is(err, context.Canceled) {
		return err // the client is gone; the store did not fail
	}
	h.app.StoreFailed(op)
	return apierror.StorageUnavailable(fmt.Errorf("%s: %w", op, err))
}

// sessionKey returns the key of the request's session in the store.
func sessionKey(x *chat.Exchange) store.SessionKey {
	return store.SessionKey{User: x.Rec.User, ID: x.Rec.Session}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
