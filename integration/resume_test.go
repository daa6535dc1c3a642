package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// follow asks for the events of a session after one, all where it is empty.
func (c *client) follow(session, lastEventID string) *asking {
	c.t.Helper()
	req := c.request(http.MethodGet, "/chat/"+session+"/stream", nil)
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	return c.start(req)
}

// wantRest checks that a stream goes on with exactly these events.
func wantRest(t testing.TB, e *events, want []event) {
	t.Helper()
	got := e.rest().events
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d: %+v", len(got), len(want), got)
	}
	for i := range want {
		if got[i].ID != want[i].ID || got[i].Type != want[i].Type || got[i].Content != want[i].Content {
			t.Errorf("event %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

// wantIDs checks that events are numbered from 1 under one turn.
func wantIDs(t testing.TB, list []event) {
	t.Helper()
	turn, _, _ := strings.Cut(list[0].ID, ":")
	for i, ev := range list {
		if want := fmt.Sprintf("%s:%d", turn, i+1); ev.ID != want || turn == "" {
			t.Errorf("event %d has the id %q, want %q", i+1, ev.ID, want)
		}
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")

	t.Run("a running turn is replayed and followed", func(t *testing.T) {
		session := newSession()
		first := ann.ask(session, "go")
		call := up.call()
		call.say("one ", "two ", "three ")
		stream := first.events()
		all := stream.text("one two three ")
		stream.resp.Body.Close() // the connection is lost

		fromTwo := ann.follow(session, all[1].ID).events()
		fromStart := ann.follow(session, "").events()
		if ev, ok := fromTwo.next(); !ok || ev.ID != all[2].ID || ev.Content != "three " {
			t.Errorf("after event 2 comes %+v", ev)
		}
		fromStart.text("one two three ")

		call.say("four ")
		all = append(all, fromStart.text("four ")...)
		fromTwo.text("four ")
		// one that has everything so far gets only what is still to come
		fromFour := ann.follow(session, all[3].ID)
		call.say("five")
		call.finish("stop")
		end := fromStart.rest()
		all = append(all, end.events...)
		wantIDs(t, all)
		if end.text != "five" || end.done == nil || end.done.FinishReason != "stop" {
			t.Errorf("the follower's end is %+v", end)
		}
		wantUsage(t, end.done.Usage)
		wantRest(t, fromTwo, all[4:])
		wantRest(t, fromFour.events(), all[4:])
	})

	t.Run("a finished turn is replayed from any place", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "go")
		call := up.call()
		call.say("one ", "two ", "three")
		call.finish("stop")
		all := a.events().rest().events
		if len(all) != 4 {
			t.Fatalf("%d events", len(all))
		}
		for n, ev := range all[:3] {
			wantRest(t, ann.follow(session, ev.ID).events(), all[n+1:])
		}
		wantRest(t, ann.follow(session, "").events(), all)
		for _, what := range []string{"nonsense", "other-turn:2", ":", "x:-1", strings.Replace(all[0].ID, ":1", ":x", 1)} {
			wantRest(t, ann.follow(session, what).events(), all)
		}
		// nothing comes after done
		resp := ann.follow(session, all[3].ID).answer()
		if body := readAll(t, resp); resp.StatusCode != http.StatusNoContent || body != "" {
			t.Errorf("after done: %d %s", resp.StatusCode, body)
		}
	})

	t.Run("a failed and a cancelled turn too", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "go")
		call := up.call()
		call.say("begun")
		stream := a.events()
		stream.text("begun")
		follower := ann.follow(session, "").events()
		follower.text("begun")
		call.cut()
		end := stream.rest().events
		wantRest(t, follower, end)
		if len(end) != 2 || end[0].Type != "error" || end[1].Type != "done" {
			t.Errorf("the end is %+v", end)
		}

		a = ann.ask(session, "once more")
		call = up.call()
		call.say("begun")
		stream = a.events()
		stream.text("begun")
		follower = ann.follow(session, "").events()
		follower.text("begun")
		ann.cancelTurn(session)
		call.wantGone()
		wantRest(t, follower, stream.rest().events)
	})

	t.Run("an id of an earlier turn replays the newest one", func(t *testing.T) {
		session := newSession()
		var last []event
		for range 2 {
			before := last
			a := ann.ask(session, "go")
			call := up.call()
			call.say("one ", "two")
			call.finish("stop")
			last = a.events().rest().events
			if before != nil {
				wantRest(t, ann.follow(session, before[1].ID).events(), last)
			}
		}
	})

	t.Run("a document's turn can be followed", func(t *testing.T) {
		session := newSession()
		no := false
		a := ann.start(ann.request(http.MethodPost, "/chat", ask{SessionID: session, Message: "go", Stream: &no}))
		call := up.call()
		call.say("whole")
		follower := ann.follow(session, "")
		call.finish("stop")
		if end := follower.events().rest(); end.text != "whole" || end.done == nil {
			t.Errorf("got %+v", end)
		}
		a.answer().Body.Close()
	})

	t.Run("there is nothing to follow", func(t *testing.T) {
		session := newSession()
		a := ann.ask(session, "go")
		up.call().finish("stop")
		a.events().rest()
		for who, other := range map[string]*client{
			"another user": newClient(c, "acme", "bob"), "nobody": newClient(c, "acme", ""), "another tenant": newClient(c, "globex", "ann"),
		} {
			t.Log(who)
			wantFailure(t, other.follow(session, "").answer(), 404, "session_not_found")
		}
		wantFailure(t, ann.follow(newSession(), "").answer(), 404, "session_not_found")
		c.stop()
		c.restart()
		resp := ann.follow(session, "").answer()
		if resp.StatusCode != http.StatusNoContent || readAll(t, resp) != "" {
			t.Errorf("after a restart: %d", resp.StatusCode)
		}
	})

	t.Run("nor once the resume window is over", func(t *testing.T) {
		c.writeConfig(plainTenants, up.chain("resume_window 1s"))
		c.reload()
		session := newSession()
		a := ann.ask(session, "go")
		up.call().finish("stop")
		a.events().rest()
		eventually(t, "the window closes", func() bool {
			resp := ann.follow(session, "").answer()
			readAll(t, resp)
			return resp.StatusCode == http.StatusNoContent
		})
	})
}

// TestFollowerMayGoOn is as for the one who asked: who has read done finds
// the session free, however long the store takes.
func TestFollowerMayGoOn(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, troubledTenants, up.chain(""))
	c.trouble("finish")
	ann := newClient(c, "acme", "ann")
	session := newSession()
	a := ann.ask(session, "go")
	call := up.call()
	call.say("answer")
	follower := ann.follow(session, "").events()
	follower.text("answer")
	call.finish("stop")
	for {
		ev, ok := follower.next()
		if !ok {
			t.Fatal("the follower was cut")
		}
		if ev.Type == "done" {
			break
		}
	}
	up.echo()
	ann.say(session, "at once")
	a.events().rest()
}

// TestManyFollowers has an answer of many pieces followed by several, of whom
// each loses its connection again and again and comes back for the rest.
func TestManyFollowers(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")
	session := newSession()
	a := ann.ask(session, "go")
	call := up.call()
	call.say("0 ")

	const followers, pieces = 4, 100
	texts := make(chan string, followers)
	for i := range followers {
		go func() {
			text, last, events := "", "", 0
			defer func() { texts <- text }()
			for {
				e := ann.follow(session, last).events()
				for {
					ev, ok := e.next()
					if !ok || ev.Type == "done" {
						return
					}
					text, last = text+ev.Content, ev.ID
					if events++; events%(7+i) == 0 {
						e.resp.Body.Close()
						break
					}
				}
			}
		}()
	}
	want := "0 "
	for i := 1; i < pieces; i++ {
		piece := fmt.Sprintf("%d ", i)
		want += piece
		call.say(piece)
	}
	call.finish("stop")
	for range followers {
		if got := <-texts; got != want {
			t.Errorf("a follower read %q", got)
		}
	}
	if got := a.events().rest(); got.text != want {
		t.Errorf("the one who asked read %q", got.text)
	}
}
