// Package sse reads and writes server-sent events. It knows nothing of HTTP or
// Caddy.
package sse

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// MaxEvent is how many bytes a line, or the data of an event, may have
// by default.
const MaxEvent = 16 << 20

const (
	// searchBlock is how many bytes are searched for LF and CR at a time. It
	// bounds how far the search for one runs past the other. Otherwise each of
	// many short lines would search all bytes.
	searchBlock = 512

	// keepComments is how many bytes of comments are kept for the Raw of the event
	// behind them.
	keepComments = 64 << 10

	// keepBuffer is the largest buffer, in bytes, that is kept for the next
	// event.
	keepBuffer = 1 << 20
)

// ErrTooLong says that a line, or the data of an event, exceeds the parser's
// limit.
var ErrTooLong = errors.New("sse: event is too long")

var bom = []byte("\xef\xbb\xbf")

// Event is one event, with its bytes as they were sent. A stream should be
// UTF-8, which is not checked.
type Event struct {
	// ID is the last event id. Later events keep it until another one is sent.
	ID string

	// Type is the event's name; empty if none was sent, which browsers call
	// "message".
	Type string

	// Data is the event's data lines, joined by LF. It may be empty.
	Data []byte

	// Raw is the event as it was sent, with the comments before it. It is empty
	// unless the decoder keeps it, see Decoder.KeepRaw.
	Raw []byte
}

// Parser splits a stream that is fed to it into events, as the WHATWG HTML
// standard says in "Interpreting an event stream"
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). An event
// comes out as soon as its blank line ends, whether with LF, CRLF or a lone CR.
// Comments and retry are ignored.
//
// After each Feed, call Next until there is nothing more, and at the end of the
// stream Flush. A Parser is not safe for concurrent use.
type Parser struct {
	max  int
	err  error
	buf  []byte
	pos  int // everything before it was parsed
	scan int // there is no line end between pos and here, so it is not searched again

	raw   bool // events have their Raw
	start int  // where the pending event begins, if raw

	started bool // the first line was parsed, and a byte order mark with it
	skipLF  bool // the last line ended with CR: an LF now belongs to it

	id, typ string
	typed   bool // typ belongs to the pending event, not to an earlier one
	data    []byte
	hasData bool // there was a data line, perhaps an empty one
	given   bool // data was returned; the next event starts afresh
}

// NewParser returns a parser. A line, and the data of an event, may have at
// most maxEvent bytes; 0 or less stands for 16 MiB.
func NewParser(maxEvent int) *Parser {
	if maxEvent <= 0 {
		maxEvent = MaxEvent
	}
	return &Parser{max: maxEvent}
}

// Feed adds bytes of the stream. It copies them, so the caller may reuse b. It
// invalidates the Data of the event that Next returned.
func (p *Parser) Feed(b []byte) {
	p.compact()
	p.buf = append(p.buf, b...)
}

// read reads once from r, straight into the parser's buffer, as Feed does.
func (p *Parser) read(r io.Reader) (int, error) {
	p.compact()
	if cap(p.buf)-len(p.buf) < minRead {
		p.buf = slices.Grow(p.buf, readSize)
	}
	n, err := r.Read(p.buf[len(p.buf):cap(p.buf)])
	p.buf = p.buf[:len(p.buf)+n]
	return n, err
}

// compact makes room for more bytes. The rest moves to the front only if it is
// no longer than what is done with, so that each byte is moved once on average.
func (p *Parser) compact() {
	done := p.pos
	if p.raw {
		done = p.start
	}
	rest := p.buf[done:]
	switch {
	case len(rest) == 0 && cap(p.buf) > keepBuffer:
		p.buf, p.pos, p.scan, p.start = nil, 0, 0, 0
	case len(rest) <= done:
		p.buf = append(p.buf[:0], rest...)
		p.scan -= done
		p.pos -= done
		p.start = 0
	}
}

// Next returns the next complete event, or false if more bytes are needed. Its
// Data is valid until the next call of any method. After an error, which is
// ErrTooLong, the parser cannot be used any more.
func (p *Parser) Next() (Event, bool, error) {
	p.reset()
	for p.err == nil {
		line, ok := p.line()
		if !ok {
			break
		}
		if len(line) > 0 {
			p.field(line)
			p.bound()
			continue
		}
		if ev, ok := p.dispatch(); ok {
			return ev, true, nil
		}
	}
	return Event{}, false, p.err
}

// Flush returns what is left at the end of the stream, event by event, and
// false once there is nothing. It returns the last event even if its blank line
// or its line end is missing. The standard would discard it, but some model
// servers close the connection right after their last data. A stream that was
// cut may therefore end with half an event.
func (p *Parser) Flush() (Event, bool, error) {
	if ev, ok, err := p.Next(); ok || err != nil {
		return ev, ok, err
	}
	line := p.buf[p.pos:]
	p.pos, p.scan = len(p.buf), len(p.buf)
	if line = p.trimBOM(line); len(line) > 0 {
		p.field(line)
	}
	if p.err != nil {
		return Event{}, false, p.err
	}
	ev, ok := p.dispatch()
	if len(ev.Raw) > 0 {
		ev.Raw = append(ev.Raw, "\n\n"...) // the blank line that is missing
	}
	return ev, ok, nil
}

// reset forgets the event that was returned.
func (p *Parser) reset() {
	if !p.given {
		return
	}
	p.given, p.hasData = false, false
	p.data = p.data[:0]
	if cap(p.data) > keepBuffer {
		p.data = nil
	}
}

// line returns the next complete line without its end.
func (p *Parser) line() ([]byte, bool) {
	p.restOfEnd()

	end := lineEnd(p.buf[p.scan:])
	if end < 0 {
		p.scan = len(p.buf)
		if p.scan-p.pos > p.max {
			p.err = ErrTooLong
		}
		return nil, false
	}

	end += p.scan
	line := p.buf[p.pos:end]
	if len(line) > p.max {
		p.err = ErrTooLong
		return nil, false
	}
	p.skipLF = p.buf[end] == '\r'
	p.pos, p.scan = end+1, end+1
	p.restOfEnd()
	return p.trimBOM(line), true
}

// restOfEnd skips the LF of a CRLF, if it has come already.
func (p *Parser) restOfEnd() {
	if !p.skipLF || p.pos == len(p.buf) {
		return
	}
	p.skipLF = false
	if p.buf[p.pos] == '\n' {
		p.pos++
		p.scan = p.pos
	}
}

// lineEnd returns the index of the first CR or LF in b, or -1.
func lineEnd(b []byte) int {
	for from := 0; from < len(b); from += searchBlock {
		block := b[from:min(from+searchBlock, len(b))]
		lf := bytes.IndexByte(block, '\n')
		if lf >= 0 {
			block = block[:lf]
		}
		if cr := bytes.IndexByte(block, '\r'); cr >= 0 {
			return from + cr
		}
		if lf >= 0 {
			return from + lf
		}
	}
	return -1
}

// trimBOM removes the byte order mark from the first line of the stream.
func (p *Parser) trimBOM(line []byte) []byte {
	if p.started {
		return line
	}
	p.started = true
	rest := bytes.TrimPrefix(line, bom)
	p.start += len(line) - len(rest)
	return rest
}

// field parses a line that is not blank.
func (p *Parser) field(line []byte) {
	if line[0] == ':' {
		return // a comment
	}

	name, value, _ := bytes.Cut(line, []byte{':'})
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}

	switch string(name) {
	case "data":
		p.addData(value)
	case "event":
		p.typed = true
		// Most streams repeat a few names; equal ones share one string.
		if p.typ != string(value) {
			p.typ = string(value)
		}
	case "id":
		if bytes.IndexByte(value, 0) < 0 && p.id != string(value) {
			p.id = string(value)
		}
	}
}

func (p *Parser) addData(value []byte) {
	if p.hasData {
		p.data = append(p.data, '\n')
	}
	if len(p.data)+len(value) > p.max {
		p.err = ErrTooLong
		return
	}
	p.hasData = true
	p.data = append(p.data, value...)
}

// dispatch ends the pending event. Without a data line there is none.
func (p *Parser) dispatch() (Event, bool) {
	ev := Event{ID: p.id, Data: p.data}
	if p.typed {
		ev.Type = p.typ
	}
	p.typed = false
	if !p.hasData {
		if p.pos-p.start > keepComments {
			p.start = p.pos
		}
		return Event{}, false
	}
	p.given = true
	if p.raw {
		ev.Raw = p.buf[p.start:p.pos]
		p.start = p.pos
	}
	return ev, true
}

// bound ends a stream whose event never does, because its lines are comments.
func (p *Parser) bound() {
	if p.raw && p.pos-p.start > keepComments+2*p.max {
		p.err = ErrTooLong
	}
}
