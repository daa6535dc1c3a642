package provider

import (
	"unicode/utf16"
	"unicode/utf8"
)

// Scanner parses the chunks of one stream, each in a single validating pass. It
// keeps what the chunks of a stream repeat, so that only the text of a chunk is
// allocated. The zero Scanner is ready to use. It is not safe for concurrent use.
type Scanner struct {
	id, model string
	text      []byte // scratch for text with escapes
	pass      scan   // a field, because a local one in Scan would be allocated
}

// Scanned is what Scan returns of a regular chunk.
type Scanned struct {
	Facts
	ID   string
	Role bool // the delta has a role

	// Plain says that the chunk adds only text to the answer. Everything else
	// in it is what all chunks of a stream repeat.
	Plain bool

	// UsageFrom and UsageTo are the bounds of a "usage":null in the chunk,
	// including one comma: without these bytes the chunk is still valid JSON.
	// Both are 0 if there is none.
	UsageFrom, UsageTo int
}

// Scan parses a regular chunk: a chat.completion.chunk with one choice, index 0,
// without an error, and with only text, reasoning and a role in its delta. It may
// have a finish reason. ok is false for any other chunk, such as one with a tool
// call, a usage, a second choice, an escape in a name, twice a name that Scan
// uses, invalid UTF-8 or invalid JSON. Those are for ParseChunk. The result does
// not refer to raw.
func (s *Scanner) Scan(raw []byte) (c Scanned, ok bool) {
	if !utf8.Valid(raw) {
		return Scanned{}, false
	}
	p := &s.pass
	*p = scan{b: raw, s: s}
	ok = p.members((*scan).root) && p.i == len(raw) && p.object && p.delta
	c = p.out
	p.b, p.out = nil, Scanned{} // keep nothing of this chunk alive
	if !ok {
		return Scanned{}, false
	}
	c.Choices = true
	c.Content = c.OutputBytes > 0
	c.Plain = !p.more
	return c, true
}

// maxScanDepth is the deepest nesting of values that are skipped.
const maxScanDepth = 32

// scan is one pass over a chunk. Its methods consume a part of the chunk, and
// return false if the chunk is not regular. A line break between tokens is not
// regular, because a chunk must be on one line.
type scan struct {
	b   []byte
	i   int
	s   *Scanner
	out Scanned

	reasoning int  // bytes of the longest reasoning
	object    bool // the object member is chat.completion.chunk
	delta     bool // the choice has a delta
	more      bool // the chunk is not plain, see Scanned.Plain
}

// member is a set of the names that Scan knows, one bit each.
type member uint32

const (
	memberID member = 1 << iota
	memberObject
	memberModel
	memberChoices
	memberUsage
	memberIndex
	memberDelta
	memberFinish
	memberRole
	memberContent
	memberReasoning             // reasoning_content
	memberReasoningShort        // reasoning
	memberReasoningText         // reasoning_text
	memberThinking              // thinking
	memberRepeated              // what all chunks of a stream repeat
	memberForbidden             // what makes a chunk irregular anywhere
	memberUnknown        member = 0
)

func memberOf(name []byte) member {
	switch string(name) {
	case "id":
		return memberID
	case "object":
		return memberObject
	case "model":
		return memberModel
	case "choices":
		return memberChoices
	case "usage":
		return memberUsage
	case "index":
		return memberIndex
	case "delta":
		return memberDelta
	case "finish_reason":
		return memberFinish
	case "role":
		return memberRole
	case "content":
		return memberContent
	case "reasoning_content":
		return memberReasoning
	case "reasoning":
		return memberReasoningShort
	case "reasoning_text":
		return memberReasoningText
	case "thinking":
		return memberThinking
	case "created", "system_fingerprint", "service_tier", "obfuscation":
		return memberRepeated
	case "error", "errors", "type", "message", "x_groq":
		return memberForbidden
	}
	return memberUnknown
}

// members consumes an object, and calls value to consume the value of each member.
// begin is the index of the comma before the member or, for the first one, of
// its name.
func (p *scan) members(value func(p *scan, m member, begin int) bool) bool {
	if !p.is('{') {
		return false
	}
	p.space()
	if p.is('}') {
		return true
	}
	var seen member
	begin := p.i
	for {
		name, ok := p.plain()
		if !ok {
			return false
		}
		m := memberOf(name)
		if seen&m&^memberRepeated != 0 {
			return false
		}
		seen |= m
		p.space()
		if !p.is(':') {
			return false
		}
		p.space()
		if !value(p, m, begin) {
			return false
		}
		p.space()
		if p.is('}') {
			return true
		}
		begin = p.i
		if !p.is(',') {
			return false
		}
		p.space()
	}
}

func (p *scan) root(m member, begin int) bool {
	switch m {
	case memberID:
		id, ok := p.plain()
		p.out.ID = p.s.repeated(&p.s.id, id)
		return ok
	case memberModel:
		model, ok := p.plain()
		p.out.Model = p.s.repeated(&p.s.model, model)
		return ok
	case memberObject:
		name, ok := p.plain()
		p.object = string(name) == "chat.completion.chunk"
		return ok && p.object
	case memberChoices:
		return p.choices()
	case memberUsage:
		return p.noUsage(begin)
	case memberForbidden:
		return false
	case memberRepeated:
		return p.skip(maxScanDepth)
	}
	return p.other()
}

// other consumes the value of a member that Scan does not know.
func (p *scan) other() bool {
	if p.literal("null") {
		return true
	}
	p.more = true
	return p.skip(maxScanDepth)
}

// noUsage consumes a usage of null, and records the bounds of the member.
func (p *scan) noUsage(begin int) bool {
	if !p.literal("null") {
		return false
	}
	p.out.UsageFrom, p.out.UsageTo = begin, p.i
	if p.b[begin] == ',' {
		return true
	}
	// it is the first member: include the comma after it
	for i := p.i; i < len(p.b); i++ {
		switch p.b[i] {
		case ' ', '\t':
		case ',':
			p.out.UsageTo = i + 1
			return true
		default:
			return true
		}
	}
	return true
}

func (p *scan) choices() bool {
	if !p.is('[') {
		return false
	}
	p.space()
	if !p.members((*scan).choice) {
		return false
	}
	p.space()
	return p.is(']')
}

func (p *scan) choice(m member, _ int) bool {
	switch m {
	case memberIndex:
		return p.is('0') && (p.i == len(p.b) || p.b[p.i] == ',' || p.b[p.i] == '}' || p.b[p.i] == ' ')
	case memberFinish:
		if p.literal("null") {
			return true
		}
		reason, ok := p.plain()
		p.out.FinishReason = string(reason)
		return ok
	case memberDelta:
		p.delta = true
		return p.members((*scan).add)
	case memberForbidden:
		return false
	}
	return p.other()
}

const reasoningMembers = memberReasoning | memberReasoningShort | memberReasoningText | memberThinking

func (p *scan) add(m member, _ int) bool {
	switch {
	case p.empty():
		return true
	case m == memberRole:
		p.out.Role = true
		_, ok := p.plain()
		return ok
	case m == memberContent:
		text, ok := p.string()
		if !ok {
			return false
		}
		p.out.Text = string(text)
		p.out.OutputBytes += len(text)
		return true
	case m&reasoningMembers != 0:
		return p.thought()
	}
	return false
}

// thought consumes reasoning. Servers may send the same reasoning under two names:
// the first one is returned, and the longest one counted.
func (p *scan) thought() bool {
	p.more = true
	text, ok := p.string()
	if !ok {
		return false
	}
	if p.out.Reasoning == "" {
		p.out.Reasoning = string(text)
	}
	if more := len(text) - p.reasoning; more > 0 {
		p.reasoning += more
		p.out.OutputBytes += more
	}
	return true
}

// empty consumes a value without content: null, "" or [].
func (p *scan) empty() bool {
	return p.literal("null") || p.literal(`""`) || p.literal("[]")
}

// repeated returns b as a string. It reuses the last one if they are equal.
func (s *Scanner) repeated(last *string, b []byte) string {
	if *last != string(b) {
		*last = string(b)
	}
	return *last
}

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
