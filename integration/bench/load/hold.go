package load

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Held is a set of open streams.
type Held struct {
	conns []*conn
}

// unreadLen is the receive buffer of a client that does not read.
const unreadLen = 4 << 10

// opening is how many streams are opened at once.
const opening = 16

// Hold opens n streams and reads only the first word of each.
func Hold(ctx context.Context, addr string, req *Request, n int) (*Held, error) {
	h := &Held{conns: make([]*conn, n)}
	errs := make([]error, opening)
	var wg sync.WaitGroup
	for worker := range opening {
		wg.Go(func() {
			req := req.clone()
			for i := worker; i < n && errs[worker] == nil; i += opening {
				req.number(int64(i))
				h.conns[i], errs[worker] = open(ctx, addr, req)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// open begins a stream and reads until its first word.
func open(ctx context.Context, addr string, req *Request) (*conn, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	// A small buffer takes in little of an endless stream.
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(unreadLen); err != nil {
		return c, err
	}
	if err := c.send(req); err != nil {
		return c, err
	}
	_, err = c.header()
	for err == nil && c.read.words == 0 {
		_, err = c.r.Peek(1)
		part, _ := c.r.Peek(c.r.Buffered())
		c.note(part)
		_, _ = c.r.Discard(len(part))
	}
	return c, err
}

// Close closes the connections, as clients do that leave.
func (h *Held) Close() {
	for _, c := range h.conns {
		if c != nil {
			c.Close()
		}
	}
}
