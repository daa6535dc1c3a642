package harness

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Pending is a request whose answer may not have begun.
type Pending struct {
	t      testing.TB
	GoAway func() // closes the connection
	Resp   chan *http.Response
	Err    chan error
}

// Ask sends a message without waiting for the answer.
func (c *Client) Ask(session, message string) *Pending {
	c.T.Helper()
	return c.Start(c.Request(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: message}))
}

func (c *Client) Start(req *http.Request) *Pending {
	ctx, cancel := context.WithCancel(req.Context())
	a := &Pending{t: c.T, GoAway: cancel, Resp: make(chan *http.Response, 1), Err: make(chan error, 1)}
	c.T.Cleanup(cancel)
	go func() {
		resp, err := c.HTTP.Do(req.WithContext(ctx))
		if err != nil {
			a.Err <- err
			return
		}
		a.Resp <- resp
	}()
	return a
}

// Answer waits for the header of the answer.
func (a *Pending) Answer() *http.Response {
	a.t.Helper()
	select {
	case resp := <-a.Resp:
		return resp
	case err := <-a.Err:
		a.t.Fatal(err)
	case <-time.After(Patience):
		a.t.Fatal("no answer")
	}
	return nil
}

// Events waits for the stream to begin.
func (a *Pending) Events() *Events {
	a.t.Helper()
	return ReadEvents(a.t, a.Answer())
}

// Text reads events until their text is want.
func (e *Events) Text(want string) []Event {
	e.t.Helper()
	var list []Event
	got := ""
	for got != want {
		ev, ok := e.Next()
		if !ok || ev.Type != "" || !strings.HasPrefix(want, got+ev.Content) {
			e.t.Fatalf("after %q came %+v (%t), want %q", got, ev, ok, want)
		}
		got += ev.Content
		list = append(list, ev)
	}
	return list
}
