package idempotency

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestIdempotencyKeyEndings has turns that do not go well.
func TestIdempotencyKeyEndings(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied(""))
	ann := harness.NewClient(c, "acme", "ann")
	no := false

	t.Run("a failure before any text frees the key", func(t *testing.T) {
		for i, stream := range []*bool{nil, &no} {
			message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go", Stream: stream}
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
				a := once(ann, key, message)
				call := up.Call()
				// one that follows is told the same
				b := once(ann, key, message)
				other := once(ann, key, harness.ChatRequest{SessionID: message.SessionID, Message: "other"}).Answer()
				harness.WantFailure(t, other, 422, "idempotency_key_reused")
				call.Fail(tc.status, tc.body)
				harness.WantFailure(t, a.Answer(), tc.want, tc.code)
				select {
				case resp := <-b.Resp:
					harness.WantFailure(t, resp, tc.want, tc.code)
				case call := <-up.Calls: // it came late, and had a try of its own
					call.Fail(tc.status, tc.body)
					harness.WantFailure(t, b.Answer(), tc.want, tc.code)
				}
			}
			a := once(ann, key, message)
			up.Call().Answer("at last")
			if body := harness.ReadAll(t, a.Answer()); !strings.Contains(body, "at last") {
				t.Errorf("got %s", body)
			}
			up.WantNoCall(t)
			harness.WantList(t, "history", harness.Contents(ann.History(message.SessionID)), []string{"user: go", "assistant: at last"})
		}
	})

	t.Run("and so may be used with another body", func(t *testing.T) {
		session := harness.NewSession()
		a := once(ann, "freed", harness.ChatRequest{SessionID: session, Message: "one"})
		up.Call().Fail(500, `{}`)
		a.Answer().Body.Close()
		a = once(ann, "freed", harness.ChatRequest{SessionID: session, Message: "two"})
		up.Call().Answer("fine")
		a.Events().Rest()
	})

	t.Run("a failure after some is the answer", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go"}
		a := once(ann, "cut", message)
		call := up.Call()
		call.Event(harness.ChunkOf(`{"content":"half"}`))
		call.Cut()
		want := a.Events().Rest()
		got := once(ann, "cut", message).Events()
		harness.WantRest(t, got, want.Events)
		if want.Text != "half" || want.Failed == nil || want.Done.FinishReason != "error" {
			t.Errorf("ended with %+v", want.Events)
		}
		up.WantNoCall(t)
	})

	t.Run("so is one that was cancelled", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go"}
		a := once(ann, "cancelled", message)
		call := up.Call()
		call.Event(harness.ChunkOf(`{"content":"half"}`))
		e := a.Events()
		e.Text("half")
		ann.CancelTurn(message.SessionID)
		call.WantGone()
		e.Rest()
		if got := once(ann, "cancelled", message).Events().Rest(); got.Text != "half" || got.Failed != nil || got.Done.FinishReason != "cancelled" {
			t.Errorf("got %+v", got.Events)
		}
	})

	t.Run("a client that lost its connection finds the answer", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go", Stream: &no}
		a := once(ann, "lost", message)
		call := up.Call()
		a.GoAway()
		if err := <-a.Err; err == nil {
			t.Fatal("there was an answer")
		}
		b := once(ann, "lost", message)
		call.Answer("found")
		var got whole
		harness.Decode(t, b.Answer(), &got)
		if got.Data.Message != "found" {
			t.Errorf("got %+v", got)
		}
		up.WantNoCall(t)
	})

	t.Run("unless leaving ends it", func(t *testing.T) {
		c.WriteConfig(harness.PlainTenants, up.Proxied("on_disconnect cancel"))
		c.Reload()
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go"}
		a := once(ann, "left", message)
		call := up.Call()
		call.Event(harness.ChunkOf(`{"content":"half"}`))
		a.Events().Text("half")
		// one that follows keeps it going
		b := once(ann, "left", message)
		followed := b.Events()
		followed.Text("half")
		a.GoAway()
		call.Event(harness.ChunkOf(`{"content":" more"}`))
		followed.Text(" more")
		b.GoAway()
		call.WantGone()
		harness.Eventually(t, "the session is free", func() bool {
			b = once(ann, "left", message)
			select {
			case call = <-up.Calls:
				return true
			case resp := <-b.Resp: // it follows what is being cancelled
				harness.ReadAll(t, resp)
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
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions("")+"\n\tlog\n")
	ann := harness.NewClient(c, "acme", "ann")
	message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go"}
	a := once(ann, "once", message)
	up.Call().Answer("paid for")
	a.Events().Rest()
	resp := ann.Start(ann.Request(http.MethodPost, "/chat", message, "Idempotency-Key", "once", "X-Trace-Id", "again")).Answer()
	harness.ReadEvents(t, resp).Rest()
	harness.WantFields(t, c.AccessLog("again"), map[string]any{
		"tenant": "acme", "user": "ann", "session": message.SessionID, "trace_id": "again", "status": 200.0,
	})
	up.WantNoCall(t)
}
