package providertest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Replay is a server that gives one answer to every request, in a chosen
// manner.
type Replay struct {
	URL string

	mu       sync.Mutex
	status   int
	header   http.Header
	body     []byte
	manner   Manner
	requests []*http.Request
	bodies   [][]byte
	hanging  chan struct{} // one for each answer that hangs
	left     chan struct{} // one for each of these whose client has left
}

// Manner is how an answer is sent.
type Manner int

const (
	// Whole sends it in one piece.
	Whole Manner = iota

	// Bytes flushes small pieces, down to single bytes, which end within lines
	// and characters.
	Bytes

	// Reset breaks the connection in place of the end.
	Reset

	// Hang sends it and then nothing more, until the client goes away.
	Hang

	// Silent sends nothing at all, until the client goes away.
	Silent
)

// NewReplay starts a server that lasts as long as the test.
func NewReplay(t testing.TB) *Replay {
	t.Helper()
	r := &Replay{status: http.StatusOK, hanging: make(chan struct{}, 1), left: make(chan struct{}, 64)}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.URL = srv.URL
	return r
}

// Answer sets the answer.
func (r *Replay) Answer(status int, header http.Header, body []byte, manner Manner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.header, r.body, r.manner = status, header, body, manner
}

// Requests returns the requests so far, and their bodies.
func (r *Replay) Requests() ([]*http.Request, [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests, r.bodies
}

// forget forgets the requests so far.
func (r *Replay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.bodies = nil, nil
}

// ServeHTTP gives the answer.
func (r *Replay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	asked, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.requests = append(r.requests, req)
	r.bodies = append(r.bodies, asked)
	status, body, manner := r.status, r.body, r.manner
	for name, values := range r.header {
		// The server frames its answer itself.
		if name = http.CanonicalHeaderKey(name); name != "Transfer-Encoding" && name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	r.mu.Unlock()

	if manner == Silent {
		r.hang(req)
		return
	}
	w.WriteHeader(status)
	rc := http.NewResponseController(w)
	switch manner {
	case Bytes:
		for piece := range pieces(body) {
			w.Write(piece)
			rc.Flush()
		}
	case Reset:
		w.Write(body)
		rc.Flush()
		reset(rc)
	case Hang:
		w.Write(body)
		rc.Flush()
		r.hang(req)
	default:
		w.Write(body)
	}
}

// hang waits for the client to leave. Not every test listens to its signals.
func (r *Replay) hang(req *http.Request) {
	tell(r.hanging)
	<-req.Context().Done()
	tell(r.left)
}

func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reset breaks a connection like a server that crashes.
func reset(rc *http.ResponseController) {
	conn, _, err := rc.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // drops unread data and sends no FIN
	}
	conn.Close()
}

// pieces are single bytes, unless that would take too many writes.
func pieces(body []byte) func(func([]byte) bool) {
	size := 1 + len(body)/4000
	return func(yield func([]byte) bool) {
		for len(body) > 0 {
			n := min(size, len(body))
			if !yield(body[:n]) {
				return
			}
			body = body[n:]
		}
	}
}

// boundaries returns the places in a stream where an event ends, or a line if
// lines are the events. Of a long stream it returns the first and last ones,
// and some in between.
func boundaries(body []byte, lines bool) []int {
	var all []int
	for i := 1; i < len(body); i++ {
		if body[i] == '\n' && (lines || body[i-1] == '\n' || bytes.HasSuffix(body[:i], []byte("\n\r"))) {
			all = append(all, i+1)
		}
	}
	const edge = 12
	if len(all) <= 4*edge {
		return all
	}
	some := append([]int(nil), all[:edge]...)
	for i := edge; i < len(all)-edge; i += len(all) / edge {
		some = append(some, all[i])
	}
	return append(some, all[len(all)-edge:]...)
}
