package provider

import "bytes"

const (
	// maxKept is how many bytes of a string an Abridger keeps.
	maxKept = 32 << 10

	// maxAbridged is the largest document that an Abridger keeps.
	maxAbridged = 1 << 20
)

// Abridger keeps a JSON document that passes by, but of long strings only the
// beginning: an image of many megabytes is not held for the sake of the usage
// behind it. The zero value is ready to use.
type Abridger struct {
	doc     []byte
	depth   int
	kept    int // of the string that is read
	string  bool
	escape  bool // the last byte of the string was a backslash
	cut     bool // no more of the string is kept
	dropped int  // bytes of all strings
	begun   bool
	over    bool // the document is too large to be kept
}

// Write implements io.Writer. It never fails.
func (a *Abridger) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := a.between
		if a.string {
			n = a.within
		}
		rest = rest[n(rest):]
	}
	return len(p), nil
}

// between takes bytes up to the next string, and returns how many.
func (a *Abridger) between(p []byte) int {
	for i, c := range p {
		switch c {
		case '{', '[':
			a.depth++
			a.begun = true
		case '}', ']':
			a.depth--
		case '"':
			a.string, a.kept, a.cut = true, 0, false
			a.keep(p[:i+1])
			return i + 1
		}
	}
	a.keep(p)
	return len(p)
}

// within takes bytes of a string, and returns how many.
func (a *Abridger) within(p []byte) int {
	if a.escape {
		a.escape = false
		a.text(p[:1])
		return 1
	}
	end := bytes.IndexAny(p, `"\`)
	switch {
	case end < 0:
		a.text(p)
		return len(p)
	case end > 0:
		a.text(p[:end])
		return end
	case p[0] == '"':
		a.string = false
		a.keep(p[:1])
		return 1
	}
	// what is escaped is kept with its backslash
	a.cut = a.cut || a.kept+len(`\n`) > maxKept
	a.escape = true
	a.text(p[:1])
	return 1
}

// text keeps a part of a string, as far as the string is not too long.
func (a *Abridger) text(p []byte) {
	n := len(p)
	if a.cut {
		n = 0
	}
	n = min(n, maxKept-a.kept)
	a.cut = n < len(p)
	a.kept += n
	a.dropped += len(p) - n
	a.keep(p[:n])
}

func (a *Abridger) keep(p []byte) {
	if a.over = a.over || len(a.doc)+len(p) > maxAbridged; !a.over {
		a.doc = append(a.doc, p...)
	}
}

// Kept returns what is kept so far. It is valid until more is written.
func (a *Abridger) Kept() []byte { return a.doc }

// Whole reports whether a document has passed to its end.
func (a *Abridger) Whole() bool { return a.begun && a.depth == 0 && !a.string }

// Facts returns what the gateway needs to know of the document, and makes the
// Abridger ready for the next one. Of a document that is too large even without its
// long strings nothing is known.
func (a *Abridger) Facts() Facts {
	var f Facts
	if !a.over {
		f = ParseRelayed(a.doc)
	}
	if f.OutputBytes > 0 {
		f.OutputBytes += a.dropped
	}
	*a = Abridger{doc: a.doc[:0]}
	return f
}
