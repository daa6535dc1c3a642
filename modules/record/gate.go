package record

import (
	"io"
	"net/http"
	"slices"
)

// Gate is a request's body with something to do before the request is served,
// such as counting it. A handler that reads the whole body first takes the gate
// off, and enters when the body is there. For any other handler the request
// enters with its first read.
type Gate struct {
	io.ReadCloser

	// Enter lets the request in, or returns why it may not be served. It may
	// be called again, and by several goroutines.
	Enter func() error
}

func (g *Gate) Read(p []byte) (int, error) {
	if err := g.Enter(); err != nil {
		return 0, err
	}
	return g.ReadCloser.Read(p)
}

// OpenGates takes the gates off the body of a request. enter passes them all, the
// first one first.
func OpenGates(r *http.Request) (enter func() error) {
	var gates []*Gate
	for {
		g, ok := r.Body.(*Gate)
		if !ok {
			break
		}
		gates = append(gates, g)
		r.Body = g.ReadCloser
	}
	return func() error {
		for _, g := range slices.Backward(gates) {
			if err := g.Enter(); err != nil {
				return err
			}
		}
		return nil
	}
}
