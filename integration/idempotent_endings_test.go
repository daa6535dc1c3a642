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
	up := NewWireUpstream(t)
	c := Start(t, PlainTenants, up.Proxied(""))
	ann := NewClient(c, "acme", "ann")
	no := false

	t.Run("a failure before any text frees the key", func(t *testing.T) {
		for i, stream := range []*bool{nil, &no} {
			message := ChatRequest{SessionID: NewSession(), Message: "go", Stream: stream}
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
				call := up.Call()
				// one that follows is told the same
				b := ann.once(key, message)
				other := ann.once(key, ChatRequest{SessionID: message.SessionID, Message: "other"}).Answer()
				WantFailure(t, other, 422, "idempotency_key_reused")
				call.Fail(tc.status, tc.body)
				WantFailure(t, a.Answer(), tc.want, tc.code)
				select {
				case resp := <-b.Resp:
					WantFailure(t, resp, tc.want, tc.code)
				case call := <-up.Calls: // it came late, and had a try of its own
					call.Fail(tc.status, tc.body)
					WantFailure(t, b.Answer(), tc.want, tc.code)
				}
			}
			a := ann.once(key, message)
			up.Call().Answer("at last")
			if body := ReadAll(t, a.Answer()); !strings.Contains(body, "at last") {
				t.Errorf("got %s", body)
			}
			up.wantNoCall()
			WantList(t, "history", Contents(ann.History(message.SessionID)), []string{"user: go", "assistant: at last"})
		}
	})

	t.Run("and so may be used with another body", func(t *testing.T) {
		session := NewSession()
		a := ann.once("freed", ChatRequest{SessionID: session, Message: "one"})
		up.Call().Fail(500, `{}`)
		a.Answer().Body.Close()
		a = ann.once("freed", ChatRequest{SessionID: session, Message: "two"})
		up.Call().Answer("fine")
		a.Events().Rest()
	})

	t.Run("a failure after some is the answer", func(t *testing.T) {
		message := ChatRequest{SessionID: NewSession(), Message: "go"}
		a := ann.once("cut", message)
		call := up.Call()
		call.Event(ChunkOf(`{"content":"half"}`))
		call.Cut()
		want := a.Events().Rest()
		got := ann.once("cut", message).Events()
		WantRest(t, got, want.Events)
		if want.Text != "half" || want.Failed == nil || want.Done.FinishReason != "error" {
			t.Errorf("ended with %+v", want.Events)
		}
		up.wantNoCall()
	})

	t.Run("so is one that was cancelled", func(t *testing.T) {
		message := ChatRequest{SessionID: NewSession(), Message: "go"}
		a := ann.once("cancelled", message)
		call := up.Call()
		call.Event(ChunkOf(`{"content":"half"}`))
		e := a.Events()
		e.Text("half")
		ann.CancelTurn(message.SessionID)
		call.WantGone()
		e.Rest()
		if got := ann.once("cancelled", message).Events().Rest(); got.Text != "half" || got.Failed != nil || got.Done.FinishReason != "cancelled" {
			t.Errorf("got %+v", got.Events)
		}
	})

	t.Run("a client that lost its connection finds the answer", func(t *testing.T) {
		message := ChatRequest{SessionID: NewSession(), Message: "go", Stream: &no}
		a := ann.once("lost", message)
		call := up.Call()
		a.GoAway()
		if err := <-a.Err; err == nil {
			t.Fatal("there was an answer")
		}
		b := ann.once("lost", message)
		call.Answer("found")
		var got whole
		Decode(t, b.Answer(), &got)
		if got.Data.Message != "found" {
			t.Errorf("got %+v", got)
		}
		up.wantNoCall()
	})

	t.Run("unless leaving ends it", func(t *testing.T) {
		c.WriteConfig(PlainTenants, up.Proxied("on_disconnect cancel"))
		c.Reload()
		message := ChatRequest{SessionID: NewSession(), Message: "go"}
		a := ann.once("left", message)
		call := up.Call()
		call.Event(ChunkOf(`{"content":"half"}`))
		a.Events().Text("half")
		a.GoAway()
		call.WantGone()
		var b *Pending
		Eventually(t, "the session is free", func() bool {
			b = ann.once("left", message)
			select {
			case call = <-up.Calls:
				return true
			case resp := <-b.Resp: // it follows what is being cancelled
				ReadAll(t, resp)
				return false
			}
		})
		call.Answer("whole")
		if got := b.Events().Rest().Text; got != "whole" {
			t.Errorf("got %q", got)
		}
	})
}

// TestIdempotencyKeyUnbilled looks at what the log says of an answer that is
// given again.
func TestIdempotencyKeyUnbilled(t *testing.T) {
	t.Parallel()
	up := NewWireUpstream(t)
	c := Start(t, PlainTenants, up.Gateway("")+"\n\tlog\n")
	ann := NewClient(c, "acme", "ann")
	message := ChatRequest{SessionID: NewSession(), Message: "go"}
	a := ann.once("once", message)
	up.Call().Answer("paid for")
	a.Events().Rest()
	resp := ann.Start(ann.Request(http.MethodPost, "/chat", message, "Idempotency-Key", "once", "X-Trace-Id", "again")).Answer()
	ReadEvents(t, resp).Rest()
	WantFields(t, c.AccessLog("again"), map[string]any{
		"tenant": "acme", "user": "ann", "session": message.SessionID, "trace_id": "again", "status": 200.0,
	})
	up.wantNoCall()
}
