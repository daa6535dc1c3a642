package chat

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// discard is a ResponseWriter whose body goes nowhere.
type discard struct{ header http.Header }

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) Write(p []byte) (int, error) { return len(p), nil }
func (w *discard) WriteHeader(int)             {}

// BenchmarkEnter is what the app adds to a request: the record with its trace
// id and placeholders, the headers of the answer, the fields of the access log
// and the count.
func BenchmarkEnter(b *testing.B) {
	a := storeAt(b, b.TempDir(), "")
	acme := &tenant.Tenant{ID: "acme"}
	plain := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
	plain.Header.Set("Content-Type", "application/json")
	w := &discard{make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		// what Caddy makes of a request
		ctx := context.WithValue(plain.Context(), caddyhttp.VarsCtxKey, make(map[string]any))
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewEmptyReplacer())
		r := plain.WithContext(context.WithValue(ctx, caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields)))
		r.Header.Del(record.HeaderTrace)
		clear(w.header)

		x, done := a.Enter(w, r)
		x.Rec.Tenant = acme
		x.SetHeader(record.HeaderTenant, acme.ID)
		x.SetHeader("X-Model-Id", "fast")
		x.Rec.SetCall(record.Call{Model: "fast", Provider: "openai", Attempts: 1})
		x.W.WriteHeader(http.StatusOK)
		done(nil)
	}
}

// BenchmarkRequest is the part of BenchmarkEnter that is not the app's.
func BenchmarkRequest(b *testing.B) {
	plain := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
	plain.Header.Set("Content-Type", "application/json")
	w := &discard{make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		ctx := context.WithValue(plain.Context(), caddyhttp.VarsCtxKey, make(map[string]any))
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewEmptyReplacer())
		r := plain.WithContext(context.WithValue(ctx, caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields)))
		r.Header.Del(record.HeaderTrace)
		clear(w.header)
		w.WriteHeader(http.StatusOK)
	}
}
