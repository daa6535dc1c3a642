package integration

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

// target is a provider that follows a script: one behaviour a call, of which
// the last one repeats.
type target struct {
	fakeProvider
	name string // of the provider in the Caddyfile
	addr string
	port net.Listener
	srv  *http.Server

	// guarded by fakeProvider's mutex
	script []behaviour
	played int // calls since the script was set
	calls  int // calls ever
}

// behaviour is what a target does with a call, or with a part of it.
type behaviour func(*targetCall)

// targetCall is one call of a target.
type targetCall struct {
	w      http.ResponseWriter
	r      *http.Request
	body   string
	stream bool // a stream was asked for
	wire
}

// newTarget starts a target. Start it before Caddy, which is then stopped
// first.
func newTarget(t testing.TB, name string, script ...behaviour) *target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &target{name: name, addr: l.Addr().String(), script: script}
	f.t, f.url, f.answer = t, "http://"+f.addr+"/v1", f.play
	f.serve(l)
	t.Cleanup(f.down)
	return f
}

// newTargets starts targets that all answer Hello.
func newTargets(t testing.TB, names ...string) []*target {
	t.Helper()
	var list []*target
	for _, name := range names {
		list = append(list, newTarget(t, name, says(7, 3, "Hello")))
	}
	return list
}

func (f *target) serve(l net.Listener) {
	f.port, f.srv = l, &http.Server{Handler: f, ReadHeaderTimeout: patience}
	srv := f.srv
	go func() { _ = srv.Serve(l) }()
}

// down closes the port and everything that is connected to it.
func (f *target) down() {
	_ = f.port.Close()
	_ = f.srv.Close()
}

// up opens the port again.
func (f *target) up() {
	f.t.Helper()
	eventually(f.t, "the port is free again", func() bool {
		l, err := net.Listen("tcp", f.addr)
		if err == nil {
			f.serve(l)
		}
		return err == nil
	})
}

// plays sets the script anew.
func (f *target) plays(script ...behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script, f.played = script, 0
}

func (f *target) play(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	do := f.script[min(f.played, len(f.script)-1)]
	f.played++
	f.calls++
	id := fmt.Sprintf("%s-%d", f.name, f.calls)
	f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	doc := gjson.ParseBytes(body)
	do(&targetCall{
		w: w, r: r, body: string(body),
		stream: doc.Get("stream").Bool(),
		wire:   wire{id, doc.Get("model").Str},
	})
}

// requests are the calls that came so far.
func (f *target) requests() []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// wire writes the events of one answer.
type wire struct{ id, model string }

// event is a chunk with a delta and a finish reason, where not empty.
func (w wire) event(delta, finish string) string {
	reason := "null"
	if finish != "" {
		reason = quote(finish)
	}
	return w.envelope(fmt.Sprintf(`[{"index":0,"delta":%s,"finish_reason":%s}]`, delta, reason), "")
}

func (w wire) envelope(choices, more string) string {
	return fmt.Sprintf("data: {\"id\":%s,\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":%s,\"choices\":%s%s}\n\n",
		quote(w.id), quote(w.model), choices, more)
}

func (w wire) role() string                { return w.event(`{"role":"assistant","content":""}`, "") }
func (w wire) text(s string) string        { return w.event(`{"content":`+quote(s)+`}`, "") }
func (w wire) finish(reason string) string { return w.event(`{}`, reason) }
func (w wire) usage(in, out int) string    { return w.envelope("[]", `,"usage":`+tokens(in, out)) }

// tool is a part of a tool call; id and name stand in its first one only.
func (w wire) tool(index int, id, name, arguments string) string {
	call := fmt.Sprintf(`{"index":%d,"function":{"arguments":%s}}`, index, quote(arguments))
	if id != "" {
		call = fmt.Sprintf(`{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}`, index, quote(id), quote(name), quote(arguments))
	}
	return w.event(`{"tool_calls":[`+call+`]}`, "")
}

// whole is a complete answer, an event each.
func (w wire) whole(in, out int, pieces ...string) []string {
	list := []string{w.role()}
	for _, p := range pieces {
		list = append(list, w.text(p))
	}
	return append(list, w.finish("stop"), w.usage(in, out), endMark)
}

// document is a complete answer that is not streamed.
func (w wire) document(in, out int, text string) string {
	return fmt.Sprintf(`{"id":%s,"object":"chat.completion","created":1700000000,"model":%s,"choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":%s}`,
		quote(w.id), quote(w.model), quote(text), tokens(in, out))
}

// send writes a part of a stream at once.
func (c *targetCall) send(parts ...string) {
	if c.w.Header().Get("Content-Type") == "" {
		c.w.Header().Set("Content-Type", "text/event-stream")
	}
	for _, p := range parts {
		_, _ = io.WriteString(c.w, p)
		_ = http.NewResponseController(c.w).Flush()
	}
}

// steps does one thing after the other.
func steps(list ...behaviour) behaviour {
	return func(c *targetCall) {
		for _, do := range list {
			do(c)
		}
	}
}

// says answers in full, with a chunk for each piece, and counts tokens.
func says(in, out int, pieces ...string) behaviour {
	return func(c *targetCall) {
		if c.stream {
			c.send(c.whole(in, out, pieces...)...)
			return
		}
		document(http.StatusOK, c.wire.document(in, out, strings.Join(pieces, "")))(c.w, c.r)
	}
}

// knows always answers with the same text, a chunk a word. Where the request
// ends with a beginning of it, as the assistant's, it goes on from there.
func knows(in, out int, text string) behaviour {
	return func(c *targetCall) {
		rest := text
		if last := gjson.Get(c.body, "messages|@reverse|0"); last.Get("role").Str == "assistant" {
			begun, ok := strings.CutPrefix(text, last.Get("content").Str)
			if !ok {
				begun = " That is not what I was going to say."
			}
			rest = begun
		}
		says(in, out, strings.SplitAfter(rest, " ")...)(c)
	}
}

// begins streams the beginning of an answer.
func begins(pieces ...string) behaviour {
	return func(c *targetCall) {
		c.send(c.role())
		for _, p := range pieces {
			c.send(c.text(p))
		}
	}
}

// sendsOf streams what fn makes of the call.
func sendsOf(fn func(wire) []string) behaviour {
	return func(c *targetCall) { c.send(fn(c.wire)...) }
}

// headerOnly sends the header of a stream and nothing else.
func headerOnly(c *targetCall) { c.send("") }

// answersWith is a document with a status.
func answersWith(status int, body string, header ...string) behaviour {
	return func(c *targetCall) { document(status, body, header...)(c.w, c.r) }
}

// refuses answers with a status and OpenAI's error of that code.
func refuses(status int, code string, header ...string) behaviour {
	return answersWith(status, fmt.Sprintf(`{"error":{"message":"upstream-words","type":"some_error","param":null,"code":%q}}`, code), header...)
}

// eof ends the answer in an orderly way, however much of it there is.
func eof(*targetCall) {}

// tornOff closes the connection in the middle of the transfer.
func tornOff(*targetCall) { panic(http.ErrAbortHandler) }

// reset ends the connection with an RST.
func reset(c *targetCall) {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// stalls does nothing until the caller gives up.
func stalls(c *targetCall) { <-c.r.Context().Done() }

// waits goes on once ch is closed or has a value.
func waits(ch <-chan struct{}) behaviour {
	return func(c *targetCall) {
		select {
		case <-ch:
		case <-c.r.Context().Done():
		}
	}
}

// takes goes on after some time, which is what a slow model takes.
func takes(d time.Duration) behaviour {
	return func(c *targetCall) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.r.Context().Done():
		}
	}
}

// halfEvent breaks off within an event, in the middle of a letter.
func halfEvent(c *targetCall) {
	ev := c.text("grün")
	c.send(ev[:strings.Index(ev, "ü")+1])
}

// errorFrame is a failure that is told in the stream.
func errorFrame(c *targetCall) {
	c.send("data: {\"error\":{\"message\":\"upstream-words\",\"type\":\"server_error\",\"code\":\"internal_error\"}}\n\n")
}

// errorEvent is a failure that is told by the event's type.
func errorEvent(c *targetCall) {
	c.send("event: error\ndata: {\"message\":\"upstream-words\"}\n\n")
}

// trickles sends a stream a byte at a time, one for each value of pace, and
// the rest at once when that is closed.
func trickles(pace <-chan struct{}, fn func(wire) []string) behaviour {
	return func(c *targetCall) {
		all := strings.Join(fn(c.wire), "")
		for i := range len(all) {
			select {
			case <-pace:
				c.send(all[i : i+1])
			case <-c.r.Context().Done():
				return
			}
		}
	}
}
