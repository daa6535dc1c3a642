package browser

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// relay is a network between the browser and Caddy. A connection that it loses is
// not closed: no byte passes any more, and neither end hears of it.
type relay struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	lost  loss
	conns []*relayed
}

// loss is which bytes are lost.
type loss int32

const (
	nothing loss = iota
	answers
	everything
)

// relayed is a connection through a relay.
type relayed struct {
	browser, caddy net.Conn
	lost           atomic.Int32
}

// newRelay starts a relay to c. The page is at its URL.
func newRelay(t testing.TB, c *harness.Caddy) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, to: strings.TrimPrefix(c.URL, "http://")}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.sever()
		running.Wait()
	})
	return r
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

// lose loses bytes of all connections, also of those that begin later.
func (r *relay) lose(l loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = l
	for _, c := range r.conns {
		c.lost.Store(int32(l))
	}
}

// recover lets new connections pass. Those that have lost bytes stay dead.
func (r *relay) recover() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = nothing
}

// sever closes all connections.
func (r *relay) sever() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.browser.Close()
		c.caddy.Close()
	}
}

func (r *relay) serve(browser net.Conn) {
	caddy, err := net.Dial("tcp", r.to)
	if err != nil {
		browser.Close()
		return
	}
	c := &relayed{browser: browser, caddy: caddy}
	r.mu.Lock()
	c.lost.Store(int32(r.lost))
	r.conns = append(r.conns, c)
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { c.pass(caddy, browser, everything) })
	both.Go(func() { c.pass(browser, caddy, answers) })
	both.Wait()
}

// pass copies bytes until those of this kind are lost.
func (c *relayed) pass(to, from net.Conn, kind loss) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		dead := loss(c.lost.Load()) >= kind
		if err != nil {
			if !dead {
				to.Close()
			}
			return
		}
		if dead {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
