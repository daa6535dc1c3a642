package integration

import (
	"io"
	"net/http"
	"slices"
	"testing"
)

// WantLast waits until the newest message of a session is this one.
func (c *Client) WantLast(session, content, status string) {
	c.T.Helper()
	Eventually(c.T, "the newest message is "+content+", "+status, func() bool {
		msgs := c.History(session)
		if len(msgs) == 0 {
			return false
		}
		last := msgs[len(msgs)-1]
		return last.Role == "assistant" && last.Content == content && last.Status == status
	})
}

func TestClientGoesAway(t *testing.T) {
	up := NewSteered(t)
	c := Start(t, PlainTenants, up.Chain("on_disconnect continue"))
	ann := NewClient(c, "acme", "ann")

	t.Run("continue lets the answer finish", func(t *testing.T) {
		session := NewSession()
		a := ann.Ask(session, "go on")
		call := up.Call()
		call.Say("one ")
		stream := a.Events()
		stream.Text("one ")
		a.GoAway()
		call.Say("two ")
		WantFailure(t, ann.Do(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: "again"}), 409, "session_busy")
		call.Say("three")
		call.Finish("stop")
		ann.WantLast(session, "one two three", "complete")
		WantList(t, "history", Contents(ann.History(session)), []string{"user: go on", "assistant: one two three"})
	})

	t.Run("continue also before the first token and for a document", func(t *testing.T) {
		session := NewSession()
		a := ann.Ask(session, "early")
		call := up.Call()
		a.GoAway()
		if err := <-a.Err; err == nil {
			t.Fatal("there was an answer")
		}
		call.Say("late answer")
		call.Finish("stop")
		ann.WantLast(session, "late answer", "complete")

		session = NewSession()
		no := false
		a = ann.Start(ann.Request(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: "document", Stream: &no}))
		call = up.Call()
		a.GoAway()
		if err := <-a.Err; err == nil {
			t.Fatal("there was an answer")
		}
		call.Say("whole document")
		call.Finish("stop")
		ann.WantLast(session, "whole document", "complete")
	})

	t.Run("cancel stops the upstream and keeps what came", func(t *testing.T) {
		c.WriteConfig(PlainTenants, up.Chain("on_disconnect cancel"))
		c.Reload()
		session := NewSession()
		a := ann.Ask(session, "never mind")
		call := up.Call()
		call.Say("begun ", "and")
		stream := a.Events()
		stream.Text("begun and")
		a.GoAway()
		call.WantGone()
		ann.WantLast(session, "begun and", "partial")
		WantFree(t, up, ann, session)

		session = NewSession()
		a = ann.Ask(session, "early")
		call = up.Call()
		a.GoAway()
		call.WantGone()
		WantFree(t, up, ann, session)
	})
}

// WantFree waits until the session takes a message, and has it answered.
func WantFree(t testing.TB, up *Steered, cl *Client, session string) {
	t.Helper()
	up.Echo()
	defer up.Answer(nil)
	Eventually(t, "the session is free", func() bool {
		resp := cl.Do(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: "free?"})
		if resp.StatusCode != http.StatusConflict {
			return ReadEvents(t, resp).Rest().Done != nil
		}
		WantFailure(t, resp, 409, "session_busy")
		return false
	})
	cl.WantLast(session, "re: free?", "complete")
}

func (c *Client) CancelTurn(session string) bool {
	c.T.Helper()
	var ok struct {
		OK   bool
		Data struct {
			Cancelled *bool
		}
	}
	if status := c.Call(http.MethodPost, "/chat/"+session+"/cancel", nil, &ok); status != http.StatusOK || !ok.OK || ok.Data.Cancelled == nil {
		c.T.Fatalf("cancel answered %d %+v", status, ok)
	}
	return *ok.Data.Cancelled
}

func TestCancel(t *testing.T) {
	up := NewSteered(t)
	c := Start(t, PlainTenants, up.Chain(""))
	ann := NewClient(c, "acme", "ann")

	t.Run("in the middle keeps what was produced", func(t *testing.T) {
		session := NewSession()
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
		WantIDs(t, append(list, end.Events...))
		if end.Done == nil || end.Done.FinishReason != "cancelled" || end.Failed != nil {
			t.Errorf("the stream ended with %+v", end.Events)
		}
		msgs := ann.History(session)
		WantList(t, "history", Contents(msgs), []string{"user: tell me", "assistant: a part"})
		if msgs[1].Status != "partial" {
			t.Errorf("status is %s", msgs[1].Status)
		}
		if ann.CancelTurn(session) {
			t.Error("cancelled is true though nothing runs")
		}
		WantFree(t, up, ann, session)
	})

	t.Run("before the first token leaves the question", func(t *testing.T) {
		session := NewSession()
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
		WantIDs(t, end.Events)
		WantList(t, "history", Contents(ann.History(session)), []string{"user: tell me"})
		WantFree(t, up, ann, session)
	})

	t.Run("ends a document too", func(t *testing.T) {
		session := NewSession()
		no := false
		a := ann.Start(ann.Request(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: "document", Stream: &no}))
		call := up.Call()
		if !ann.CancelTurn(session) {
			t.Error("cancelled is false for a running turn")
		}
		call.WantGone()
		var doc struct{ Data struct{ FinishReason string } }
		Decode(t, a.Answer(), &doc)
		if doc.Data.FinishReason != "cancelled" {
			t.Errorf("finishReason is %q", doc.Data.FinishReason)
		}
	})

	t.Run("is nobody else's to do", func(t *testing.T) {
		session := NewSession()
		a := ann.Ask(session, "mine")
		call := up.Call()
		WantFailure(t, NewClient(c, "acme", "bob").Do(http.MethodPost, "/chat/"+session+"/cancel", nil), 404, "session_not_found")
		call.Say("still here")
		call.Finish("stop")
		if end := a.Events().Rest(); end.Text != "still here" {
			t.Errorf("got %q", end.Text)
		}
	})
}

func TestFailedTurn(t *testing.T) {
	up := NewSteered(t)
	c := Start(t, PlainTenants, up.Chain(""))
	ann := NewClient(c, "acme", "ann")

	t.Run("before the first byte is a plain error, and the question stays", func(t *testing.T) {
		session := NewSession()
		a := ann.Ask(session, "try")
		FailAll(t, up, a, 500, `{"error":{"message":"secret trouble"}}`)
		WantFailure(t, a.Answer(), 502, "ai_error")
		WantList(t, "history", Contents(ann.History(session)), []string{"user: try"})

		t.Run("and repeating it does not store it twice", func(t *testing.T) {
			a := ann.Ask(session, "try")
			call := up.Call()
			WantList(t, "what the model gets", call.Prompt.Texts(), []string{"user: try"})
			call.Say("done")
			call.Finish("stop")
			a.Events().Rest()
			WantList(t, "history", Contents(ann.History(session)), []string{"user: try", "assistant: done"})
		})
		t.Run("and asking it again once it was answered does", func(t *testing.T) {
			a := ann.Ask(session, "try")
			up.Call().Finish("stop")
			a.Events().Rest()
			WantList(t, "history", Contents(ann.History(session)), []string{"user: try", "assistant: done", "user: try", "assistant: "})
		})
	})

	t.Run("another question after an unanswered one is stored beside it", func(t *testing.T) {
		session := NewSession()
		a := ann.Ask(session, "first")
		FailAll(t, up, a, 500, `{}`)
		WantFailure(t, a.Answer(), 502, "ai_error")
		a = ann.Ask(session, "second")
		call := up.Call()
		WantList(t, "what the model gets", call.Prompt.Texts(), []string{"user: first", "user: second"})
		call.Finish("stop")
		a.Events().Rest()
	})

	t.Run("cut in the middle keeps what came", func(t *testing.T) {
		session := NewSession()
		a := ann.Ask(session, "try")
		call := up.Call()
		call.Say("half of")
		stream := a.Events()
		list := stream.Text("half of")
		call.Cut()
		end := stream.Rest()
		WantIDs(t, append(list, end.Events...))
		if len(end.Events) != 2 || end.Failed == nil || end.Done == nil {
			t.Fatalf("the stream ended with %+v", end.Events)
		}
		if end.Failed.Code != "ai_error" || end.Failed.TraceID != list[0].TraceID || end.Done.FinishReason != "error" {
			t.Errorf("the stream ended with %+v", end.Events)
		}
		WantList(t, "error", keysOf(t, []byte(end.Failed.Data)), []string{"code", "message", "traceId"})
		msgs := ann.History(session)
		WantList(t, "history", Contents(msgs), []string{"user: try", "assistant: half of"})
		if msgs[1].Status != "partial" {
			t.Errorf("status is %s", msgs[1].Status)
		}
	})

	t.Run("a refusal takes the question back", func(t *testing.T) {
		session := NewSession()
		ask1 := ChatRequest{SessionID: session, Message: "unknown", ModelID: "no-such-model"}
		WantFailure(t, ann.Do(http.MethodPost, "/chat", ask1), 404, "model_unknown")
		WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
		if slices.Contains(SessionIDs(ann.List("")), session) {
			t.Error("the session of a refused first message is listed")
		}

		a := ann.Ask(session, "fine")
		up.Call().Finish("stop")
		a.Events().Rest()
		a = ann.Ask(session, "wicked")
		up.Call().Fail(400, `{"error":{"message":"no","code":"content_filter","type":"invalid_request_error"}}`)
		WantFailure(t, a.Answer(), 400, "content_filtered")
		a = ann.Ask(session, "malformed")
		up.Call().Fail(400, `{"error":{"message":"too odd","type":"invalid_request_error"}}`)
		WantFailure(t, a.Answer(), 400, "invalid_request")
		WantList(t, "history", Contents(ann.History(session)), []string{"user: fine", "assistant: "})

		no := false
		resp := ann.Do(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: "unknown", ModelID: "no-such-model", Stream: &no})
		WantFailure(t, resp, 404, "model_unknown")
		if n := len(ann.History(session)); n != 2 {
			t.Errorf("%d messages", n)
		}
	})
}

// FailAll fails every call made for one message, however often it is tried,
// until its answer is there.
func FailAll(t testing.TB, up *Steered, a *Pending, status int, body string) {
	t.Helper()
	for {
		select {
		case call := <-up.Calls:
			call.Fail(status, body)
		case resp := <-a.Resp:
			a.Resp <- resp
			return
		case err := <-a.Err:
			t.Fatal(err)
		}
	}
}

// TestKeepAlive has comments begin an answer before the model does: what
// fails then can only be told in the stream.
func TestKeepAlive(t *testing.T) {
	up := NewSteered(t)
	c := Start(t, PlainTenants, up.Chain("keep_alive 20ms"))
	ann := NewClient(c, "acme", "ann")
	comment := func(resp *http.Response) {
		t.Helper()
		line := make([]byte, len(": keep-alive"))
		if _, err := io.ReadFull(resp.Body, line); err != nil || string(line) != ": keep-alive" {
			t.Fatalf("the stream begins with %q, %v", line, err)
		}
	}

	session := NewSession()
	a := ann.Ask(session, "slow")
	call := up.Call()
	resp := a.Answer()
	comment(resp)
	call.Say("at ", "last")
	call.Finish("stop")
	end := ReadEvents(t, resp).Rest()
	if end.Text != "at last" || end.Done == nil {
		t.Errorf("got %+v", end)
	}
	WantIDs(t, end.Events)

	a = ann.Ask(session, "doomed")
	call = up.Call()
	resp = a.Answer()
	comment(resp)
	call.Fail(http.StatusUnauthorized, `{"error":{"message":"bad key sk-secret"}}`)
	end = ReadEvents(t, resp).Rest()
	if len(end.Events) != 2 || end.Failed == nil || end.Failed.Code != "ai_error" || end.Done == nil || end.Done.FinishReason != "error" {
		t.Errorf("got %+v", end)
	}
	WantIDs(t, end.Events)
	WantList(t, "history", Contents(ann.History(session)), []string{"user: slow", "assistant: at last", "user: doomed"})
}
