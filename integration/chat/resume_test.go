package chat

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestResume(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")

	t.Run("a running turn is replayed and followed", func(t *testing.T) {
		session := harness.NewSession()
		first := ann.Ask(session, "go")
		call := up.Call()
		call.Say("one ", "two ", "three ")
		stream := first.Events()
		all := stream.Text("one two three ")
		stream.Resp.Body.Close() // the connection is lost

		fromTwo := ann.Follow(session, all[1].ID).Events()
		fromStart := ann.Follow(session, "").Events()
		if ev, ok := fromTwo.Next(); !ok || ev.ID != all[2].ID || ev.Content != "three " {
			t.Errorf("after event 2 comes %+v", ev)
		}
		fromStart.Text("one two three ")

		call.Say("four ")
		all = append(all, fromStart.Text("four ")...)
		fromTwo.Text("four ")
		// a follower that is up to date gets only new events
		fromFour := ann.Follow(session, all[3].ID)
		call.Say("five")
		call.Finish("stop")
		end := fromStart.Rest()
		all = append(all, end.Events...)
		harness.WantIDs(t, all)
		if end.Text != "five" || end.Done == nil || end.Done.FinishReason != "stop" {
			t.Errorf("the follower's end is %+v", end)
		}
		wantUsage(t, end.Done.Usage)
		harness.WantRest(t, fromTwo, all[4:])
		harness.WantRest(t, fromFour.Events(), all[4:])
	})

	t.Run("a finished turn is replayed from any event", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "go")
		call := up.Call()
		call.Say("one ", "two ", "three")
		call.Finish("stop")
		all := a.Events().Rest().Events
		if len(all) != 4 {
			t.Fatalf("%d events", len(all))
		}
		for n, ev := range all[:3] {
			harness.WantRest(t, ann.Follow(session, ev.ID).Events(), all[n+1:])
		}
		harness.WantRest(t, ann.Follow(session, "").Events(), all)
		for _, what := range []string{"nonsense", "other-turn:2", ":", "x:-1", strings.Replace(all[0].ID, ":1", ":x", 1)} {
			harness.WantRest(t, ann.Follow(session, what).Events(), all)
		}
		// nothing comes after done
		resp := ann.Follow(session, all[3].ID).Answer()
		if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusNoContent || body != "" {
			t.Errorf("after done: %d %s", resp.StatusCode, body)
		}
	})

	t.Run("the first event may be named in the query", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "go")
		call := up.Call()
		call.Say("one ", "two ", "three ")
		stream := a.Events()
		all := stream.Text("one two three ")
		after := func(query string, header ...string) *harness.Events {
			return ann.Start(ann.Request(http.MethodGet, "/chat/"+session+"/stream?"+query, nil, header...)).Events()
		}
		running := after("after=" + all[1].ID)
		if ev, ok := running.Next(); !ok || ev.ID != all[2].ID {
			t.Errorf("after event 2 comes %+v", ev)
		}
		call.Say("four")
		call.Finish("stop")
		all = append(all, stream.Rest().Events...)
		harness.WantRest(t, running, all[3:])

		for _, tt := range []struct {
			query, header string
			want          []harness.Event
		}{
			{"after=" + all[0].ID, "", all[1:]},
			{"after=" + url.QueryEscape(all[2].ID) + "&limit=1", "", all[3:]},
			{"after=" + all[0].ID, all[2].ID, all[3:]}, // an EventSource sends the header when it comes back
			{"after=" + all[2].ID, all[0].ID, all[1:]},
			{"after=" + all[2].ID, "other-turn:2", all},
			{"after=" + all[2].ID, "nonsense", all},
			{"after=" + all[1].ID + "&after=" + all[3].ID, "", all[2:]},
			{"after=", all[2].ID, all[3:]},
			{"after=", "", all},
			{"after=%zz", "", all},
			{"after=nonsense", "", all},
			{"after=other-turn:2", "", all},
			{"after=" + all[0].ID + strings.Repeat("9", 5000), "", all},
		} {
			var header []string
			if tt.header != "" {
				header = []string{"Last-Event-ID", tt.header}
			}
			t.Logf("%.80s %s", tt.query, tt.header)
			harness.WantRest(t, after(tt.query, header...), tt.want)
		}

		done := all[len(all)-1].ID
		resp := ann.Do(http.MethodGet, "/chat/"+session+"/stream?after="+done, nil)
		if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusNoContent || body != "" {
			t.Errorf("after done: %d %s", resp.StatusCode, body)
		}
		bob := harness.NewClient(c, "acme", "bob")
		harness.WantFailure(t, bob.Do(http.MethodGet, "/chat/"+session+"/stream?after="+all[0].ID, nil), 404, "session_not_found")
	})

	t.Run("a failed or cancelled turn is followed to its end", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "go")
		call := up.Call()
		call.Say("begun")
		stream := a.Events()
		stream.Text("begun")
		follower := ann.Follow(session, "").Events()
		follower.Text("begun")
		call.Cut()
		end := stream.Rest().Events
		harness.WantRest(t, follower, end)
		if len(end) != 2 || end[0].Type != "error" || end[1].Type != "done" {
			t.Errorf("the end is %+v", end)
		}

		a = ann.Ask(session, "once more")
		call = up.Call()
		call.Say("begun")
		stream = a.Events()
		stream.Text("begun")
		follower = ann.Follow(session, "").Events()
		follower.Text("begun")
		ann.CancelTurn(session)
		call.WantGone()
		harness.WantRest(t, follower, stream.Rest().Events)
	})

	t.Run("an id of an earlier turn replays the newest one", func(t *testing.T) {
		session := harness.NewSession()
		var last []harness.Event
		for range 2 {
			before := last
			a := ann.Ask(session, "go")
			call := up.Call()
			call.Say("one ", "two")
			call.Finish("stop")
			last = a.Events().Rest().Events
			if before != nil {
				harness.WantRest(t, ann.Follow(session, before[1].ID).Events(), last)
			}
		}
	})

	t.Run("a document's turn can be followed", func(t *testing.T) {
		session := harness.NewSession()
		no := false
		a := ann.Start(ann.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "go", Stream: &no}))
		call := up.Call()
		call.Say("whole")
		follower := ann.Follow(session, "")
		call.Finish("stop")
		if end := follower.Events().Rest(); end.Text != "whole" || end.Done == nil {
			t.Errorf("got %+v", end)
		}
		a.Answer().Body.Close()
	})

	t.Run("without a turn there is nothing to follow", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "go")
		up.Call().Finish("stop")
		a.Events().Rest()
		for who, other := range map[string]*harness.Client{
			"another user": harness.NewClient(c, "acme", "bob"), "anonymous": harness.NewClient(c, "acme", ""), "another tenant": harness.NewClient(c, "globex", "ann"),
		} {
			t.Log(who)
			harness.WantFailure(t, other.Follow(session, "").Answer(), 404, "session_not_found")
		}
		harness.WantFailure(t, ann.Follow(harness.NewSession(), "").Answer(), 404, "session_not_found")
		c.Stop()
		c.Restart()
		resp := ann.Follow(session, "").Answer()
		if resp.StatusCode != http.StatusNoContent || harness.ReadAll(t, resp) != "" {
			t.Errorf("after a restart: %d", resp.StatusCode)
		}
	})

	t.Run("a turn cannot be followed after the resume window", func(t *testing.T) {
		c.WriteConfig(harness.PlainTenants, up.Chain("resume_window 1s"))
		c.Reload()
		session := harness.NewSession()
		a := ann.Ask(session, "go")
		up.Call().Finish("stop")
		a.Events().Rest()
		harness.Eventually(t, "the window closes", func() bool {
			resp := ann.Follow(session, "").Answer()
			harness.ReadAll(t, resp)
			return resp.StatusCode == http.StatusNoContent
		})
	})
}

// TestFollowerMayGoOn checks that the session is free once a follower has read
// done, however long the store takes.
func TestFollowerMayGoOn(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.TroubledTenants, up.Chain(""))
	c.Trouble("finish")
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	a := ann.Ask(session, "go")
	call := up.Call()
	call.Say("answer")
	follower := ann.Follow(session, "").Events()
	follower.Text("answer")
	call.Finish("stop")
	for {
		ev, ok := follower.Next()
		if !ok {
			t.Fatal("the follower was cut")
		}
		if ev.Type == "done" {
			break
		}
	}
	up.Plays(harness.Echoes)
	ann.Say(session, "at once")
	a.Events().Rest()
}

// TestManyFollowers has several clients follow a long answer. Each loses its
// connection repeatedly and resumes.
func TestManyFollowers(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	a := ann.Ask(session, "go")
	call := up.Call()
	call.Say("0 ")

	const followers, pieces = 4, 100
	texts := make(chan string, followers)
	for i := range followers {
		go func() {
			text, last, events := "", "", 0
			defer func() { texts <- text }()
			for {
				e := ann.Follow(session, last).Events()
				for {
					ev, ok := e.Next()
					if !ok || ev.Type == "done" {
						return
					}
					text, last = text+ev.Content, ev.ID
					if events++; events%(7+i) == 0 {
						e.Resp.Body.Close()
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
		call.Say(piece)
	}
	call.Finish("stop")
	for range followers {
		if got := <-texts; got != want {
			t.Errorf("a follower read %q", got)
		}
	}
	if got := a.Events().Rest(); got.Text != want {
		t.Errorf("the client that asked read %q", got.Text)
	}
}
