package chat

import (
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestClientGoesAway(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain("on_disconnect continue"))
	ann := harness.NewClient(c, "acme", "ann")

	t.Run("continue lets the answer finish", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "go on")
		call := up.Call()
		call.Say("one ")
		stream := a.Events()
		stream.Text("one ")
		a.GoAway()
		call.Say("two ")
		harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "again"}), 409, "session_busy")
		call.Say("three")
		call.Finish("stop")
		ann.WantLast(session, "one two three", "complete")
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: go on", "assistant: one two three"})
	})

	t.Run("continue applies before the first token and to documents", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "early")
		call := up.Call()
		a.GoAway()
		if err := <-a.Err; err == nil {
			t.Fatal("the client that left got an answer")
		}
		call.Say("late answer")
		call.Finish("stop")
		ann.WantLast(session, "late answer", "complete")

		session = harness.NewSession()
		no := false
		a = ann.Start(ann.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "document", Stream: &no}))
		call = up.Call()
		a.GoAway()
		if err := <-a.Err; err == nil {
			t.Fatal("the client that left got an answer")
		}
		call.Say("whole document")
		call.Finish("stop")
		ann.WantLast(session, "whole document", "complete")
	})

	t.Run("cancel stops the upstream and keeps the partial answer", func(t *testing.T) {
		c.WriteConfig(harness.PlainTenants, up.Chain("on_disconnect cancel"))
		c.Reload()
		session := harness.NewSession()
		a := ann.Ask(session, "never mind")
		call := up.Call()
		call.Say("begun ", "and")
		stream := a.Events()
		stream.Text("begun and")
		a.GoAway()
		call.WantGone()
		ann.WantLast(session, "begun and", "partial")
		harness.WantFree(t, up, ann, session)

		session = harness.NewSession()
		a = ann.Ask(session, "early")
		call = up.Call()
		a.GoAway()
		call.WantGone()
		harness.WantFree(t, up, ann, session)
	})
}

func TestCancel(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")

	t.Run("mid-stream keeps what was produced", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "tell me")
		call := up.Call()
		call.Say("a part")
		stream := a.Events()
		list := stream.Text("a part")
		if !ann.CancelTurn(session) {
			t.Error("cancelled is false for a running turn")
		}
		call.WantGone()
		end := stream.Rest()
		harness.WantIDs(t, append(list, end.Events...))
		if end.Done == nil || end.Done.FinishReason != "cancelled" || end.Failed != nil {
			t.Errorf("the stream ended with %+v", end.Events)
		}
		msgs := ann.History(session)
		harness.WantList(t, "history", harness.Contents(msgs), []string{"user: tell me", "assistant: a part"})
		if msgs[1].Status != "partial" {
			t.Errorf("status is %s", msgs[1].Status)
		}
		if ann.CancelTurn(session) {
			t.Error("cancelled is true though nothing runs")
		}
		harness.WantFree(t, up, ann, session)
	})

	t.Run("before the first token keeps the question", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "tell me")
		call := up.Call()
		if !ann.CancelTurn(session) {
			t.Error("cancelled is false for a running turn")
		}
		call.WantGone()
		end := a.Events().Rest()
		if end.Text != "" || end.Done == nil || end.Done.FinishReason != "cancelled" {
			t.Errorf("got %+v", end)
		}
		harness.WantIDs(t, end.Events)
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: tell me"})
		harness.WantFree(t, up, ann, session)
	})

	t.Run("ends a document too", func(t *testing.T) {
		session := harness.NewSession()
		no := false
		a := ann.Start(ann.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "document", Stream: &no}))
		call := up.Call()
		if !ann.CancelTurn(session) {
			t.Error("cancelled is false for a running turn")
		}
		call.WantGone()
		var doc struct{ Data struct{ FinishReason string } }
		harness.Decode(t, a.Answer(), &doc)
		if doc.Data.FinishReason != "cancelled" {
			t.Errorf("finishReason is %q", doc.Data.FinishReason)
		}
	})

	t.Run("is refused to another user", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "mine")
		call := up.Call()
		harness.WantFailure(t, harness.NewClient(c, "acme", "bob").Do(http.MethodPost, "/chat/"+session+"/cancel", nil), 404, "session_not_found")
		call.Say("still here")
		call.Finish("stop")
		if end := a.Events().Rest(); end.Text != "still here" {
			t.Errorf("got %q", end.Text)
		}
	})
}

func TestFailedTurn(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")

	t.Run("before the first byte is a plain error, and the question is kept", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "try")
		harness.FailAll(t, up, a, 500, `{"error":{"message":"secret trouble"}}`)
		harness.WantFailure(t, a.Answer(), 502, "ai_error")
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: try"})

		t.Run("a repeated question is stored once", func(t *testing.T) {
			a := ann.Ask(session, "try")
			call := up.Call()
			harness.WantList(t, "what the model gets", call.Said(), []string{"user: try"})
			call.Say("done")
			call.Finish("stop")
			a.Events().Rest()
			harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: try", "assistant: done"})
		})
		t.Run("a question repeated after its answer is stored again", func(t *testing.T) {
			a := ann.Ask(session, "try")
			up.Call().Finish("stop")
			a.Events().Rest()
			harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: try", "assistant: done", "user: try", "assistant: "})
		})
	})

	t.Run("a new question after an unanswered one is stored too", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "first")
		harness.FailAll(t, up, a, 500, `{}`)
		harness.WantFailure(t, a.Answer(), 502, "ai_error")
		a = ann.Ask(session, "second")
		call := up.Call()
		harness.WantList(t, "what the model gets", call.Said(), []string{"user: first", "user: second"})
		call.Finish("stop")
		a.Events().Rest()
	})

	t.Run("a cut keeps the partial answer", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "try")
		call := up.Call()
		call.Say("half of")
		stream := a.Events()
		list := stream.Text("half of")
		call.Cut()
		end := stream.Rest()
		harness.WantIDs(t, append(list, end.Events...))
		if len(end.Events) != 2 || end.Failed == nil || end.Done == nil {
			t.Fatalf("the stream ended with %+v", end.Events)
		}
		if end.Failed.Code != "ai_error" || end.Failed.TraceID != list[0].TraceID || end.Done.FinishReason != "error" {
			t.Errorf("the stream ended with %+v", end.Events)
		}
		harness.WantList(t, "error", keysOf(t, []byte(end.Failed.Data)), []string{"code", "message", "traceId"})
		msgs := ann.History(session)
		harness.WantList(t, "history", harness.Contents(msgs), []string{"user: try", "assistant: half of"})
		if msgs[1].Status != "partial" {
			t.Errorf("status is %s", msgs[1].Status)
		}
	})

	t.Run("a refusal removes the question", func(t *testing.T) {
		session := harness.NewSession()
		ask1 := harness.ChatRequest{SessionID: session, Message: "unknown", ModelID: "no-such-model"}
		harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", ask1), 404, "model_unknown")
		harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
		if slices.Contains(harness.SessionIDs(ann.List("")), session) {
			t.Error("the session of a refused first message is listed")
		}

		a := ann.Ask(session, "fine")
		up.Call().Finish("stop")
		a.Events().Rest()
		a = ann.Ask(session, "wicked")
		up.Call().Fail(400, `{"error":{"message":"no","code":"content_filter","type":"invalid_request_error"}}`)
		harness.WantFailure(t, a.Answer(), 400, "content_filtered")
		a = ann.Ask(session, "malformed")
		up.Call().Fail(400, `{"error":{"message":"too odd","type":"invalid_request_error"}}`)
		harness.WantFailure(t, a.Answer(), 400, "invalid_request")
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: fine", "assistant: "})

		no := false
		resp := ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "unknown", ModelID: "no-such-model", Stream: &no})
		harness.WantFailure(t, resp, 404, "model_unknown")
		if n := len(ann.History(session)); n != 2 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestKeepAlive has keep-alives start the answer before the model does. A later
// failure can only be reported in the stream.
func TestKeepAlive(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain("keep_alive 20ms"))
	ann := harness.NewClient(c, "acme", "ann")

	session := harness.NewSession()
	a := ann.Ask(session, "slow")
	call := up.Call()
	resp := a.Answer()
	wantComment(t, resp)
	call.Say("at ", "last")
	call.Finish("stop")
	end := harness.ReadEvents(t, resp).Rest()
	if end.Text != "at last" || end.Done == nil {
		t.Errorf("got %+v", end)
	}
	harness.WantIDs(t, end.Events)

	a = ann.Ask(session, "doomed")
	call = up.Call()
	resp = a.Answer()
	wantComment(t, resp)
	call.Fail(http.StatusUnauthorized, `{"error":{"message":"bad key sk-secret"}}`)
	end = harness.ReadEvents(t, resp).Rest()
	if len(end.Events) != 2 || end.Failed == nil || end.Failed.Code != "ai_error" || end.Done == nil || end.Done.FinishReason != "error" {
		t.Errorf("got %+v", end)
	}
	harness.WantIDs(t, end.Events)
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: slow", "assistant: at last", "user: doomed"})

	a = ann.Ask(session, "wicked")
	call = up.Call()
	resp = a.Answer()
	wantComment(t, resp)
	call.Fail(http.StatusBadRequest, `{"error":{"message":"no","code":"content_filter","type":"invalid_request_error"}}`)
	end = harness.ReadEvents(t, resp).Rest()
	if resp.StatusCode != http.StatusOK || end.Failed == nil || end.Failed.Code != "content_filtered" || end.Done == nil || end.Done.FinishReason != "error" {
		t.Errorf("%d, got %+v", resp.StatusCode, end)
	}
	// The message was taken back, although the status says nothing of it.
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: slow", "assistant: at last", "user: doomed"})
}

// TestReadBody shows why docs/streaming.md warns of Caddy's read_body: it goes on
// after the body is there, and ends the answer as if the client had left.
func TestReadBody(t *testing.T) {
	up := harness.NewUpstream(t)
	start := func(timeout string) *harness.Client {
		options := harness.PlainTenants + "\n\tservers {\n\t\ttimeouts {\n\t\t\t" + timeout + " 200ms\n\t\t}\n\t}\n"
		return harness.NewClient(harness.Start(t, options, up.Chain("keep_alive 20ms\non_disconnect cancel")), "acme", "ann")
	}

	t.Run("read_body ends the answer", func(t *testing.T) {
		start("read_body").Ask(harness.NewSession(), "slow")
		up.Call().WantGone()
	})
	t.Run("read_body_idle does not", func(t *testing.T) {
		a := start("read_body_idle").Ask(harness.NewSession(), "slow")
		call := up.Call()
		resp := a.Answer()
		for range 20 { // twice as long as the timeout
			wantComment(t, resp)
		}
		call.Say("at last")
		call.Finish("stop")
		if end := harness.ReadEvents(t, resp).Rest(); end.Text != "at last" || end.Done == nil || end.Done.FinishReason != "stop" {
			t.Errorf("got %+v", end)
		}
	})
}

// wantComment reads one keep-alive.
func wantComment(t testing.TB, resp *http.Response) {
	t.Helper()
	line := make([]byte, len(": keep-alive\n"))
	if _, err := io.ReadFull(resp.Body, line); err != nil || string(line) != ": keep-alive\n" {
		t.Fatalf("the stream has %q, %v", line, err)
	}
}
