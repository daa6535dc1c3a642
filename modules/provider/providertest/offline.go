package providertest

import (
	"context"
	"sync"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Offline checks what Conform checks, as far as it concerns a provider that
// makes no calls: it has to answer body, a request, with the reply want, whole
// and as a stream, many times at once, and must not answer a client that has
// left.
func Offline(t *testing.T, p provider.Provider, body string, want Reply) {
	d := &Dialect{Model: "some-model"}
	s := &subject{Dialect: d, Provider: p}
	s.both(t, func(t *testing.T, ask asking) {
		var all sync.WaitGroup
		for range callers {
			all.Go(func() { d.check(t, "an answer", want, ask(t.Context(), t, p, d.request(body))) })
		}
		all.Wait()
	})
	t.Run("gone", func(t *testing.T) {
		gone, cancel := context.WithCancelCause(t.Context())
		cancel(errLeft)
		s.both(t, func(t *testing.T, ask asking) {
			ended := make(chan error, 1)
			ended <- ask(gone, t, p, d.request(body)).Err
			left(t, ended)
		})
	})
}
