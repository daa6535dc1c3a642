package chat

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// Enter begins a handler's part of a request. The first handler of the chain
// makes the record, sets the trace id, and when it is done logs and counts
// the request; for the others Enter only finds the record. done must be
// called, with the error that the handler returns, and the exchange's
// ResponseWriter used.
func (a *App) Enter(w http.ResponseWriter, r *http.Request) (x *Exchange, done func(error)) {
	if rec := record.Get(r); rec != nil {
		x := a.NewExchange(w, r, rec)
		return x, func(error) { x.untrack() }
	}
	if !a.serving.Load() {
		a.serving.Store(true)
	}
	keepHeaders(r.Header)
	rec := record.Begin(r)
	rec.SetHeader(w, record.HeaderTrace, rec.TraceID)
	r.Header.Set(record.HeaderTrace, rec.TraceID)
	// where the clients of the APIs look for it
	switch {
	case apierror.ForAnthropic(r):
		rec.SetHeader(w, "Request-Id", rec.TraceID)
	case record.IsV1(record.Path(r)):
		rec.SetHeader(w, "X-Request-Id", rec.TraceID)
	}
	e := &entered{wrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	e.answer = answerWriter{ResponseWriterWrapper: &e.wrapper, rec: rec, app: a, kept: r.ProtoMajor == 1}
	e.x = Exchange{W: &e.answer, R: r, Rec: rec, app: a}
	return &e.x, func(err error) {
		if gone := apierror.Ended(e.x.R.Context()); gone != nil && rec.ErrorCode == "" {
			rec.ErrorCode = gone.Code // the next handler was not one of ours
		}
		e.x.untrack()
		addLogFields(r, rec)
		a.count(rec, e.answer.statusAfter(err))
	}
}

// entered is what Enter makes for a request, in one piece.
type entered struct {
	x       Exchange
	answer  answerWriter
	wrapper caddyhttp.ResponseWriterWrapper
}

// keepHeaders takes the chain's own headers off a Connection header, by which
// a client could have the next proxy drop them.
func keepHeaders(h http.Header) {
	values := h.Values("Connection")
	if len(values) == 0 {
		return
	}
	var kept []string
	for name := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch name {
		case "", record.HeaderTenant, record.HeaderUser, record.HeaderTrace:
		default:
			kept = append(kept, name)
		}
	}
	h.Del("Connection")
	if len(kept) > 0 {
		h.Set("Connection", strings.Join(kept, ", "))
	}
}

// answerWriter notes the status of an answer, and keeps the chain's own
// headers from being overridden by whatever answers.
type answerWriter struct {
	*caddyhttp.ResponseWriterWrapper
	rec    *record.Record
	app    *App
	kept   bool // the connection would be used again
	status int
}

func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
		w.rec.ApplyHeaders(w.Header())
		if w.kept && w.app.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

func (w *answerWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriterWrapper.Write(p)
}

// statusAfter is the status of an answer whose handler has returned with err.
// Where none was written yet, Caddy writes the error's.
func (w *answerWriter) statusAfter(err error) int {
	switch he, ok := errors.AsType[caddyhttp.HandlerError](err); {
	case w.status != 0:
		return w.status
	case ok && he.StatusCode != 0:
		return he.StatusCode
	case err != nil:
		return http.StatusInternalServerError
	default:
		return http.StatusOK
	}
}

// count counts a request under its tenant. Of one without a tenant only the
// reason for its refusal is counted.
func (a *App) count(rec *record.Record, status int) {
	if rec.ErrorCode != "" && rec.Call.Attempts == 0 {
		a.metrics.byReason.of(reasonLabels{rec.TenantID(), rec.ErrorCode}).Inc()
	}
	if rec.Tenant == nil {
		return
	}
	a.metrics.byStatus.of(statusLabels{rec.Tenant.ID, status}).Inc()
}

// RequireTenant makes sure that a request has a tenant: the one resolved
// before, or the one that the handler's own block names. The headers for the
// next handler then name that one, whatever the client said. Errors are
// *apierror.Error.
func (a *App) RequireTenant(x *Exchange, named string) error {
	if x.Rec.Tenant != nil {
		return nil
	}
	if named == "" {
		a.warnNoTenant.Do(func() {
			a.log.Warn("a request came without a tenant: put tenant_resolve in front, or 'tenant <id>' into the directive's own block",
				zap.String("path", x.R.URL.Path))
		})
		return apierror.TenantRequired()
	}
	t := a.Tenancy().ByID(named)
	if t == nil {
		return apierror.TenantUnknown()
	}
	user, err := UserFrom(x.R.Header, record.HeaderUser)
	if err != nil {
		return err
	}
	x.Rec.Tenant, x.Rec.User = t, user
	x.Admit()
	x.R.Header.Set(record.HeaderTenant, t.ID)
	x.R.Header.Set(record.HeaderUser, user)
	return nil
}
