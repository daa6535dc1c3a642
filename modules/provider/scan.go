package provider

import "unicode/utf8"

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
// have a finish reason, but none that says that the answer failed. ok is false for
// any other chunk, such as one with a tool call, a usage, a second choice, an
// escape in a name, twice a name that Scan uses, invalid UTF-8 or invalid JSON.
// Those are for ParseChunk. The result does not refer to raw.
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
	c.Choices = 1
	c.Content = c.OutputBytes > 0
	c.Plain = !p.more
	return c, true
}

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
		p.out.FinishReason, p.out.Finishes = string(reason), 1
		return ok && isFinish(p.out.FinishReason)
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
		return p.thought(m)
	}
	return false
}

// thought consumes reasoning. Servers may send the same reasoning under two names:
// the first one is returned, and the longest one counted.
func (p *scan) thought(m member) bool {
	p.more = true
	text, ok := p.string()
	if !ok {
		return false
	}
	if p.out.Reasoning == "" {
		p.out.Reasoning, p.out.ReasoningIn = string(text), reasoningName(m)
	} else {
		p.out.More = true
	}
	if more := len(text) - p.reasoning; more > 0 {
		p.reasoning += more
		p.out.OutputBytes += more
	}
	return true
}

func reasoningName(m member) string {
	switch m {
	case memberReasoning:
		return "reasoning_content"
	case memberReasoningShort:
		return "reasoning"
	case memberReasoningText:
		return "reasoning_text"
	}
	return "thinking"
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
