package sse

import (
	"errors"
	"io"
)

const (
	// readSize is how many bytes are asked for, and minRead how many at least:
	// a chunk of a model's answer has a few hundred, and net/http's transport
	// reads 4 KiB at a time. Every open stream holds this much.
	readSize = 4 << 10
	minRead  = 1 << 10

	// maxEmptyReads is how often a reader may return neither bytes nor an error
	// before it counts as broken. It is bufio's number.
	maxEmptyReads = 100
)

// Decoder reads events from a stream. It is not safe for concurrent use.
type Decoder struct {
	r   io.Reader
	p   *Parser
	err error // what the reader ended with
}

// NewDecoder returns a decoder of r. A line, and the data of an event, may have
// at most maxEvent bytes; 0 or less stands for 16 MiB.
func NewDecoder(r io.Reader, maxEvent int) *Decoder {
	return &Decoder{r: r, p: NewParser(maxEvent)}
}

// KeepRaw has events carry their bytes as they were sent. The Raw of all events,
// one after the other, is the stream, but for a byte order mark at its beginning and
// comments behind the last event. Call it before Next.
func (d *Decoder) KeepRaw() { d.p.raw = true }

// Next returns the next event as soon as its bytes have been read, and io.EOF
// after the last one. It returns an event whose blank line is missing at the
// end of the stream, see Parser.Flush. If reading fails it drops such an event
// and returns the reader's error. The event's Data and Raw are valid until
// the next call.
func (d *Decoder) Next() (Event, error) {
	for {
		ev, ok, err := d.p.Next()
		if err != nil {
			return Event{}, err
		}
		if ok {
			return ev, nil
		}
		if d.err == nil {
			d.fill()
			continue
		}
		if errors.Is(d.err, io.EOF) {
			if ev, ok, err = d.p.Flush(); err != nil {
				return Event{}, err
			}
			if ok {
				return ev, nil
			}
		}
		return Event{}, d.err
	}
}

// fill reads once. An error waits until the events before it have been
// returned.
func (d *Decoder) fill() {
	for range maxEmptyReads {
		n, err := d.p.read(d.r)
		d.err = err
		if n > 0 || err != nil {
			return
		}
	}
	d.err = io.ErrNoProgress
}
