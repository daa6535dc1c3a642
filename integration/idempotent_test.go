package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// once starts a message under a key.
func (c *client) once(key string, body any) *asking {
	c.t.Helper()
	return c.start(c.request(http.MethodPost, "/chat", body, "Idempotency-Key", key))
}

// wantNoCall checks that the upstream was not called.
func (u *wireUpstream) wantNoCall() {
	u.t.Helper()
	select {
	case c := <-u.calls:
		u.t.Errorf("the upstream was called: %s", c.body)
	default:
	}
}

// whole is what there is to compare of a document.
type whole struct {
	Data struct {
		SessionID, Message, FinishReason string
		Usage                            usage
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied(""))
	ann := newClient(c, "acme", "ann")
	no := false

	t.Run("is one to 255 visible characters", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "hi"}
		for _, key := range []string{"", "a b", "a\tb", "ü", strings.Repeat("k", 256)} {
			f := wantFailure(t, ann.once(key, message).answer(), 400, "invalid_request")
			if !strings.HasPrefix(f.Error.Message, "Idempotency-Key: ") {
				t.Errorf("%q: %s", key, f.Error.Message)
			}
		}
		req := ann.request(http.MethodPost, "/chat", message)
		req.Header["Idempotency-Key"] = []string{"a", "b"}
		wantFailure(t, ann.start(req).answer(), 400, "invalid_request")
		up.wantNoCall()
		for _, key := range []string{"!", strings.Repeat("~", 255)} {
			a := ann.once(key, ask{SessionID: newSession(), Message: "hi"})
			call := up.call()
			if got := call.header.Values("Idempotency-Key"); len(got) != 0 {
				t.Errorf("the model server got %q", got)
			}
			call.answer("ok")
			a.events().rest()
		}
	})

	t.Run("a stream is followed while it runs", func(t *testing.T) {
		session := newSession()
		first := ann.once("follow", ask{SessionID: session, Message: "go"})
		call := up.call()
		call.event(chunkOf(`{"content":"one "}`))
		a := first.events()
		all := a.text("one ")
		b := ann.once("follow", ask{SessionID: session, Message: "go"}).events()
		if got := b.text("one "); got[0].ID != all[0].ID {
			t.Errorf("the event ids are %s and %s", all[0].ID, got[0].ID)
		}
		call.event(chunkOf(`{"content":"two"}`))
		b.text("two")
		call.stream(endOf("stop"))
		a.text("two")
		wantRest(t, b, a.rest().events)
		up.wantNoCall()
		wantList(t, "history", contents(ann.history(session)), []string{"user: go", "assistant: one two"})
	})

	t.Run("a stream is replayed afterwards", func(t *testing.T) {
		session := newSession()
		first := ann.once("replay", ask{SessionID: session, Message: "go"})
		call := up.call()
		call.event(chunkOf(`{"content":"one "}`))
		call.stream(chunkOf(`{"content":"two"}`), endOf("length"))
		want := first.events().rest()
		for range 3 {
			resp := ann.once("replay", ask{SessionID: session, Message: "go"}).answer()
			wantHeader(t, resp.Header, map[string]string{"X-Model-Id": "up", "X-Tenant-Id": "acme", "X-Trace-Id": "*"})
			got := readEvents(t, resp).rest()
			if got.text != want.text || got.done == nil || got.done.ID != want.done.ID || got.done.FinishReason != "length" || got.done.Usage != want.done.Usage {
				t.Errorf("got %+v, want %+v", got.events, want.events)
			}
		}
		up.wantNoCall()
		if n := len(ann.history(session)); n != 2 {
			t.Errorf("%d messages", n)
		}
	})

	t.Run("a document is waited for and replayed", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "go", Stream: &no}
		a, b := ann.once("document", message), ann.once("document", message)
		up.call().answer("whole <b>")
		var first, second, third whole
		decode(t, a.answer(), &first)
		decode(t, b.answer(), &second)
		resp := ann.once("document", message).answer()
		wantHeader(t, resp.Header, map[string]string{"X-Tokens-In": "11", "X-Tokens-Out": "7", "X-Tokens-Total": "18", "X-Ai-Latency-Ms": "#"})
		decode(t, resp, &third)
		if first.Data.Message != "whole <b>" || first.Data.FinishReason != "stop" || first != second || first != third {
			t.Errorf("got %+v, %+v, %+v", first, second, third)
		}
		up.wantNoCall()
	})

	t.Run("with another body it is refused", func(t *testing.T) {
		session := newSession()
		a := ann.once("reused", ask{SessionID: session, Message: "go"})
		call := up.call()
		refused := func() {
			t.Helper()
			for _, other := range []ask{
				{SessionID: session, Message: "stop"}, {SessionID: newSession(), Message: "go"}, {SessionID: session, Message: "go", Stream: &no},
			} {
				f := wantFailure(t, ann.once("reused", other).answer(), 422, "idempotency_key_reused")
				if !strings.Contains(f.Error.Message, "send a new one") {
					t.Errorf("the message is %q", f.Error.Message)
				}
			}
		}
		refused()
		call.answer("done")
		a.events().rest()
		refused()
		up.wantNoCall()
	})

	t.Run("belongs to its tenant and user", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "go"}
		for who, cl := range map[string]*client{
			"ann": ann, "bob": newClient(c, "acme", "bob"), "nobody": newClient(c, "acme", ""), "ann elsewhere": newClient(c, "globex", "ann"),
		} {
			a := cl.once("mine", message)
			up.call().answer("for " + who)
			if got := a.events().rest().text; got != "for "+who {
				t.Errorf("%s got %q", who, got)
			}
		}
		if got := ann.once("mine", message).events().rest().text; got != "for ann" {
			t.Errorf("ann got %q", got)
		}
	})

	t.Run("many at once are one", func(t *testing.T) {
		for _, stream := range []*bool{nil, &no} {
			message := ask{SessionID: newSession(), Message: "go", Stream: stream}
			var list []*asking
			for range 20 {
				list = append(list, ann.once(fmt.Sprint("many", stream == nil), message))
			}
			up.call().answer("the one answer")
			var wg sync.WaitGroup
			for _, a := range list {
				wg.Go(func() {
					if body := readAll(t, a.answer()); !strings.Contains(body, "the one answer") {
						t.Errorf("got %s", body)
					}
				})
			}
			wg.Wait()
			if n := len(ann.history(message.SessionID)); n != 2 {
				t.Errorf("%d messages", n)
			}
		}
		up.wantNoCall()
	})

	t.Run("of a busy session it is free again", func(t *testing.T) {
		session := newSession()
		a := ann.once("busy-1", ask{SessionID: session, Message: "one"})
		call := up.call()
		for range 2 {
			wantFailure(t, ann.once("busy-2", ask{SessionID: session, Message: "two"}).answer(), 409, "session_busy")
		}
		call.answer("1")
		a.events().rest()
		a = ann.once("busy-2", ask{SessionID: session, Message: "two"})
		up.call().answer("2")
		if got := a.events().rest().text; got != "2" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("other turns do not disturb it", func(t *testing.T) {
		session := newSession()
		a := ann.once("earlier", ask{SessionID: session, Message: "one"})
		up.call().answer("1")
		a.events().rest()
		b := ann.ask(session, "two")
		call := up.call()
		if got := ann.once("earlier", ask{SessionID: session, Message: "one"}).events().rest(); got.text != "1" || got.done == nil {
			t.Errorf("got %+v", got.events)
		}
		call.answer("2")
		b.events().rest()
	})

	t.Run("a deleted answer is forgotten", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "go"}
		for i := range 2 {
			a := ann.once("deleted", message)
			up.call().answer(fmt.Sprint("secret ", i))
			if got := a.events().rest().text; got != fmt.Sprint("secret ", i) {
				t.Errorf("got %q", got)
			}
			ann.do(http.MethodDelete, "/chat/"+message.SessionID, nil).Body.Close()
		}
	})

	t.Run("a restart forgets nothing", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "go"}
		a := ann.once("restart", message)
		call := up.call()
		call.event(chunkOf(`{"content":"one "}`))
		call.stream(chunkOf(`{"content":"two"}`), endOf("stop"))
		want := a.events().rest()
		c.kill()
		c.restart()
		got := ann.once("restart", message).events().rest()
		if got.text != "one two" || got.done == nil || got.done.ID != want.done.ID || got.done.Usage != want.done.Usage {
			t.Errorf("got %+v, want %+v", got.events, want.events)
		}
		if len(got.events) != 2 || got.events[0].ID != want.events[1].ID {
			t.Errorf("the ids are %+v", got.events)
		}
		up.wantNoCall()
	})

	t.Run("a kill in the middle frees it", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "go"}
		a := ann.once("killed", message)
		call := up.call()
		call.event(chunkOf(`{"content":"half"}`))
		e := a.events()
		e.text("half")
		c.kill()
		call.wantGone()
		c.restart()
		a = ann.once("killed", message)
		up.call().answer("whole")
		if got := a.events().rest().text; got != "whole" {
			t.Errorf("got %q", got)
		}
		wantList(t, "history", contents(ann.history(message.SessionID)), []string{"user: go", "assistant: whole"})
	})
}
