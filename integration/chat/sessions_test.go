package chat

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// echoing starts the chain in front of an upstream that echoes.
func echoing(t testing.TB, session string) (*harness.Caddy, *harness.Upstream) {
	t.Helper()
	up := harness.NewUpstream(t)
	up.Plays(harness.Echoes)
	return harness.Start(t, harness.PlainTenants, up.Chain(session)), up
}

func TestHistory(t *testing.T) {
	c, _ := echoing(t, "")
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	before := time.Now()
	var all []string
	for i := range 4 {
		q := fmt.Sprintf("question %d", i)
		ann.Say(session, q)
		all = append(all, "user: "+q, "assistant: re: "+q)
	}
	page := func(query string) harness.HistoryAnswer {
		t.Helper()
		var h harness.HistoryAnswer
		if status := ann.Call(http.MethodGet, "/chat/"+session+"/history"+query, nil, &h); status != http.StatusOK {
			t.Fatalf("history%s answered %d", query, status)
		}
		return h
	}

	t.Run("is sorted newest last, with all fields", func(t *testing.T) {
		h := page("")
		harness.WantList(t, "messages", harness.Contents(h.Data.Messages), all)
		if h.Data.NextBefore != "" || h.Data.SessionID != session {
			t.Errorf("got %+v", h.Data)
		}
		seen := make(map[string]bool)
		last := before.UnixMilli()
		for _, m := range h.Data.Messages {
			if m.ID == "" || seen[m.ID] {
				t.Errorf("id %q: want a unique one", m.ID)
			}
			seen[m.ID] = true
			if m.Timestamp < last || m.Timestamp > time.Now().UnixMilli() {
				t.Errorf("timestamp %d after %d", m.Timestamp, last)
			}
			last = m.Timestamp
			if m.Status != "complete" || m.TokenCount < 1 {
				t.Errorf("got %+v", m)
			}
			if m.Role == "assistant" && (m.ModelID != "fast" || m.TokenCount != harness.UpstreamTokensOut) {
				t.Errorf("got %+v", m)
			}
		}
	})

	t.Run("pages backwards without a gap", func(t *testing.T) {
		var got []string
		query := "?limit=3"
		for pages := 1; ; pages++ {
			h := page(query)
			got = append(harness.Contents(h.Data.Messages), got...)
			if h.Data.NextBefore == "" {
				if pages != 3 {
					t.Errorf("%d pages of 3 for 8 messages", pages)
				}
				break
			}
			if len(h.Data.Messages) != 3 {
				t.Errorf("a page of 3 has %d", len(h.Data.Messages))
			}
			query = "?limit=3&before=" + h.Data.NextBefore
		}
		harness.WantList(t, "all pages", got, all)
		if h := page("?limit=8"); h.Data.NextBefore != "" {
			t.Error("nextBefore on the last page")
		}
		if h := page("?limit=1000000"); len(h.Data.Messages) != 8 {
			t.Errorf("a limit beyond the maximum gives %d", len(h.Data.Messages))
		}
	})

	t.Run("refuses an invalid limit or cursor", func(t *testing.T) {
		for _, query := range []string{"limit=0", "limit=-1", "limit=x", "limit=1.5", "before=0", "before=x", "before=-3"} {
			f := harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history?"+query, nil), 400, "invalid_request")
			if name, _, _ := strings.Cut(query, "="); !strings.Contains(f.Error.Message, name) {
				t.Errorf("%s: %q does not name the field", query, f.Error.Message)
			}
		}
	})

	t.Run("returns 50 messages by default", func(t *testing.T) {
		long := harness.NewSession()
		for i := range 26 {
			ann.Say(long, fmt.Sprint(i))
		}
		var h harness.HistoryAnswer
		ann.Call(http.MethodGet, "/chat/"+long+"/history", nil, &h)
		if len(h.Data.Messages) != 50 || h.Data.NextBefore == "" || h.Data.Messages[0].Content != "1" {
			t.Errorf("%d messages, nextBefore %q", len(h.Data.Messages), h.Data.NextBefore)
		}
	})
}

func TestSessionList(t *testing.T) {
	c, _ := echoing(t, "")
	ann := harness.NewClient(c, "acme", "ann")
	if l := ann.List(""); l.Data.Sessions == nil || len(l.Data.Sessions) != 0 {
		t.Errorf("new user: %+v, want an empty list", l.Data)
	}
	var ids []string
	for i := range 5 {
		ids = append(ids, harness.NewSession())
		ann.Say(ids[i], fmt.Sprintf("title %d", i))
		tick(t)
	}
	ann.Say(ids[1], "once more")
	want := []string{ids[1], ids[4], ids[3], ids[2], ids[0]}

	t.Run("is newest first, with titles and counts", func(t *testing.T) {
		l := ann.List("")
		harness.WantList(t, "sessions", harness.SessionIDs(l), want)
		first, last := l.Data.Sessions[0], l.Data.Sessions[4]
		if first.Title != "title 1" || first.MessageCount != 4 || first.UpdatedAt <= first.CreatedAt {
			t.Errorf("got %+v", first)
		}
		if last.Title != "title 0" || last.MessageCount != 2 || l.Data.NextBefore != "" {
			t.Errorf("got %+v", last)
		}
	})

	t.Run("pages without a gap", func(t *testing.T) {
		var got []string
		query := "?limit=2"
		for {
			l := ann.List(query)
			got = append(got, harness.SessionIDs(l)...)
			if l.Data.NextBefore == "" {
				break
			}
			query = "?limit=2&before=" + l.Data.NextBefore
		}
		harness.WantList(t, "all pages", got, want)
	})

	t.Run("refuses an invalid limit or cursor", func(t *testing.T) {
		for _, query := range []string{"limit=0", "limit=x", "before=1", "before=x_y", "before=1_"} {
			harness.WantFailure(t, ann.Do(http.MethodGet, "/chat?"+query, nil), 400, "invalid_request")
		}
	})

	t.Run("shortens a long title", func(t *testing.T) {
		ann.Say(harness.NewSession(), strings.Repeat("ü", 500))
		title := []rune(ann.List("?limit=1").Data.Sessions[0].Title)
		if len(title) > 80 || title[0] != 'ü' {
			t.Errorf("the title has %d characters", len(title))
		}
	})
}

// tick waits until the clock shows another millisecond.
func tick(t testing.TB) {
	t.Helper()
	now := time.Now().UnixMilli()
	harness.Eventually(t, "time passes", func() bool { return time.Now().UnixMilli() > now })
}

func TestDeleteSession(t *testing.T) {
	c, up := echoing(t, "")
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	ann.Say(session, "secret")
	harness.WantFailure(t, harness.NewClient(c, "acme", "bob").Do(http.MethodDelete, "/chat/"+session, nil), 404, "session_not_found")
	if n := len(ann.History(session)); n != 2 {
		t.Fatalf("after another user's DELETE there are %d messages", n)
	}

	var ok struct{ OK bool }
	if status := ann.Call(http.MethodDelete, "/chat/"+session, nil, &ok); status != http.StatusOK || !ok.OK {
		t.Fatalf("DELETE answered %d %+v", status, ok)
	}
	harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
	harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/stream", nil), 404, "session_not_found")
	harness.WantFailure(t, ann.Do(http.MethodPost, "/chat/"+session+"/cancel", nil), 404, "session_not_found")
	harness.WantFailure(t, ann.Do(http.MethodDelete, "/chat/"+session, nil), 404, "session_not_found")
	if l := ann.List(""); len(l.Data.Sessions) != 0 {
		t.Errorf("still listed: %+v", l.Data.Sessions)
	}

	prompts := make(chan harness.Asked, 1)
	up.Plays(harness.Replies(func(c harness.Asked) string {
		prompts <- c
		return "fresh"
	}))
	ann.Say(session, "anew")
	harness.WantList(t, "what the model gets", (<-prompts).Said(), []string{"user: anew"})
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: anew", "assistant: fresh"})
	if l := ann.List(""); l.Data.Sessions[0].Title != "anew" {
		t.Errorf("the title is still %q", l.Data.Sessions[0].Title)
	}
}

// TestDeleteWhileAnswering deletes a session during an answer, which must not
// bring the session back.
func TestDeleteWhileAnswering(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	a := ann.Ask(session, "hello")
	call := up.Call()
	call.Say("begun")
	stream := a.Events()
	stream.Text("begun")
	if resp := ann.Do(http.MethodDelete, "/chat/"+session, nil); resp.StatusCode != http.StatusOK {
		t.Fatalf("DELETE answered %d", resp.StatusCode)
	}
	call.WantGone()
	if end := stream.Rest(); end.Done == nil || end.Done.FinishReason != "cancelled" {
		t.Errorf("the stream ended with %+v", end.Events)
	}
	harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
	up.Plays(harness.Echoes)
	ann.Say(session, "anew")
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: anew", "assistant: re: anew"})
}

func TestSessionRoutes(t *testing.T) {
	up := harness.NewUpstream(t)
	up.Plays(harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Chain("")+"\n\trespond \"passed on\" 418")
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	ann.Say(session, "hello")

	t.Run("methods other than HEAD are 405 with Allow", func(t *testing.T) {
		for _, tc := range []struct{ method, path, allow string }{
			{"PUT", "/chat", "GET, HEAD, POST"},
			{"DELETE", "/chat", "GET, HEAD, POST"},
			{"GET", "/chat/" + session, "DELETE"},
			{"POST", "/chat/" + session, "DELETE"},
			{"POST", "/chat/" + session + "/history", "GET, HEAD"},
			{"DELETE", "/chat/" + session + "/history", "GET, HEAD"},
			{"POST", "/chat/" + session + "/stream", "GET, HEAD"},
			{"GET", "/chat/" + session + "/cancel", "POST"},
			{"OPTIONS", "/chat/" + session + "/cancel", "POST"},
		} {
			resp := ann.Do(tc.method, tc.path, nil)
			if got := resp.Header.Get("Allow"); got != tc.allow {
				t.Errorf("%s %s: Allow %q, want %q", tc.method, tc.path, got, tc.allow)
			}
			harness.WantFailure(t, resp, 405, "method_not_allowed")
		}
		for _, path := range []string{"/chat", "/chat/" + session + "/history"} {
			resp := ann.Do(http.MethodHead, path, nil)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("HEAD %s: %d, want GET's status", path, resp.StatusCode)
			}
		}
	})

	t.Run("unknown paths below are 404", func(t *testing.T) {
		for _, path := range []string{"/chat/" + session + "/nothing", "/chat/" + session + "/history/1", "/chat/x/y/z"} {
			harness.WantFailure(t, ann.Do(http.MethodGet, path, nil), 404, "not_found")
		}
		harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/no-uuid/history", nil), 404, "session_not_found")
	})

	t.Run("everything else passes through", func(t *testing.T) {
		for _, path := range []string{"/chatter", "/", "/v1/chat", "/cha", "/api/chat", "/CHAT"} {
			if resp := ann.Do(http.MethodPost, path, nil); resp.StatusCode != http.StatusTeapot || harness.ReadAll(t, resp) != "passed on" {
				t.Errorf("%s answered %d", path, resp.StatusCode)
			}
		}
	})

	t.Run("path moves the routes", func(t *testing.T) {
		c.WriteConfig(harness.PlainTenants, up.Chain("path /api/chat")+"\n\trespond \"passed on\" 418")
		c.Reload()
		elsewhere := harness.NewClient(c, "acme", "ann")
		elsewhere.URL += "/api"
		harness.WantList(t, "history", harness.Contents(elsewhere.History(session)), []string{"user: hello", "assistant: re: hello"})
		elsewhere.Say(session, "there")
		if n := elsewhere.List("").Data.Sessions[0].MessageCount; n != 4 {
			t.Errorf("%d messages", n)
		}
		for _, path := range []string{"/chat", "/api/chatter", "/api"} {
			if resp := ann.Do(http.MethodGet, path, nil); resp.StatusCode != http.StatusTeapot {
				t.Errorf("%s answered %d: %s", path, resp.StatusCode, harness.ReadAll(t, resp))
			}
		}
	})
}
