package chat

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// ErrShuttingDown is the cause of what the process's end cancels.
var ErrShuttingDown = errors.New("the server is shutting down")

// exit is cancelled when the process begins to end. It belongs to the
// process: streams of an earlier configuration, whose event subscriptions
// are gone, have to learn of it too.
var exit, beginExit = context.WithCancelCause(context.Background())

// stopWatch hears that its configuration stops, before Caddy closes anything. It
// has to tell the end of the process from a reload.
type stopWatch struct{ app *App }

// leaveTime is how long a configuration that has served requests announces the end
// of its connections. Caddy then closes those that are idle, and a request that
// is on its way there gets no answer.
const leaveTime = 200 * time.Millisecond

func (w stopWatch) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() {
		beginExit(apierror.ShuttingDown().Because(ErrShuttingDown))
		return nil
	}
	// the next configuration has started, and its tenants count now
	w.app.tracker.close(w.app)
	w.app.leave()
	return nil
}

// leave has the answers from now on close their connections, and gives clients the
// time to get one. New connections are served by the next configuration.
func (a *App) leave() {
	a.leaving.Store(true)
	if a.serving.Load() {
		time.Sleep(leaveTime)
	}
}

// CallContext returns a context for a model call. That of a stream also
// ends, with ErrShuttingDown as its cause, when the process begins to end:
// its client gets a last event, and the process does not wait for the longest
// answer. cancel must be called.
func CallContext(parent context.Context, streamed bool) (ctx context.Context, cancel context.CancelCauseFunc) {
	ctx, cancelCause := context.WithCancelCause(parent)
	if !streamed {
		return ctx, cancelCause
	}
	stop := context.AfterFunc(exit, func() { cancelCause(context.Cause(exit)) })
	return ctx, func(cause error) {
		stop()
		cancelCause(cause)
	}
}
