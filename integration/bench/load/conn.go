// Package load makes the requests of the benchmark. It implements HTTP/1.1 itself,
// because the client takes CPU time from the proxy.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/replay"
)

// conn is a keep-alive connection.
type conn struct {
	net.Conn
	r    *bufio.Reader
	read answer    // the answer that is being read
	tail []byte    // the last bytes read
	from time.Time // times of words before this are not kept
	most int       // words that count; 0 for all
}

// answer is what is known of one answer.
type answer struct {
	words int
	first time.Time       // when the first word arrived
	lags  []time.Duration // from the sending of a word to its arrival
}

func dial(ctx context.Context, addr string) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 16<<10)}, nil
}

func dialAll(ctx context.Context, addr string, n int) ([]*conn, error) {
	conns := make([]*conn, 0, n)
	for range n {
		c, err := dial(ctx, addr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.Close()
	}
}

// do makes a request and reads the whole answer, which is valid until the next.
func (c *conn) do(req *Request) (answer, error) {
	if err := c.send(req); err != nil {
		return answer{}, err
	}
	if err := c.body(); err != nil {
		return answer{}, err
	}
	return c.read, req.check(c.read, c.tail)
}

func (c *conn) send(req *Request) error {
	c.read = answer{lags: c.read.lags[:0]}
	c.tail, c.most = c.tail[:0], req.most()
	_, err := c.Write(req.wire)
	return err
}

// body reads an answer's header and body.
func (c *conn) body() error {
	length, err := c.header()
	if err != nil {
		return err
	}
	if length >= 0 {
		return c.take(length)
	}
	for {
		size, err := c.chunkSize()
		if err != nil {
			return err
		}
		if err := c.take(size); err != nil {
			return err
		}
		if _, err := c.r.Discard(2); err != nil { // the line end after a chunk
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

// header reads the header of an answer. The length is -1 for a chunked body.
func (c *conn) header() (length int, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	status := string(bytes.TrimSpace(line))
	length = -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	if status == "HTTP/1.1 200 OK" {
		return length, nil
	}
	body := make([]byte, max(0, length))
	_, err = io.ReadFull(c.r, body)
	return 0, errors.Join(fmt.Errorf("%s: %s", status, body), err)
}

func (c *conn) chunkSize() (int, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
	return int(size), err
}

// take reads n bytes of a body as they arrive.
func (c *conn) take(n int) error {
	for n > 0 {
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
		part, err := c.r.Peek(min(n, c.r.Buffered()))
		if err != nil {
			return err
		}
		c.note(part)
		n -= len(part)
		if _, err := c.r.Discard(len(part)); err != nil {
			return err
		}
	}
	return nil
}

// tailLen is enough for the last event of a stream, and a document's end.
const tailLen = 512

// note examines a part of a body that has just arrived.
func (c *conn) note(part []byte) {
	end := part[max(0, len(part)-tailLen):]
	kept := c.tail[min(len(c.tail), max(0, len(c.tail)+len(end)-tailLen)):]
	c.tail = append(c.tail[:copy(c.tail, kept)], end...)

	words := bytes.Count(part, []byte(replay.Mark))
	if c.most > 0 {
		words = min(words, c.most-c.read.words)
	}
	if words == 0 {
		return
	}
	now := time.Now()
	if c.read.words == 0 {
		c.read.first = now
	}
	c.read.words += words
	for ; words > 0; words-- {
		_, part, _ = bytes.Cut(part, []byte(replay.Mark))
		if sent, ok := stamp(part); ok && sent.After(c.from) {
			c.read.lags = append(c.read.lags, now.Sub(sent))
		}
	}
}

// stamp reads the send time at the beginning of a part. A document has none, and
// a word split over two parts is not needed.
func stamp(part []byte) (time.Time, bool) {
	if len(part) < replay.StampLen {
		return time.Time{}, false
	}
	var ns int64
	for _, digit := range part[:replay.StampLen] {
		if digit < '0' || digit > '9' {
			return time.Time{}, false
		}
		ns = ns*10 + int64(digit-'0')
	}
	return time.Unix(0, ns), true
}
