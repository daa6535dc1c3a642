package chat

import (
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// retryAgain sends a message once more as a retry.
func retryAgain(cl *harness.Client, session, message string, header ...string) *harness.Pending {
	cl.T.Helper()
	return cl.Start(cl.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: message, Retry: true}, header...))
}

// failedTurn asks a question whose answer is cut after some text.
func failedTurn(up *harness.Upstream, cl *harness.Client, session, question, text string) {
	cl.T.Helper()
	a := cl.Ask(session, question)
	call := up.Call()
	call.Say(text)
	call.Cut()
	a.Events().Rest()
	cl.WantLast(session, text, "partial")
}

func TestRetry(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")

	// answered expects the next call to have this context, and answers it.
	answered := func(t *testing.T, a *harness.Pending, text string, want ...string) {
		t.Helper()
		call := up.Call()
		harness.WantList(t, "what the model gets", call.Said(), want)
		call.Answer(text)
		harness.ReadAll(t, a.Answer())
	}
	stored := func(t *testing.T, cl *harness.Client, session string, want ...string) {
		t.Helper()
		harness.WantList(t, "the history", harness.Contents(cl.History(session)), want)
	}

	t.Run("a failed turn is replaced", func(t *testing.T) {
		session := harness.NewSession()
		answered(t, ann.Ask(session, "before"), "fine", "user: before")
		failedTurn(up, ann, session, "question", "half")
		answered(t, retryAgain(ann, session, "question"), "whole", "user: before", "assistant: fine", "user: question")
		stored(t, ann, session, "user: before", "assistant: fine", "user: question", "assistant: whole")
		answered(t, ann.Ask(session, "after"), "yes",
			"user: before", "assistant: fine", "user: question", "assistant: whole", "user: after")
	})

	t.Run("again and again", func(t *testing.T) {
		session := harness.NewSession()
		failedTurn(up, ann, session, "question", "one")
		for _, text := range []string{"two", "three"} {
			a := retryAgain(ann, session, "question")
			call := up.Call()
			harness.WantList(t, "what the model gets", call.Said(), []string{"user: question"})
			call.Say(text)
			call.Cut()
			a.Events().Rest()
			stored(t, ann, session, "user: question", "assistant: "+text)
		}
	})

	t.Run("a cancelled answer is replaced", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "question")
		call := up.Call()
		call.Say("half")
		a.Events().Text("half")
		ann.CancelTurn(session)
		call.WantGone()
		ann.WantLast(session, "half", "partial")
		answered(t, retryAgain(ann, session, "question"), "whole", "user: question")
		stored(t, ann, session, "user: question", "assistant: whole")
	})

	t.Run("in a document", func(t *testing.T) {
		session := harness.NewSession()
		failedTurn(up, ann, session, "question", "half")
		q := harness.ChatRequest{SessionID: session, Message: "question", Retry: true, Stream: new(false)}
		answered(t, ann.Start(ann.Request(http.MethodPost, "/chat", q)), "whole", "user: question")
		stored(t, ann, session, "user: question", "assistant: whole")
	})

	t.Run("a try without text leaves what was there", func(t *testing.T) {
		for _, status := range []int{http.StatusBadGateway, http.StatusBadRequest} {
			session := harness.NewSession()
			failedTurn(up, ann, session, "question", "half")
			a := retryAgain(ann, session, "question")
			harness.FailAll(t, up, a, status, `{"error":{"message":"no"}}`)
			harness.ReadAll(t, a.Answer())
			stored(t, ann, session, "user: question", "assistant: half")
		}
	})

	t.Run("a question without an answer is not stored twice", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "question")
		harness.FailAll(t, up, a, http.StatusBadGateway, `{}`)
		harness.ReadAll(t, a.Answer())
		answered(t, retryAgain(ann, session, "question"), "whole", "user: question")
		stored(t, ann, session, "user: question", "assistant: whole")
	})

	t.Run("nothing else is replaced", func(t *testing.T) {
		session := harness.NewSession()
		answered(t, retryAgain(ann, session, "question"), "whole", "user: question")
		answered(t, retryAgain(ann, session, "question"), "again", "user: question", "assistant: whole", "user: question")
		failedTurn(up, ann, session, "another", "half")
		answered(t, retryAgain(ann, session, "question"), "third",
			"user: question", "assistant: whole", "user: question", "assistant: again", "user: another", "assistant: half", "user: question")
	})

	t.Run("without retry a partial answer stays", func(t *testing.T) {
		session := harness.NewSession()
		failedTurn(up, ann, session, "question", "half")
		answered(t, ann.Ask(session, "question"), "whole", "user: question", "assistant: half", "user: question")
	})

	t.Run("under an Idempotency-Key", func(t *testing.T) {
		session := harness.NewSession()
		failedTurn(up, ann, session, "question", "half")
		answered(t, retryAgain(ann, session, "question", "Idempotency-Key", "a"), "whole", "user: question")
		if again := retryAgain(ann, session, "question", "Idempotency-Key", "a").Events().Rest(); again.Text != "whole" {
			t.Errorf("the key gets %q", again.Text)
		}
		up.WantNoCall(t)
		stored(t, ann, session, "user: question", "assistant: whole")
	})

	t.Run("someone else's turn is not", func(t *testing.T) {
		session := harness.NewSession()
		failedTurn(up, ann, session, "question", "half")
		for _, other := range []*harness.Client{harness.NewClient(c, "acme", "bob"), harness.NewClient(c, "globex", "ann")} {
			answered(t, retryAgain(other, session, "question"), "yours", "user: question")
			stored(t, other, session, "user: question", "assistant: yours")
		}
		stored(t, ann, session, "user: question", "assistant: half")
	})

	t.Run("a deleted session does not come back", func(t *testing.T) {
		session := harness.NewSession()
		failedTurn(up, ann, session, "question", "half")
		a := retryAgain(ann, session, "question")
		call := up.Call()
		call.Say("whole")
		a.Events().Text("whole")
		ann.Do(http.MethodDelete, "/chat/"+session, nil).Body.Close()
		call.WantGone()
		stored(t, ann, session)
	})

	t.Run("only true and false", func(t *testing.T) {
		body := `{"sessionId":"` + harness.NewSession() + `","message":"hi","retry":"yes"}`
		f := harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", body), http.StatusBadRequest, "invalid_request")
		if f.Error.Message != "retry: want true or false" {
			t.Errorf("got %q", f.Error.Message)
		}
	})
}

// TestRetryWithoutContext checks that a failed turn is found even if no history
// goes to the model.
func TestRetryWithoutContext(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain("context_messages 0"))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	failedTurn(up, ann, session, "question", "half")
	a := retryAgain(ann, session, "question")
	up.Call().Answer("whole")
	a.Events().Rest()
	harness.WantList(t, "the history", harness.Contents(ann.History(session)), []string{"user: question", "assistant: whole"})
}
