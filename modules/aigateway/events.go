package aigateway

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// maxJudged is how long an event may be, in bytes, to be held back and judged. A failure is
// shorter, and an image passes as it comes.
const maxJudged = 64 << 10

// eventJudge finds the failure that a provider tells in a stream of events that passes
// through: what it says of it may name keys and accounts. The zero value is ready to use.
type eventJudge struct {
	line  []byte // the beginning of the next one
	event []byte // the lines of an event so far
	long  bool   // the event is too long to be judged
	done  bool   // the end mark has come
}

// judge returns the whole events that may be sent with the next piece of the stream, and
// the failure behind them, or nil.
func (j *eventJudge) judge(piece []byte, ended bool) (out []byte, failure error) {
	seen := len(j.line) // has no end of a line
	j.line = append(j.line, piece...)
	text := j.line
	for len(text) > 0 {
		n := bytes.IndexAny(text[seen:], "\r\n") + 1
		if n == 0 {
			break
		}
		n += seen
		seen = 0
		if text[n-1] == '\r' && n < len(text) && text[n] == '\n' {
			n++
		}
		line := text[:n]
		text = text[n:]
		blank := len(bytes.TrimRight(line, "\r\n")) == 0
		if j.long {
			out = append(out, line...)
			j.long = !blank
			continue
		}
		j.event = append(j.event, line...)
		if !blank {
			continue
		}
		if out, failure = j.pass(out); failure != nil {
			return out, failure
		}
	}
	if ended {
		j.event = append(j.event, text...)
		return j.pass(out)
	}
	if j.long || len(j.event)+len(text) > maxJudged {
		out = append(append(out, j.event...), text...)
		j.event, j.line, j.long = nil, nil, true
		return out, nil
	}
	j.line = append(j.line[:0], text...)
	return out, nil
}

// pass appends the event to out, unless it is a failure.
func (j *eventJudge) pass(out []byte) ([]byte, error) {
	event := j.event
	j.event = nil
	if err := j.failureOf(event); err != nil {
		return out, err
	}
	return append(out, event...), nil
}

// failureOf returns the failure that an event tells, or nil.
func (j *eventJudge) failureOf(event []byte) error {
	p := sse.NewParser(0)
	p.Feed(event)
	ev, _, err := p.Flush()
	if err != nil {
		return provider.BadAnswer(err)
	}
	j.done = j.done || string(ev.Data) == provider.EndMark
	if strings.HasSuffix(ev.Type, "error") || tellsFailure(ev.Data) {
		return provider.NewError(0, ev.Data)
	}
	return nil
}

// firstFailure returns the failure with which a stream of events begins, or nil.
func firstFailure(head []byte, ended bool) error {
	var j eventJudge
	if sent, failure := j.judge(head, ended); len(sent) == 0 {
		return failure
	}
	return nil
}

// tellsFailure reports whether the data of an event says that the answer has failed, in
// any of the ways that are known.
func tellsFailure(data []byte) bool {
	if !bytes.Contains(data, []byte("error")) && !bytes.Contains(data, []byte("detail")) && !bytes.Contains(data, []byte("message")) {
		return false
	}
	if _, _, _, failed := provider.ErrorOf(data); failed {
		return true
	}
	return told(gjson.GetBytes(data, "response.error")) || told(gjson.GetBytes(data, "choices.0.error"))
}

func told(v gjson.Result) bool { return v.Exists() && v.Type != gjson.Null }

// beginsWithError reports whether the beginning of a JSON document is that of an error.
func beginsWithError(head []byte) bool {
	head = append(slices.Clip(head), `"}`...) // it may end within a string
	return told(gjson.GetBytes(head, "error")) || gjson.GetBytes(head, "object").Str == "error" ||
		told(gjson.GetBytes(head, "detail")) && !gjson.GetBytes(head, "data").Exists()
}

var errorName = []byte(`"error"`)

// failsLate reports whether a JSON document that passes by says in its new part that it has
// failed. It need not be whole: what is known of it ends within its last member.
func failsLate(doc []byte, from int, ended bool) bool {
	const value = len(` : null,`) // may be cut off
	at := max(0, from-len(errorName)-value)
	i := bytes.LastIndex(doc[at:], errorName)
	if i < 0 || !ended && len(doc) < at+i+len(errorName)+value {
		return false
	}
	e := gjson.GetBytes(append(slices.Clip(doc), `"}`...), "error")
	return e.IsObject() && !provider.IsEmpty(e) || e.Type == gjson.String && e.Str != ""
}
