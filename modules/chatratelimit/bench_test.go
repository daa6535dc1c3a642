package chatratelimit

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/record"
)

// discard is a ResponseWriter whose body goes nowhere.
type discard struct{ header http.Header }

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) Write(p []byte) (int, error) { return len(p), nil }
func (w *discard) WriteHeader(int)             {}

// BenchmarkHandler is what the handler adds to a request that it lets through,
// the record of the request included.
func BenchmarkHandler(b *testing.B) {
	for name, config := range map[string]string{
		"requests":   `"tenant": "default", "requests": ["1000000000 1m"]`,
		"all limits": `"tenant": "default", "requests": ["1000000000 1m", "1000000000 1m per tenant"], "burst": ["1000000000 1s"], "tokens": ["1000000000 1m"], "concurrent": ["100"]`,
	} {
		for _, path := range []string{"/chat", "/v1/chat/completions"} {
			b.Run(name+" at "+path[1:3], func(b *testing.B) { benchHandler(b, config, path) })
		}
	}
}

func benchHandler(b *testing.B, config, path string) {
	app, err := json.Marshal(map[string]any{"store": map[string]string{"module": "badger", "path": b.TempDir()}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"chat": app}})
	if err != nil {
		b.Fatal(err)
	}
	h := new(Handler)
	if err := json.Unmarshal([]byte("{"+config+"}"), h); err != nil {
		b.Fatal(err)
	}
	if err := h.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	if err := h.app.Start(); err != nil {
		b.Fatal(err)
	}
	defer h.app.Cleanup()

	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	})
	plain := httptest.NewRequest(http.MethodPost, path, nil)
	plain.Header.Set(record.HeaderUser, "anna")
	w := &discard{make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		vars := map[string]any{caddyhttp.ClientIPVarKey: "203.0.113.7"}
		r := plain.WithContext(context.WithValue(plain.Context(), caddyhttp.VarsCtxKey, vars))
		clear(w.header)
		if err := h.ServeHTTP(w, r, next); err != nil {
			b.Fatal(err)
		}
	}
}
