package integration

import (
	"io"
	"net/http"
	"slices"
	"testing"
)

// wantLast waits until the newest message of a session is this one.
func (c *client) wantLast(session, content, status string) {
	c.t.Helper()
	eventually(c.t, "the newest message is "+content+", "+status, func() bool {
		msgs := c.history(session)
		if len(msgs) == 0 {
			return false
		}
		last := msgs[len(msgs)-1]
		return last.Role == "assistant" && last.Content == content && last.Status == status
	})
}

func TestClientGoesAway(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain("on_disconnect continue"))
	ann := newClient(c, "acme", "ann")

	t.Run("continue lets the answer finish", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "go on")
		call := up.call()
		call.say("one ")
		stream := a.events()
		stream.text("one ")
		a.goAway()
		call.say("two ")
		wantFailure(t, ann.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "again"}), 409, "session_busy")
		call.say("three")
		call.finish("stop")
		ann.wantLast(session, "one two three", "complete")
		wantList(t, "history", contents(ann.history(session)), []string{"user: go on", "assistant: one two three"})
	})

	t.Run("continue also before the first token and for a document", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "early")
		call := up.call()
		a.goAway()
		if err := <-a.err; err == nil {
			t.Fatal("there was an answer")
		}
		call.say("late answer")
		call.finish("stop")
		ann.wantLast(session, "late answer", "complete")

		session = newSession()
		no := false
		a = ann.start(ann.request(http.MethodPost, "/chat", ask{SessionID: session, Message: "document", Stream: &no}))
		call = up.call()
		a.goAway()
		if err := <-a.err; err == nil {
			t.Fatal("there was an answer")
		}
		call.say("whole document")
		call.finish("stop")
		ann.wantLast(session, "whole document", "complete")
	})

	t.Run("cancel stops the upstream and keeps what came", func(t *testing.T) {
		c.writeConfig(plainTenants, up.chain("on_disconnect cancel"))
		c.reload()
		session := newSession()
		a := ann.ask(session, "never mind")
		call := up.call()
		call.say("begun ", "and")
		stream := a.events()
		stream.text("begun and")
		a.goAway()
		call.wantGone()
		ann.wantLast(session, "begun and", "partial")
		wantFree(t, up, ann, session)

		session = newSession()
		a = ann.ask(session, "early")
		call = up.call()
		a.goAway()
		call.wantGone()
		wantFree(t, up, ann, session)
	})
}

// wantFree waits until the session takes a message, and has it answered.
func wantFree(t testing.TB, up *steered, cl *client, session string) {
	t.Helper()
	up.echo()
	defer up.answer(nil)
	eventually(t, "the session is free", func() bool {
		resp := cl.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "free?"})
		if resp.StatusCode != http.StatusConflict {
			return readEvents(t, resp).rest().done != nil
		}
		wantFailure(t, resp, 409, "session_busy")
		return false
	})
	cl.wantLast(session, "re: free?", "complete")
}

func (c *client) cancelTurn(session string) bool {
	c.t.Helper()
	var ok struct {
		OK   bool
		Data struct {
			Cancelled *bool
		}
	}
	if status := c.call(http.MethodPost, "/chat/"+session+"/cancel", nil, &ok); status != http.StatusOK || !ok.OK || ok.Data.Cancelled == nil {
		c.t.Fatalf("cancel answered %d %+v", status, ok)
	}
	return *ok.Data.Cancelled
}

func TestCancel(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")

	t.Run("in the middle keeps what was produced", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "tell me")
		call := up.call()
		call.say("a part")
		stream := a.events()
		list := stream.text("a part")
		if !ann.cancelTurn(session) {
			t.Error("cancelled is false for a running turn")
		}
		call.wantGone()
		end := stream.rest()
		wantIDs(t, append(list, end.events...))
		if end.done == nil || end.done.FinishReason != "cancelled" || end.failed != nil {
			t.Errorf("the stream ended with %+v", end.events)
		}
		msgs := ann.history(session)
		wantList(t, "history", contents(msgs), []string{"user: tell me", "assistant: a part"})
		if msgs[1].Status != "partial" {
			t.Errorf("status is %s", msgs[1].Status)
		}
		if ann.cancelTurn(session) {
			t.Error("cancelled is true though nothing runs")
		}
		wantFree(t, up, ann, session)
	})

	t.Run("before the first token leaves the question", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "tell me")
		call := up.call()
		if !ann.cancelTurn(session) {
			t.Error("cancelled is false for a running turn")
		}
		call.wantGone()
		end := a.events().rest()
		if end.text != "" || end.done == nil || end.done.FinishReason != "cancelled" {
			t.Errorf("got %+v", end)
		}
		wantIDs(t, end.events)
		wantList(t, "history", contents(ann.history(session)), []string{"user: tell me"})
		wantFree(t, up, ann, session)
	})

	t.Run("ends a document too", func(t *testing.T) {
		session := newSession()
		no := false
		a := ann.start(ann.request(http.MethodPost, "/chat", ask{SessionID: session, Message: "document", Stream: &no}))
		call := up.call()
		if !ann.cancelTurn(session) {
			t.Error("cancelled is false for a running turn")
		}
		call.wantGone()
		var doc struct{ Data struct{ FinishReason string } }
		decode(t, a.answer(), &doc)
		if doc.Data.FinishReason != "cancelled" {
			t.Errorf("finishReason is %q", doc.Data.FinishReason)
		}
	})

	t.Run("is nobody else's to do", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "mine")
		call := up.call()
		wantFailure(t, newClient(c, "acme", "bob").do(http.MethodPost, "/chat/"+session+"/cancel", nil), 404, "session_not_found")
		call.say("still here")
		call.finish("stop")
		if end := a.events().rest(); end.text != "still here" {
			t.Errorf("got %q", end.text)
		}
	})
}

func TestFailedTurn(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")

	t.Run("before the first byte is a plain error, and the question stays", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "try")
		failAll(t, up, a, 500, `{"error":{"message":"secret trouble"}}`)
		wantFailure(t, a.answer(), 502, "ai_error")
		wantList(t, "history", contents(ann.history(session)), []string{"user: try"})

		t.Run("and repeating it does not store it twice", func(t *testing.T) {
			a := ann.ask(session, "try")
			call := up.call()
			wantList(t, "what the model gets", call.prompt.texts(), []string{"user: try"})
			call.say("done")
			call.finish("stop")
			a.events().rest()
			wantList(t, "history", contents(ann.history(session)), []string{"user: try", "assistant: done"})
		})
		t.Run("and asking it again once it was answered does", func(t *testing.T) {
			a := ann.ask(session, "try")
			up.call().finish("stop")
			a.events().rest()
			wantList(t, "history", contents(ann.history(session)), []string{"user: try", "assistant: done", "user: try", "assistant: "})
		})
	})

	t.Run("another question after an unanswered one is stored beside it", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "first")
		failAll(t, up, a, 500, `{}`)
		wantFailure(t, a.answer(), 502, "ai_error")
		a = ann.ask(session, "second")
		call := up.call()
		wantList(t, "what the model gets", call.prompt.texts(), []string{"user: first", "user: second"})
		call.finish("stop")
		a.events().rest()
	})

	t.Run("cut in the middle keeps what came", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "try")
		call := up.call()
		call.say("half of")
		stream := a.events()
		list := stream.text("half of")
		call.cut()
		end := stream.rest()
		wantIDs(t, append(list, end.events...))
		if len(end.events) != 2 || end.failed == nil || end.done == nil {
			t.Fatalf("the stream ended with %+v", end.events)
		}
		if end.failed.Code != "ai_error" || end.failed.TraceID != list[0].TraceID || end.done.FinishReason != "error" {
			t.Errorf("the stream ended with %+v", end.events)
		}
		wantList(t, "error", keysOf(t, []byte(end.failed.Data)), []string{"code", "message", "traceId"})
		msgs := ann.history(session)
		wantList(t, "history", contents(msgs), []string{"user: try", "assistant: half of"})
		if msgs[1].Status != "partial" {
			t.Errorf("status is %s", msgs[1].Status)
		}
	})

	t.Run("a refusal takes the question back", func(t *testing.T) {
		session := newSession()
		ask1 := ask{SessionID: session, Message: "unknown", ModelID: "no-such-model"}
		wantFailure(t, ann.do(http.MethodPost, "/chat", ask1), 404, "model_unknown")
		wantFailure(t, ann.do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
		if slices.Contains(sessionIDs(ann.list("")), session) {
			t.Error("the session of a refused first message is listed")
		}

		a := ann.ask(session, "fine")
		up.call().finish("stop")
		a.events().rest()
		a = ann.ask(session, "wicked")
		up.call().fail(400, `{"error":{"message":"no","code":"content_filter","type":"invalid_request_error"}}`)
		wantFailure(t, a.answer(), 400, "content_filtered")
		a = ann.ask(session, "malformed")
		up.call().fail(400, `{"error":{"message":"too odd","type":"invalid_request_error"}}`)
		wantFailure(t, a.answer(), 400, "invalid_request")
		wantList(t, "history", contents(ann.history(session)), []string{"user: fine", "assistant: "})

		no := false
		resp := ann.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "unknown", ModelID: "no-such-model", Stream: &no})
		wantFailure(t, resp, 404, "model_unknown")
		if n := len(ann.history(session)); n != 2 {
			t.Errorf("%d messages", n)
		}
	})
}

// failAll fails every call made for one message, however often it is tried,
// until its answer is there.
func failAll(t testing.TB, up *steered, a *asking, status int, body string) {
	t.Helper()
	for {
		select {
		case call := <-up.calls:
			call.fail(status, body)
		case resp := <-a.resp:
			a.resp <- resp
			return
		case err := <-a.err:
			t.Fatal(err)
		}
	}
}

// TestKeepAlive has comments begin an answer before the model does: what
// fails then can only be told in the stream.
func TestKeepAlive(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain("keep_alive 20ms"))
	ann := newClient(c, "acme", "ann")
	comment := func(resp *http.Response) {
		t.Helper()
		line := make([]byte, len(": keep-alive"))
		if _, err := io.ReadFull(resp.Body, line); err != nil || string(line) != ": keep-alive" {
			t.Fatalf("the stream begins with %q, %v", line, err)
		}
	}

	session := newSession()
	a := ann.ask(session, "slow")
	call := up.call()
	resp := a.answer()
	comment(resp)
	call.say("at ", "last")
	call.finish("stop")
	end := readEvents(t, resp).rest()
	if end.text != "at last" || end.done == nil {
		t.Errorf("got %+v", end)
	}
	wantIDs(t, end.events)

	a = ann.ask(session, "doomed")
	call = up.call()
	resp = a.answer()
	comment(resp)
	call.fail(http.StatusUnauthorized, `{"error":{"message":"bad key sk-secret"}}`)
	end = readEvents(t, resp).rest()
	if len(end.events) != 2 || end.failed == nil || end.failed.Code != "ai_error" || end.done == nil || end.done.FinishReason != "error" {
		t.Errorf("got %+v", end)
	}
	wantIDs(t, end.events)
	wantList(t, "history", contents(ann.history(session)), []string{"user: slow", "assistant: at last", "user: doomed"})
}
