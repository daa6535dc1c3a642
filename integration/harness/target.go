package harness

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// Target is a provider that follows a script: one behaviour a call, of which
// the last one repeats.
type Target struct {
	FakeProvider
	Name string // of the provider in the Caddyfile
	addr string
	port net.Listener
	srv  *http.Server

	// guarded by FakeProvider's mutex
	script []Behaviour
	played int // calls since the script was set
	calls  int // calls ever
}

// Behaviour is what a target does with a call, or with a part of it.
type Behaviour func(*TargetCall)

// TargetCall is one call of a target.
type TargetCall struct {
	W      http.ResponseWriter
	R      *http.Request
	body   string
	Stream bool // a stream was asked for
	Wire
}

// NewTarget starts a target. Start it before Caddy, which is then stopped
// first.
func NewTarget(t testing.TB, name string, script ...Behaviour) *Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &Target{Name: name, addr: l.Addr().String(), script: script}
	f.t, f.URL, f.answer = t, "http://"+f.addr+"/v1", f.play
	f.serve(l)
	t.Cleanup(f.Down)
	return f
}

// NewTargets starts targets that all answer Hello.
func NewTargets(t testing.TB, names ...string) []*Target {
	t.Helper()
	var list []*Target
	for _, name := range names {
		list = append(list, NewTarget(t, name, Says(7, 3, "Hello")))
	}
	return list
}

func (f *Target) serve(l net.Listener) {
	f.port, f.srv = l, &http.Server{Handler: f, ReadHeaderTimeout: Patience}
	srv := f.srv
	go func() { _ = srv.Serve(l) }()
}

// Down closes the port and everything that is connected to it.
func (f *Target) Down() {
	_ = f.port.Close()
	_ = f.srv.Close()
}

// Up opens the port again.
func (f *Target) Up() {
	f.t.Helper()
	Eventually(f.t, "the port is free again", func() bool {
		l, err := net.Listen("tcp", f.addr)
		if err == nil {
			f.serve(l)
		}
		return err == nil
	})
}

// Plays sets the script anew.
func (f *Target) Plays(script ...Behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script, f.played = script, 0
}

func (f *Target) play(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	do := f.script[min(f.played, len(f.script)-1)]
	f.played++
	f.calls++
	id := fmt.Sprintf("%s-%d", f.Name, f.calls)
	f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	doc := gjson.ParseBytes(body)
	do(&TargetCall{
		W: w, R: r, body: string(body),
		Stream: doc.Get("stream").Bool(),
		Wire:   Wire{id, doc.Get("model").Str},
	})
}

// Requests are the calls that came so far.
func (f *Target) Requests() []Asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// Wire writes the events of one answer.
type Wire struct{ ID, Model string }

// Event is a chunk with a delta and a finish reason, where not empty.
func (w Wire) Event(delta, finish string) string {
	reason := "null"
	if finish != "" {
		reason = Quote(finish)
	}
	return w.Envelope(fmt.Sprintf(`[{"index":0,"delta":%s,"finish_reason":%s}]`, delta, reason), "")
}

func (w Wire) Envelope(choices, more string) string {
	return fmt.Sprintf("data: {\"id\":%s,\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":%s,\"choices\":%s%s}\n\n",
		Quote(w.ID), Quote(w.Model), choices, more)
}

func (w Wire) Role() string                { return w.Event(`{"role":"assistant","content":""}`, "") }
func (w Wire) Text(s string) string        { return w.Event(`{"content":`+Quote(s)+`}`, "") }
func (w Wire) Finish(reason string) string { return w.Event(`{}`, reason) }
func (w Wire) Usage(in, out int) string    { return w.Envelope("[]", `,"usage":`+UsageOf(in, out)) }

// Tool is a part of a tool call; id and name stand in its first one only.
func (w Wire) Tool(index int, id, name, arguments string) string {
	call := fmt.Sprintf(`{"index":%d,"function":{"arguments":%s}}`, index, Quote(arguments))
	if id != "" {
		call = fmt.Sprintf(`{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}`, index, Quote(id), Quote(name), Quote(arguments))
	}
	return w.Event(`{"tool_calls":[`+call+`]}`, "")
}

// Whole is a complete answer, an event each.
func (w Wire) Whole(in, out int, pieces ...string) []string {
	list := []string{w.Role()}
	for _, p := range pieces {
		list = append(list, w.Text(p))
	}
	return append(list, w.Finish("stop"), w.Usage(in, out), EndMark)
}

// Document is a complete answer that is not streamed.
func (w Wire) Document(in, out int, text string) string {
	return fmt.Sprintf(`{"id":%s,"object":"chat.completion","created":1700000000,"model":%s,"choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":%s}`,
		Quote(w.ID), Quote(w.Model), Quote(text), UsageOf(in, out))
}

// Send writes a part of a stream at once.
func (c *TargetCall) Send(parts ...string) {
	if c.W.Header().Get("Content-Type") == "" {
		c.W.Header().Set("Content-Type", "text/event-stream")
	}
	for _, p := range parts {
		_, _ = io.WriteString(c.W, p)
		_ = http.NewResponseController(c.W).Flush()
	}
}

// Steps does one thing after the other.
func Steps(list ...Behaviour) Behaviour {
	return func(c *TargetCall) {
		for _, do := range list {
			do(c)
		}
	}
}

// Says answers in full, with a chunk for each piece, and counts tokens.
func Says(in, out int, pieces ...string) Behaviour {
	return func(c *TargetCall) {
		if c.Stream {
			c.Send(c.Whole(in, out, pieces...)...)
			return
		}
		Document(http.StatusOK, c.Wire.Document(in, out, strings.Join(pieces, "")))(c.W, c.R)
	}
}

// Knows always answers with the same text, a chunk a word. Where the request
// ends with a beginning of it, as the assistant's, it goes on from there.
func Knows(in, out int, text string) Behaviour {
	return func(c *TargetCall) {
		rest := text
		if last := gjson.Get(c.body, "messages|@reverse|0"); last.Get("role").Str == "assistant" {
			begun, ok := strings.CutPrefix(text, last.Get("content").Str)
			if !ok {
				begun = " That is not what I was going to say."
			}
			rest = begun
		}
		Says(in, out, strings.SplitAfter(rest, " ")...)(c)
	}
}

// Begins streams the beginning of an answer.
func Begins(pieces ...string) Behaviour {
	return func(c *TargetCall) {
		c.Send(c.Role())
		for _, p := range pieces {
			c.Send(c.Text(p))
		}
	}
}

// SendsOf streams what fn makes of the call.
func SendsOf(fn func(Wire) []string) Behaviour {
	return func(c *TargetCall) { c.Send(fn(c.Wire)...) }
}

// HeaderOnly sends the header of a stream and nothing else.
func HeaderOnly(c *TargetCall) { c.Send("") }

// AnswersWith is a document with a status.
func AnswersWith(status int, body string, header ...string) Behaviour {
	return func(c *TargetCall) { Document(status, body, header...)(c.W, c.R) }
}

// Refuses answers with a status and OpenAI's error of that code.
func Refuses(status int, code string, header ...string) Behaviour {
	return AnswersWith(status, fmt.Sprintf(`{"error":{"message":"upstream-words","type":"some_error","param":null,"code":%q}}`, code), header...)
}

// EOF ends the answer in an orderly way, however much of it there is.
func EOF(*TargetCall) {}

// TornOff closes the connection in the middle of the transfer.
func TornOff(*TargetCall) { panic(http.ErrAbortHandler) }

// Reset ends the connection with an RST.
func Reset(c *TargetCall) {
	conn, _, err := http.NewResponseController(c.W).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// Stalls does nothing until the caller gives up.
func Stalls(c *TargetCall) { <-c.R.Context().Done() }

// Waits goes on once ch is closed or has a value.
func Waits(ch <-chan struct{}) Behaviour {
	return func(c *TargetCall) {
		select {
		case <-ch:
		case <-c.R.Context().Done():
		}
	}
}

// Takes goes on after some time, which is what a slow model takes.
func Takes(d time.Duration) Behaviour {
	return func(c *TargetCall) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.R.Context().Done():
		}
	}
}

// HalfEvent breaks off within an event, in the middle of a letter.
func HalfEvent(c *TargetCall) {
	ev := c.Text("grün")
	c.Send(ev[:strings.Index(ev, "ü")+1])
}

// ErrorFrame is a failure that is told in the stream.
func ErrorFrame(c *TargetCall) {
	c.Send("data: {\"error\":{\"message\":\"upstream-words\",\"type\":\"server_error\",\"code\":\"internal_error\"}}\n\n")
}

// ErrorEvent is a failure that is told by the event's type.
func ErrorEvent(c *TargetCall) {
	c.Send("event: error\ndata: {\"message\":\"upstream-words\"}\n\n")
}

// Trickles sends a stream a byte at a time, one for each value of pace, and
// the rest at once when that is closed.
func Trickles(pace <-chan struct{}, fn func(Wire) []string) Behaviour {
	return func(c *TargetCall) {
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
