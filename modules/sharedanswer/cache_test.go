package sharedanswer

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

func TestCacheKeepAlive(t *testing.T) {
	app, _ := newStore(t)
	_, cancel := chat.CallContext(t.Context(), true)
	cancel(nil) // what the end of the process closes is no part of the bubble
	const interval = 15 * time.Second
	synctest.Test(t, func(t *testing.T) {
		got := httptest.NewRecorder()
		x := app.NewExchange(got, httptest.NewRequest(http.MethodPost, "/", nil), new(record.Record))
		asks := &Request{Exchange: x, Stream: true, KeepAlive: chat.KeepAlive{Interval: interval}, Frame: func(*apierror.Error) []byte { return []byte("cut") }}
		hit, err := NewCache(app, zap.NewNop()).Answer(asks, Entry{Key: "k"}, func(x *chat.Exchange) error {
			time.Sleep(2 * interval) // a failure may still have a status of its own
			x.W.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(x.W, "one\n\n")
			time.Sleep(interval + time.Second)
			return apierror.AIError()
		})
		if want := "one\n\n: keep-alive\ncut"; hit || err != nil || got.Body.String() != want {
			t.Errorf("%q, %v, %v, want %q", got.Body, hit, err, want)
		}
	})
}
