package harness

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// WantLast waits until the newest message of a session is an assistant's with
// this content and status.
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

// WantFree waits until the session accepts a message, and answers it.
func WantFree(t testing.TB, up *Upstream, cl *Client, session string) {
	t.Helper()
	up.Plays(Echoes)
	defer up.Plays()
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

// FailAll fails every call made for one message, retries included, until the
// client has its answer.
func FailAll(t testing.TB, up *Upstream, a *Pending, status int, body string) {
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

// WantCutTurn checks that a turn of /chat broke off after some text, and that
// the text is stored as partial.
func WantCutTurn(t testing.TB, cl *Client, session string, a Answered, text, code string) {
	t.Helper()
	if a.Text != text || a.Failed == nil || a.Failed.Code != code || a.Failed.TraceID == "" || a.Done == nil || a.Done.FinishReason != "error" {
		t.Errorf("/chat: text %q, error %+v, done %+v; want %q and %s", a.Text, a.Failed, a.Done, text, code)
	}
	if n := len(a.Events); n < 2 || a.Events[n-2].Type != "error" || a.Events[n-1].Type != "done" {
		t.Errorf("/chat: the events do not end with error and done: %+v", a.Events)
	}
	msgs := cl.History(session)
	if len(msgs) != 2 || msgs[1].Content != text || msgs[1].Status != "partial" {
		t.Errorf("stored %+v, want a partial %q", msgs, text)
	}
}

// Follow asks for the events of a session after lastEventID, or all if that is
// empty.
func (c *Client) Follow(session, lastEventID string) *Pending {
	c.T.Helper()
	req := c.Request(http.MethodGet, "/chat/"+session+"/stream", nil)
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	return c.Start(req)
}

// WantRest checks that exactly these events are left of a stream.
func WantRest(t testing.TB, e *Events, want []Event) {
	t.Helper()
	got := e.Rest().Events
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d: %+v", len(got), len(want), got)
	}
	for i := range want {
		if got[i].ID != want[i].ID || got[i].Type != want[i].Type || got[i].Content != want[i].Content {
			t.Errorf("event %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

// WantIDs checks that events are numbered from 1 within one turn.
func WantIDs(t testing.TB, list []Event) {
	t.Helper()
	turn, _, _ := strings.Cut(list[0].ID, ":")
	for i, ev := range list {
		if want := fmt.Sprintf("%s:%d", turn, i+1); ev.ID != want || turn == "" {
			t.Errorf("event %d has the id %q, want %q", i+1, ev.ID, want)
		}
	}
}

// ListedSession is a session of the list.
type ListedSession struct {
	SessionID    string `json:"sessionId"`
	Title        string `json:"title"`
	CreatedAt    int64  `json:"createdAt"`
	UpdatedAt    int64  `json:"updatedAt"`
	MessageCount int    `json:"messageCount"`
}

// SessionList is a page of a user's sessions.
type SessionList struct {
	Data struct {
		Sessions   []ListedSession `json:"sessions"`
		NextBefore string          `json:"nextBefore"`
	} `json:"data"`
}

func (c *Client) List(query string) SessionList {
	c.T.Helper()
	var l SessionList
	if status := c.Call(http.MethodGet, "/chat"+query, nil, &l); status != http.StatusOK {
		c.T.Fatalf("list answered %d", status)
	}
	return l
}

// Contents returns messages in short, as role: content.
func Contents(msgs []StoredMessage) []string {
	var list []string
	for _, m := range msgs {
		list = append(list, m.Role+": "+m.Content)
	}
	return list
}

// SessionIDs returns the ids of a list of sessions, in order.
func SessionIDs(l SessionList) []string {
	var list []string
	for _, s := range l.Data.Sessions {
		list = append(list, s.SessionID)
	}
	return list
}

// WantList compares two lists.
func WantList(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
