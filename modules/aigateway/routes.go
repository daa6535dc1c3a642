package aigateway

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
)

// endpoint is one of the handler's routes.
type endpoint struct {
	method string
	serve  func(*Handler, *chat.Exchange) error
}

const (
	pathHealth = "/v1/health"
	pathModels = "/v1/models"
)

var endpoints = map[string]endpoint{
	sharedanswer.CompletionsPath: {http.MethodPost, (*Handler).completions},
	"/v1/embeddings":             {http.MethodPost, (*Handler).embeddings},
	"/v1/messages":               {http.MethodPost, through(messages.Door{})},
	"/v1/responses":              {http.MethodPost, through(responses.Door{})},
	"/v1/messages/count_tokens":  {http.MethodPost, (*Handler).countTokens},
	"/v1/completions":            {http.MethodPost, (*Handler).relay},
	"/v1/moderations":            {http.MethodPost, (*Handler).relay},
	"/v1/rerank":                 {http.MethodPost, (*Handler).relay},
	"/v1/images/generations":     {http.MethodPost, (*Handler).relay},
	"/v1/audio/speech":           {http.MethodPost, (*Handler).relay},
	"/v1/audio/transcriptions":   {http.MethodPost, (*Handler).relayForm},
	"/v1/audio/translations":     {http.MethodPost, (*Handler).relayForm},
	"/v1/images/edits":           {http.MethodPost, (*Handler).relayForm},
	"/v1/images/variations":      {http.MethodPost, (*Handler).relayForm},
	pathModels:                   {http.MethodGet, (*Handler).models},
	pathHealth:                   {http.MethodGet, (*Handler).health},
}

// IsHealth implements chat.Gateway.
func (h *Handler) IsHealth(path string) bool {
	return path == pathHealth || h.HealthPath != "" && path == record.CleanPath(h.HealthPath)
}

// match returns the route of a clean path.
func (h *Handler) match(path string) (endpoint, bool) {
	if h.IsHealth(path) {
		path = pathHealth
	}
	if strings.HasPrefix(path, pathModels+"/") {
		return endpoint{http.MethodGet, (*Handler).model}, true
	}
	if _, ok := sharedanswer.TurnOf(path); ok {
		return endpoint{http.MethodGet, (*Handler).resume}, true
	}
	e, ok := endpoints[path]
	return e, ok
}

// allows reports whether the route serves a method. GET includes HEAD, of whose
// answer the server leaves the body out.
func (e endpoint) allows(method string) bool {
	return method == e.method || method == http.MethodHead && e.method == http.MethodGet
}

// allowed returns the methods of the route as an Allow header lists them.
func (e endpoint) allowed() string {
	if e.method == http.MethodGet {
		return http.MethodGet + ", " + http.MethodHead
	}
	return e.method
}

// passOn lets the next handler answer. If none does, Caddy sends an empty 200,
// which a client of a model API takes for an answer: under /v1 it is a 404. So is
// a 404 without a body, such as that of respond 404, of which clients cannot tell
// what is missing.
func (h *Handler) passOn(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !record.IsV1(record.Path(r)) {
		return next.ServeHTTP(w, r)
	}
	noted := &notingWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	if err := next.ServeHTTP(noted, r); err != nil || noted.begun || !noted.missing && !unhandled(r) {
		return err
	}
	w.Header().Del("Content-Length")
	x, done := h.app.Enter(w, r)
	defer done(nil)
	return apierror.Answer(h.log, x.W, r, apierror.NotFound())
}

// unhandled reports whether a request has reached the end of Caddy's routes.
// An answer without a body, such as that of respond 200, does not.
func unhandled(r *http.Request) bool {
	end, _ := caddyhttp.GetVar(r.Context(), "unhandled").(bool)
	return end
}

// notingWriter notes that an answer has begun. It holds the header of a 404 back until
// there is a body.
type notingWriter struct {
	*caddyhttp.ResponseWriterWrapper
	begun   bool
	missing bool
}

func (w *notingWriter) WriteHeader(status int) {
	if status == http.StatusNotFound && !w.begun {
		w.missing = true
		return
	}
	w.begun = w.begun || status >= http.StatusOK
	w.ResponseWriterWrapper.WriteHeader(status)
}

func (w *notingWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	w.begin()
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *notingWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.missing {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	w.begin()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements what http.ResponseController looks for.
func (w *notingWriter) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// begin sends the header that was held back.
func (w *notingWriter) begin() {
	if w.missing && !w.begun {
		w.ResponseWriterWrapper.WriteHeader(http.StatusNotFound)
	}
	w.begun = true
}

// Interface guards
var (
	_ http.ResponseWriter = (*notingWriter)(nil)
	_ io.ReaderFrom       = (*notingWriter)(nil)
)
