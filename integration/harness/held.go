package harness

import (
	"strings"
	"testing"
	"time"
)

// HeldCall is a call of an upstream that the test controls from its own
// goroutine. Its methods return once the upstream has done what they ask for.
type HeldCall struct {
	Asked
	T    testing.TB
	Gone chan struct{} // closed when the caller has cancelled the call

	steps chan step
	acks  chan struct{}
	said  strings.Builder // the text of an answer that is not streamed
}

// step is a part of a held call's script.
type step struct {
	do   Script
	last bool
}

// Hold is the default script of an upstream: it hands the call to the test.
func (u *Upstream) Hold(c *Call) {
	h := &HeldCall{
		Asked: c.Asked,
		T:     u.t,
		Gone:  make(chan struct{}),
		steps: make(chan step),
		acks:  make(chan struct{}),
	}
	u.Calls <- h
	for {
		select {
		case s := <-h.steps:
			h.take(s, c)
			if s.last {
				return
			}
		case <-c.R.Context().Done():
			close(h.Gone)
			return
		}
	}
}

// take does a step. It acknowledges the step even when that breaks the
// connection with a panic.
func (h *HeldCall) take(s step, c *Call) {
	defer func() { h.acks <- struct{}{} }()
	s.do(c)
}

// Call waits for the next call. Its failures are those of the upstream's test.
func (u *Upstream) Call() *HeldCall {
	u.t.Helper()
	select {
	case c := <-u.Calls:
		c.T = u.t
		return c
	case <-time.After(Patience):
		u.t.Fatal("the upstream is not called")
		return nil
	}
}

// WantNoCall checks that no call waits for the test.
func (u *Upstream) WantNoCall(t testing.TB) {
	t.Helper()
	select {
	case c := <-u.Calls:
		t.Errorf("the upstream was called: %s", c.Body)
	default:
	}
}

// Try does a part of the answer, and reports false if the caller has left.
func (h *HeldCall) Try(do Script) bool { return h.try(step{do: do}) }

func (h *HeldCall) try(s step) bool {
	h.T.Helper()
	select {
	case h.steps <- s:
		<-h.acks
		return true
	case <-h.Gone:
		return false
	case <-time.After(Patience):
		h.T.Fatal("the upstream has ended the call")
		return false
	}
}

// Do does a part of the answer.
func (h *HeldCall) Do(do Script) {
	h.T.Helper()
	if !h.try(step{do: do}) {
		h.T.Fatal("the caller has left")
	}
}

// End does the rest of the answer.
func (h *HeldCall) End(do Script) {
	h.T.Helper()
	if !h.try(step{do, true}) {
		h.T.Fatal("the caller has left")
	}
}

// Send sends parts of a stream unchanged, each at once.
func (h *HeldCall) Send(parts ...string) {
	h.T.Helper()
	h.Do(Sends(parts...))
}

// Write sends bytes unchanged and at once. The first ones begin the answer.
func (h *HeldCall) Write(contentType, text string) {
	h.T.Helper()
	h.Do(func(c *Call) {
		c.W.Header().Set("Content-Type", contentType)
		c.W.Header().Set("X-Upstream", "kept")
		c.Send(text)
	})
}

// Event sends events of a stream, each at once.
func (h *HeldCall) Event(data ...string) {
	h.T.Helper()
	for _, d := range data {
		h.Write("text/event-stream", "data: "+d+"\n\n")
	}
}

// Stream sends the rest of a stream, with its end mark.
func (h *HeldCall) Stream(data ...string) {
	h.T.Helper()
	h.Event(append(data, "[DONE]")...)
	h.Cut()
}

// Document sends a whole document.
func (h *HeldCall) Document(doc string) {
	h.T.Helper()
	h.Write("application/json", doc)
	h.Cut()
}

// Answer answers with text, streamed if the request asks for it.
func (h *HeldCall) Answer(text string) {
	h.T.Helper()
	message := `{"role":"assistant","content":` + Quote(text) + `}`
	if h.Streams() {
		h.Stream(ChunkOf(message), EndOf("stop"))
		return
	}
	h.Document(WholeOf(message, "stop"))
}

// The usage that a held call reports for any answer.
const (
	UpstreamTokensIn  = 11
	UpstreamTokensOut = 7
)

// Say sends pieces of the answer, each in a chunk of its own. An answer that is
// not streamed waits for Finish.
func (h *HeldCall) Say(pieces ...string) {
	h.T.Helper()
	for _, p := range pieces {
		h.said.WriteString(p)
		if h.Streams() {
			h.Do(func(c *Call) { c.Send(c.Text(p)) })
		}
	}
}

// Finish ends the answer with a finish reason and usage.
func (h *HeldCall) Finish(reason string) {
	h.T.Helper()
	h.End(func(c *Call) {
		if c.Streams() {
			c.Send(c.Wire.Finish(reason) + c.Usage(UpstreamTokensIn, UpstreamTokensOut) + EndMark) // one write, so that they arrive together
			return
		}
		Document(200, c.Completion(`{"role":"assistant","content":`+Quote(h.said.String())+`}`, reason, UsageOf(UpstreamTokensIn, UpstreamTokensOut)))(c)
	})
}

// Fail answers with an error.
func (h *HeldCall) Fail(status int, body string) {
	h.T.Helper()
	h.End(Document(status, body))
}

// Cut ends the answer, complete or not.
func (h *HeldCall) Cut() {
	h.T.Helper()
	h.End(EOF)
}

// Abort breaks the connection.
func (h *HeldCall) Abort() {
	h.T.Helper()
	h.End(TornOff)
}

// WantGone waits until the caller has cancelled the call.
func (h *HeldCall) WantGone() {
	h.T.Helper()
	select {
	case <-h.Gone:
	case <-time.After(Patience):
		h.T.Fatal("the upstream call is still running")
	}
}

// Cancelled asks a question and cancels the turn before an answer.
func (u *Upstream) Cancelled(cl *Client, session, question string) {
	u.t.Helper()
	u.mu.Lock()
	script := u.script
	u.mu.Unlock()
	u.Plays()
	defer u.Plays(script...)
	a := cl.Ask(session, question)
	call := u.Call()
	cl.CancelTurn(session)
	call.WantGone()
	a.Events().Rest()
}
