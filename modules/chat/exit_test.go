package chat

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestLeave has a configuration that is replaced by another one.
func TestLeave(t *testing.T) {
	a, _, _, err := provisioned(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	stop := func(t *testing.T) (took time.Duration) {
		t.Helper()
		began := time.Now()
		if err := (stopWatch{a}).Handle(context.Background(), caddy.Event{}); err != nil {
			t.Error(err)
		}
		return time.Since(began)
	}
	answer := func(major int) string {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.ProtoMajor = major
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
		r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields)))
		w := httptest.NewRecorder()
		x, done := a.Enter(w, r)
		x.W.WriteHeader(http.StatusOK)
		done(nil)
		return w.Result().Header.Get("Connection")
	}
	synctest.Test(t, func(t *testing.T) {
		if took := stop(t); took != 0 {
			t.Errorf("a configuration that has served nothing takes %v", took)
		}
		a.leaving.Store(false)
		if got := answer(1); got != "" {
			t.Errorf("before: Connection %q", got)
		}
		if took := stop(t); took != leaveTime {
			t.Errorf("it takes %v, want %v", took, leaveTime)
		}
		if got := answer(1); got != "close" {
			t.Errorf("then: Connection %q, want close", got)
		}
		if got := answer(2); got != "" {
			t.Errorf("over HTTP/2: Connection %q", got)
		}
	})
}
