package record

import (
	"io"
	"net/http"
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Gate is a request's body with something to do before the request is served,
// such as counting it. A handler that reads the whole body first takes the gate
// off, and enters when the body is there. For any other handler the request
// enters with its first read.
type Gate struct {
	io.ReadCloser
	Keeper GateKeeper
}

// GateKeeper is who is behind a gate. Several goroutines may call it at once.
type GateKeeper interface {
	// Enter lets the request in, or returns why it may not be served. It may be
	// called again.
	Enter() error

	// EnterWith does what Enter does, by an operation of the store that also takes
	// what the request needs: nothing where it is in already. An operation that
	// answers store.ErrNoSlot has taken nothing, and so has one that fails.
	EnterWith(op func(takes []store.Take) error) error

	// Stay keeps a request in that has entered until leave is called, also when it
	// has ended.
	Stay() (leave func())
}

func (g *Gate) Read(p []byte) (int, error) {
	if err := g.Keeper.Enter(); err != nil {
		return 0, err
	}
	return g.ReadCloser.Read(p)
}

// Gates are those that were taken off a body, the first one last.
type Gates []*Gate

// OpenGates takes the gates off the body of a request, which has yet to pass them.
func OpenGates(r *http.Request) Gates {
	var gates Gates
	for {
		g, ok := r.Body.(*Gate)
		if !ok {
			return gates
		}
		gates = append(gates, g)
		r.Body = g.ReadCloser
	}
}

// Enter passes them all, the first one first.
func (gates Gates) Enter() error {
	for _, g := range slices.Backward(gates) {
		if err := g.Keeper.Enter(); err != nil {
			return err
		}
	}
	return nil
}

// EnterWith passes them all, the last one together with an operation of the store.
func (gates Gates) EnterWith(op func(takes []store.Take) error) error {
	if len(gates) == 0 {
		return op(nil)
	}
	if err := gates[1:].Enter(); err != nil {
		return err
	}
	return gates[0].Keeper.EnterWith(op)
}

// Stay keeps a request that has passed them until leave is called, also when it has
// ended.
func (gates Gates) Stay() (leave func()) {
	leaves := make([]func(), len(gates))
	for i, g := range gates {
		leaves[i] = g.Keeper.Stay()
	}
	return func() {
		for _, leave := range leaves {
			leave()
		}
	}
}
