package chat

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// lastWrite is how long a client may take for the last events of a stream
// that is cut short.
const lastWrite = 2 * time.Second

// CutShort sees to it that a client which does not read cannot hold up a
// stream whose context has ended: a write that waits for it fails soon. stop
// must be called before the answer's handler returns.
func CutShort(ctx context.Context, w http.ResponseWriter, r *http.Request) (stop func()) {
	var mu sync.Mutex
	var stopped, set bool
	rc := http.NewResponseController(w)
	if _, idle := caddyhttp.IdleTimeoutsFromContext(r.Context()); idle != nil {
		// Caddy's writer is not safe for concurrent use; what is below it is
		rc = idle.Ctrl
	}
	unhook := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			set = rc.SetWriteDeadline(time.Now().Add(lastWrite)) == nil
		}
	})
	return func() {
		unhook()
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		if set {
			// the connection may serve another request
			_ = rc.SetWriteDeadline(time.Time{})
		}
	}
}
