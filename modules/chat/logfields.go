package chat

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-chat/caddy-chat/modules/record"
)

// logFields is what the chain knows of a request, for the access log.
type logFields struct {
	trace, tenant, user, session, code string
	call                               record.Call
}

// addLogFields adds what the chain knows to the access log, as one field that
// writes out the others: most sites have no access log, and Caddy's list of
// fields is slow to add to.
func addLogFields(r *http.Request, rec *record.Record) {
	extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok {
		return
	}
	f := &logFields{trace: rec.TraceID, session: rec.Session, code: rec.ErrorCode, call: rec.Call}
	if rec.Tenant != nil {
		f.tenant, f.user = rec.Tenant.ID, rec.User
	}
	extra.Add(zap.Inline(f))
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (f *logFields) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("trace_id", f.trace)
	if f.tenant != "" {
		enc.AddString("tenant", f.tenant)
		enc.AddString("user", f.user)
	}
	if f.session != "" {
		enc.AddString("session", f.session)
	}
	if f.code != "" {
		enc.AddString("error_code", f.code)
	}
	if c := f.call; c.Model != "" {
		enc.AddString("model", c.Model)
		enc.AddString("provider", c.Provider)
		enc.AddInt("attempts", c.Attempts)
		enc.AddInt64("tokens_in", c.Usage.Input)
		enc.AddInt64("tokens_out", c.Usage.Output)
		if c.Usage.Estimated {
			enc.AddBool("tokens_estimated", true)
		}
		if c.Usage.Cached > 0 || c.Usage.Written > 0 {
			enc.AddInt64("tokens_cached", c.Usage.Cached)
			enc.AddInt64("tokens_written", c.Usage.Written)
		}
		if c.Usage.Tier != "" {
			enc.AddString("service_tier", c.Usage.Tier)
		}
		enc.AddFloat64("cost_usd", c.CostUSD)
		enc.AddInt64("ttft_ms", c.TTFT.Milliseconds())
	}
	return nil
}

// Interface guard
var _ zapcore.ObjectMarshaler = (*logFields)(nil)
