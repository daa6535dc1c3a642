package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestIdempotencyKeyEndings has turns that do not go well.
func TestIdempotencyKeyEndings(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied(""))
	ann := newClient(c, "acme", "ann")
	no := false

	t.Run("a failure before any text frees the key", func(t *testing.T) {
		for i, stream := range []*bool{nil, &no} {
			message := ask{SessionID: newSession(), Message: "go", Stream: stream}
			key := fmt.Sprint("failed-", i)
			for _, tc := range []struct {
				status int
				body   string
				want   int
				code   string
			}{
				{500, `{}`, 502, "ai_error"},
				{400, `{"error":{"message":"too odd","type":"invalid_request_error"}}`, 400, "invalid_request"},
				{429, `{}`, 429, "provider_rate_limited"},
			} {
				a := ann.once(key, message)
				call := up.call()
				// one that follows is told the same
				b := ann.once(key, message)
				other := ann.once(key, ask{SessionID: message.SessionID, Message: "other"}).answer()
				wantFailure(t, other, 422, "idempotency_key_reused")
				call.fail(tc.status, tc.body)
				wantFailure(t, a.answer(), tc.want, tc.code)
				select {
				case resp := <-b.resp:
					wantFailure(t, resp, tc.want, tc.code)
				case call := <-up.calls: // it came late, and had a try of its own
					call.fail(tc.status, tc.body)
					wantFailure(t, b.answer(), tc.want, tc.code)
				}
			}
			a := ann.once(key, message)
			up.call().answer("at last")
			if body := readAll(t, a.answer()); !strings.Contains(body, "at last") {
				t.Errorf("got %s", body)
			}
			up.wantNoCall()
			wantList(t, "history", contents(ann.history(message.SessionID)), []string{"user: go", "assistant: at last"})
		}
	})

	t.Run("and so may be used with another body", func(t *testing.T) {
		session := newSession()
		a := ann.once("freed", ask{SessionID: session, Message: "one"})
		up.call().fail(500, `{}`)
		a.answer().Body.Close()
		a = ann.once("freed", ask{SessionID: session, Message: "two"})
		up.call().answer("fine")
		a.events().rest()
	})

	t.Run("a failure after some is the answer", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "go"}
		a := ann.once("cut", message)
		call := up.call()
		call.event(chunkOf(`{"content":"half"}`))
		call.cut()
		want := a.events().rest()
		got := ann.once("cut", message).events()
		wantRest(t, got, want.events)
		if want.text != "half" || want.failed == nil || want.done.FinishReason != "error" {
			t.Errorf("ended with %+v", want.events)
		}
		up.wantNoCall()
	})

	t.Run("so is one that was cancelled", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "go"}
		a := ann.once("cancelled", message)
		call := up.call()
		call.event(chunkOf(`{"content":"half"}`))
		e := a.events()
		e.text("half")
		ann.cancelTurn(message.SessionID)
		call.wantGone()
		e.rest()
		if got := ann.once("cancelled", message).events().rest(); got.text != "half" || got.failed != nil || got.done.FinishReason != "cancelled" {
			t.Errorf("got %+v", got.events)
		}
	})

	t.Run("a client that lost its connection finds the answer", func(t *testing.T) {
		message := ask{SessionID: newSession(), Message: "go", Stream: &no}
		a := ann.once("lost", message)
		call := up.call()
		a.goAway()
		if err := <-a.err; err == nil {
			t.Fatal("there was an answer")
		}
		b := ann.once("lost", message)
		call.answer("found")
		var got whole
		decode(t, b.answer(), &got)
		if got.Data.Message != "found" {
			t.Errorf("got %+v", got)
		}
		up.wantNoCall()
	})

	t.Run("unless leaving ends it", func(t *testing.T) {
		c.writeConfig(plainTenants, up.proxied("on_disconnect cancel"))
		c.reload()
		message := ask{SessionID: newSession(), Message: "go"}
		a := ann.once("left", message)
		call := up.call()
		call.event(chunkOf(`{"content":"half"}`))
		a.events().text("half")
		a.goAway()
		call.wantGone()
		var b *asking
		eventually(t, "the session is free", func() bool {
			b = ann.once("left", message)
			select {
			case call = <-up.calls:
				return true
			case resp := <-b.resp: // it follows what is being cancelled
				readAll(t, resp)
				return false
			}
		})
		call.answer("whole")
		if got := b.events().rest().text; got != "whole" {
			t.Errorf("got %q", got)
		}
	})
}

// TestIdempotencyKeyUnbilled looks at what the log says of an answer that is
// given again.
func TestIdempotencyKeyUnbilled(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.gateway("")+"\n\tlog\n")
	ann := newClient(c, "acme", "ann")
	message := ask{SessionID: newSession(), Message: "go"}
	a := ann.once("once", message)
	up.call().answer("paid for")
	a.events().rest()
	resp := ann.start(ann.request(http.MethodPost, "/chat", message, "Idempotency-Key", "once", "X-Trace-Id", "again")).answer()
	readEvents(t, resp).rest()
	wantFields(t, c.accessLog("again"), map[string]any{
		"tenant": "acme", "user": "ann", "session": message.SessionID, "trace_id": "again", "status": 200.0,
	})
	up.wantNoCall()
}
