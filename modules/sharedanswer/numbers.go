package sharedanswer

import (
	"bytes"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// CompletionsPath is the path of chat completions.
const CompletionsPath = "/v1/chat/completions"

// TurnOf returns the turn that a clean path names, such as
// /v1/chat/completions/<turn>, and whether it names one.
func TurnOf(path string) (turn string, ok bool) {
	turn, ok = strings.CutPrefix(path, CompletionsPath+"/")
	const length = 36 // uuid.Parse also accepts other forms
	if !ok || len(turn) != length {
		return "", false
	}
	return turn, uuid.Validate(turn) == nil
}

// EventID returns the id of a turn's event.
func EventID(turn string, n int) string { return turn + ":" + strconv.Itoa(n) }

// numberOf returns the number in an id; one without an id is after all others.
func numberOf(id string) int {
	_, num, _ := strings.Cut(id, ":")
	n, err := strconv.Atoi(num)
	if err != nil {
		return math.MaxInt
	}
	return n
}

// lastNumber returns the number of the last event in a part of a turn's stream; 0 if they
// have none.
func lastNumber(events []byte, turn string) int {
	name := []byte("id: " + turn + ":")
	i := bytes.LastIndex(events, name)
	if i < 0 {
		return 0
	}
	num, _, _ := bytes.Cut(events[i+len(name):], []byte("\n"))
	n, _ := strconv.Atoi(string(num))
	return n
}

// LastSeen returns the number of the turn's event that the client saw last, 0 if it
// names none. The header wins: an EventSource that reconnects sends it with the
// address of its first connection.
func LastSeen(r *http.Request, turn string) (n int, err error) {
	name := "Last-Event-ID"
	id := r.Header.Get(name)
	if id == "" {
		name, id = "after", r.URL.Query().Get("after")
	}
	if id == "" {
		return 0, nil
	}
	of, num, _ := strings.Cut(id, ":")
	n, err = strconv.Atoi(num)
	if of != turn || err != nil || n < 0 {
		return 0, apierror.InvalidRequest(name, "want the id of an event of this answer, <turn>:<n>")
	}
	return n, nil
}

// numbers gives the events of a stream their ids.
type numbers struct {
	turn string
	n    int    // events so far
	buf  []byte // scratch
}

var blank = []byte("\n\n")

// next returns the id of the next event.
func (m *numbers) next() string {
	m.n++
	return EventID(m.turn, m.n)
}

// add returns events with their ids. p has whole events, and comments between
// them. The result is valid until the next call.
func (m *numbers) add(p []byte) []byte {
	m.buf = sse.Reuse(m.buf)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		if p[0] != ':' {
			m.n++
			m.buf = append(append(append(m.buf, "id: "...), m.turn...), ':')
			m.buf = append(strconv.AppendInt(m.buf, int64(m.n), 10), '\n')
			if end = bytes.Index(p, blank); end >= 0 {
				end += len(blank)
			}
		}
		if end <= 0 {
			end = len(p)
		}
		m.buf = append(m.buf, p[:end]...)
		p = p[end:]
	}
	return m.buf
}

// seen skips the part of a stream that a client has seen.
type seen struct {
	id   string // of the last event that it has seen; empty for none
	over bool   // that event was passed
}

// rest returns what the client has not seen of a part of the stream, which has
// whole events.
func (s *seen) rest(p []byte) []byte {
	if s.over || s.id == "" {
		return p
	}
	line := []byte("id: " + s.id + "\n") // JSON has no line ends, so no data has this line
	_, rest, found := bytes.Cut(p, line)
	if !found {
		return nil
	}
	s.over = true
	_, rest, _ = bytes.Cut(rest, blank)
	return rest
}

// frameWithID returns the event that reports a failure with an id, unless that is
// empty.
func frameWithID(id string, frame []byte) []byte {
	if id == "" {
		return frame
	}
	return append([]byte("id: "+id+"\n"), frame...)
}
