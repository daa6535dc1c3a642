package provider

import (
	"unicode/utf16"
	"unicode/utf8"
)

// maxScanDepth is the deepest nesting of values that are skipped.
const maxScanDepth = 32

// is consumes the next byte if it is c.
func (p *scan) is(c byte) bool {
	if p.i < len(p.b) && p.b[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *scan) literal(s string) bool {
	if len(p.b)-p.i >= len(s) && string(p.b[p.i:p.i+len(s)]) == s {
		p.i += len(s)
		return true
	}
	return false
}

func (p *scan) space() {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\t') {
		p.i++
	}
}

// until returns the index of the next quote, backslash or control character of a
// string.
func (p *scan) until() int {
	i := p.i
	for i < len(p.b) && stringBytes[p.b[i]] {
		i++
	}
	return i
}

// stringBytes has true for each byte that needs no escape in a string.
var stringBytes = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return plain
}()

// plain consumes a string without escapes, and returns its value.
func (p *scan) plain() ([]byte, bool) {
	if !p.is('"') {
		return nil, false
	}
	end := p.until()
	s := p.b[p.i:end]
	p.i = end
	return s, p.is('"')
}

// string consumes a string, and returns its value, valid until the next call.
func (p *scan) string() ([]byte, bool) {
	if !p.is('"') {
		return nil, false
	}
	end := p.until()
	if end < len(p.b) && p.b[end] == '"' {
		s := p.b[p.i:end]
		p.i = end + 1
		return s, true
	}
	text := p.s.text[:0]
	for {
		end = p.until()
		text = append(text, p.b[p.i:end]...)
		p.i = end
		if p.is('"') {
			p.s.text = text
			return text, true
		}
		var ok bool
		if text, ok = p.escape(text); !ok {
			return nil, false
		}
	}
}

// escape consumes one escape, and appends the character. Half a surrogate pair is
// not regular.
func (p *scan) escape(text []byte) ([]byte, bool) {
	if !p.is('\\') || p.i == len(p.b) {
		return nil, false
	}
	c := p.b[p.i]
	p.i++
	switch c {
	case '"', '\\', '/':
		return append(text, c), true
	case 'b':
		return append(text, '\b'), true
	case 'f':
		return append(text, '\f'), true
	case 'n':
		return append(text, '\n'), true
	case 'r':
		return append(text, '\r'), true
	case 't':
		return append(text, '\t'), true
	case 'u':
		r, ok := p.hex4()
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if p.literal(`\u`) {
				low, _ = p.hex4()
			}
			r = utf16.DecodeRune(r, low)
			ok = ok && r != utf8.RuneError
		}
		return utf8.AppendRune(text, r), ok
	}
	return nil, false
}

// hex4 consumes four hexadecimal digits.
func (p *scan) hex4() (r rune, ok bool) {
	if len(p.b)-p.i < 4 {
		return 0, false
	}
	for _, c := range p.b[p.i : p.i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	p.i += 4
	return r, true
}

// skip consumes any value.
func (p *scan) skip(depth int) bool {
	if p.i == len(p.b) || depth == 0 {
		return false
	}
	switch p.b[p.i] {
	case '"':
		return p.skipString()
	case '{':
		return p.skipAll('{', '}', depth, true)
	case '[':
		return p.skipAll('[', ']', depth, false)
	case 't':
		return p.literal("true")
	case 'f':
		return p.literal("false")
	case 'n':
		return p.literal("null")
	}
	return p.number()
}

// skipAll consumes an object or a list.
func (p *scan) skipAll(open, end byte, depth int, named bool) bool {
	p.is(open)
	p.space()
	if p.is(end) {
		return true
	}
	for {
		if named {
			if !p.skipString() {
				return false
			}
			p.space()
			if !p.is(':') {
				return false
			}
			p.space()
		}
		if !p.skip(depth - 1) {
			return false
		}
		p.space()
		if p.is(end) {
			return true
		}
		if !p.is(',') {
			return false
		}
		p.space()
	}
}

func (p *scan) skipString() bool {
	if !p.is('"') {
		return false
	}
	var discard [utf8.UTFMax]byte
	for {
		p.i = p.until()
		if p.is('"') {
			return true
		}
		if _, ok := p.escape(discard[:0]); !ok {
			return false
		}
	}
}

func (p *scan) number() bool {
	p.is('-')
	if !p.is('0') && !p.digits() {
		return false
	}
	if p.is('.') && !p.digits() {
		return false
	}
	if p.is('e') || p.is('E') {
		if !p.is('+') {
			p.is('-')
		}
		return p.digits()
	}
	return true
}

// digits consumes at least one digit.
func (p *scan) digits() bool {
	begin := p.i
	for p.i < len(p.b) && '0' <= p.b[p.i] && p.b[p.i] <= '9' {
		p.i++
	}
	return p.i > begin
}
