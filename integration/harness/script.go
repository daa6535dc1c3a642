package harness

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
)

// Script is how an upstream answers a call, or does a part of that.
type Script func(*Call)

// Call is one call of an upstream, as a script sees it.
type Call struct {
	Asked
	Wire // writes the answer
	W    http.ResponseWriter
	R    *http.Request
}

// Send writes parts of the answer, each at once. The answer is an event stream
// unless its Content-Type is set already.
func (c *Call) Send(parts ...string) {
	if c.W.Header().Get("Content-Type") == "" {
		c.W.Header().Set("Content-Type", "text/event-stream")
	}
	for _, p := range parts {
		_, _ = io.WriteString(c.W, p)
		_ = http.NewResponseController(c.W).Flush()
	}
}

// Serves answers with a handler.
func Serves(h http.Handler) Script {
	return func(c *Call) { h.ServeHTTP(c.W, c.R) }
}

// Steps runs scripts in sequence.
func Steps(list ...Script) Script {
	return func(c *Call) {
		for _, do := range list {
			do(c)
		}
	}
}

// ByModel runs the script that is listed for the requested model.
func ByModel(list map[string]Script) Script {
	return func(c *Call) {
		do, ok := list[c.Model]
		if !ok {
			do = Refuses(http.StatusNotFound, "no_such_model_in_the_script")
		}
		do(c)
	}
}

// Heads sets headers of the answer.
func Heads(header ...string) Script {
	return func(c *Call) {
		for i := 0; i+1 < len(header); i += 2 {
			c.W.Header().Set(header[i], header[i+1])
		}
	}
}

// Document answers with a status and a body.
func Document(status int, body string, header ...string) Script {
	return func(c *Call) {
		Heads(append([]string{"Content-Type", "application/json"}, header...)...)(c)
		c.W.WriteHeader(status)
		_, _ = io.WriteString(c.W, body)
	}
}

// Refuses answers with a status and OpenAI's error of that code.
func Refuses(status int, code string, header ...string) Script {
	return Document(status, fmt.Sprintf(`{"error":{"message":"upstream-words","type":"some_error","param":null,"code":%q}}`, code), header...)
}

// Says answers in full, with a chunk for each piece, and reports a usage.
func Says(in, out int, pieces ...string) Script {
	return func(c *Call) {
		if c.Streams() {
			c.Send(c.Whole(in, out, pieces...)...)
			return
		}
		Document(http.StatusOK, c.Wire.Document(in, out, strings.Join(pieces, "")))(c)
	}
}

// Replies answers in full with the text that fn returns for the request.
func Replies(fn func(Asked) string) Script {
	return func(c *Call) { Says(UpstreamTokensIn, UpstreamTokensOut, fn(c.Asked))(c) }
}

// Echoes answers every question with "re: " and the question.
func Echoes(c *Call) {
	Replies(func(a Asked) string { return "re: " + a.Question() })(c)
}

// AnswersAll answers with the sample answer, with another text.
func AnswersAll(text string) Script {
	return func(c *Call) {
		if c.Streams() {
			c.Send(Role, Content(text), Finished, Counted, EndMark)
			return
		}
		Document(http.StatusOK, strings.Replace(WholeAnswer, "Hello", text, 1))(c)
	}
}

// Knows always answers with the same text, one chunk per word. If the request
// ends with an assistant message that begins the text, it continues from there.
func Knows(in, out int, text string) Script {
	return func(c *Call) {
		rest := text
		if last := gjson.Get(c.Body, "messages|@reverse|0"); last.Get("role").Str == "assistant" {
			begun, ok := strings.CutPrefix(text, last.Get("content").Str)
			if !ok {
				begun = " That is not what I was going to say."
			}
			rest = begun
		}
		Says(in, out, strings.SplitAfter(rest, " ")...)(c)
	}
}

// Sends begins a stream and sends events, each at once.
func Sends(events ...string) Script {
	return func(c *Call) {
		HeaderOnly(c)
		c.Send(events...)
	}
}

// SendsOf streams the events that fn returns.
func SendsOf(fn func(Wire) []string) Script {
	return func(c *Call) { c.Send(fn(c.Wire)...) }
}

// Begins streams the beginning of an answer.
func Begins(pieces ...string) Script {
	return func(c *Call) {
		c.Send(c.Role())
		for _, p := range pieces {
			c.Send(c.Text(p))
		}
	}
}

// Runaway streams the last of several events for far longer than an answer may be, and counts
// the bytes that are taken of it.
func Runaway(taken *atomic.Int64, events ...string) Script {
	const most = 160 << 20
	return func(c *Call) {
		c.Send(events[:len(events)-1]...)
		event := events[len(events)-1]
		for taken.Load() < most && c.R.Context().Err() == nil {
			c.Send(event)
			taken.Add(int64(len(event)))
		}
	}
}

// HeaderOnly sends the header of a stream and nothing else.
func HeaderOnly(c *Call) { c.Send("") }

// HalfEvent breaks off within an event, and within a letter.
func HalfEvent(c *Call) {
	ev := c.Text("grün")
	c.Send(ev[:strings.Index(ev, "ü")+1])
}

// ErrorFrame reports a failure in the data of an event.
func ErrorFrame(c *Call) {
	c.Send("data: {\"error\":{\"message\":\"upstream-words\",\"type\":\"server_error\",\"code\":\"internal_error\"}}\n\n")
}

// ErrorEvent reports a failure by an event's type.
func ErrorEvent(c *Call) {
	c.Send("event: error\ndata: {\"message\":\"upstream-words\"}\n\n")
}

// EOF ends the answer in an orderly way, complete or not.
func EOF(*Call) {}

// TornOff closes the connection during the transfer.
func TornOff(*Call) { panic(http.ErrAbortHandler) }

// Reset ends the connection with an RST.
func Reset(c *Call) {
	conn, _, err := http.NewResponseController(c.W).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// Stalls does nothing until the caller gives up.
func Stalls(c *Call) { <-c.R.Context().Done() }

// Waits continues once ch is closed or has a value.
func Waits(ch <-chan struct{}) Script {
	return func(c *Call) {
		select {
		case <-ch:
		case <-c.R.Context().Done():
		}
	}
}

// Takes continues after some time, like a slow model.
func Takes(d time.Duration) Script {
	return func(c *Call) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.R.Context().Done():
		}
	}
}

// Trickles sends a stream one byte at a time, a byte for each value of pace, and
// the rest at once when pace is closed.
func Trickles(pace <-chan struct{}, fn func(Wire) []string) Script {
	return func(c *Call) {
		all := strings.Join(fn(c.Wire), "")
		for i := range len(all) {
			select {
			case <-pace:
				c.Send(all[i : i+1])
			case <-c.R.Context().Done():
				return
			}
		}
	}
}
