package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestNodeDies kills the node of running turns. Their leases end within 30 seconds.
func TestNodeDies(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		up := harness.NewUpstream(t)
		all := clients(start(t, url, 2, up.Chain("")), "acme", "ann")
		victim := start(t, url, 1, up.Chain(""))[0]
		ann := harness.NewClient(victim, "acme", "ann")
		// what finds that the node is gone: a follower, the history, the list, a message
		var followed, read, listed, asked string
		for _, session := range []*string{&followed, &read, &listed, &asked} {
			*session = harness.NewSession()
			a := ann.Ask(*session, "hello")
			up.Call().Say("part one")
			a.Events().Text("part one")
		}
		follower := all[0].Follow(followed, "").Events()
		follower.Text("part one")
		// what is published is there within a moment, and seen by followers
		for _, session := range []string{read, listed, asked} {
			e := all[0].Follow(session, "")
			e.Events().Text("part one")
			e.GoAway()
		}
		if got := harness.Contents(all[1].History(read)); fmt.Sprint(got) != "[user: hello]" {
			t.Errorf("the history of a running turn is %s", got)
		}
		victim.Kill()

		if end := follower.Rest(); end.Failed == nil || end.Failed.Code != "ai_unavailable" || end.Done == nil || end.Done.FinishReason != "error" {
			t.Errorf("the follower's stream ends with %+v", end)
		}
		all[1].WantLast(followed, "part one", "partial")
		all[1].WantLast(read, "part one", "partial")
		harness.Eventually(t, "the list counts the answer", func() bool {
			for _, s := range all[0].List("").Data.Sessions {
				if s.SessionID == listed && s.MessageCount == 2 {
					return true
				}
			}
			return false
		})
		if end := all[1].Follow(listed, "").Events().Rest(); end.Text != "part one" || end.Done == nil || end.Done.FinishReason != "error" {
			t.Errorf("the turn that the list has ended is %+v", end)
		}
		up.Plays(harness.Echoes)
		harness.Eventually(t, "the session is free", func() bool {
			resp := all[1].Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: asked, Message: "again"})
			if resp.StatusCode != http.StatusOK {
				harness.ReadAll(t, resp)
				return false
			}
			return harness.ReadEvents(t, resp).Rest().Done != nil
		})
		want := "[user: hello assistant: part one user: again assistant: re: again]"
		if got := fmt.Sprint(harness.Contents(all[0].History(asked))); got != want {
			t.Errorf("the history is %s, want %s", got, want)
		}
	})
}

// TestSlotsOfDeadNode kills the node that holds all slots of a limit.
func TestSlotsOfDeadNode(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const slots, lease = 3, 30 * time.Second
		up := harness.NewUpstream(t, harness.Steps(harness.Begins("part"), harness.Stalls))
		site := fmt.Sprintf("tenant_resolve\nchat_ratelimit {\n\tconcurrent %d\n\trequests 100000 1m\n}\n", slots) + up.Gateway()
		nodes := start(t, url, 3, site)
		all := clients(nodes, "acme", "ann")
		granted := func(c *harness.Client) bool {
			resp := c.StartCompletion(harness.NewQuestion("fast").Streamed()).Answer()
			if resp.StatusCode == http.StatusOK {
				return true // and goes on
			}
			harness.WantFailure(t, resp, http.StatusTooManyRequests, "rate_limited")
			return false
		}
		for i := range slots {
			if !granted(all[0]) {
				t.Errorf("slot %d is not free", i+1)
			}
		}
		for i, c := range all {
			if granted(c) {
				t.Errorf("node %d lets one more through", i)
			}
		}
		nodes[0].Kill()
		if granted(all[1]) {
			t.Error("a slot is free at once")
		}
		killed := time.Now() // and what the node sent before has been done
		for i := range slots {
			harness.Eventually(t, "a slot is free", func() bool {
				asked := time.Now()
				if granted(all[1+i%2]) {
					return true
				}
				if after := asked.Sub(killed); after > lease {
					t.Errorf("slot %d is not free %s after its node was killed", i+1, after)
				}
				return false
			})
		}
		if granted(all[1]) {
			t.Error("more slots are free than there are")
		}
	})
}

// TestRepeatedNodeDies repeats requests under their keys whose node has died: the question
// stands once, and the partial answer is replaced.
func TestRepeatedNodeDies(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := harness.NewUpstream(t)
	victim, other := start(t, server.URL(), 1, up.Sessions(""))[0], start(t, server.URL(), 1, up.Sessions(""))[0]
	ann, again := harness.NewClient(victim, "acme", "ann"), harness.NewClient(other, "acme", "ann")
	native, openai := harness.NewSession(), harness.NewSession()
	ask := func(cl *harness.Client, session string) *harness.Pending {
		if session == native {
			return cl.Start(cl.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hello"}, "Idempotency-Key", "k"))
		}
		return cl.StartCompletion(harness.QuestionOf("hello").Streamed(), "X-Session-Id", session, "Idempotency-Key", "k")
	}
	for _, session := range []string{native, openai} {
		asked := ask(ann, session)
		up.Call().Say("part one")
		asked.Raw().UpTo("part one")
		harness.Eventually(t, "the part is published", func() bool {
			resp := again.Do(http.MethodGet, "/chat/"+session+"/stream", nil)
			defer resp.Body.Close()
			b := make([]byte, 4096)
			n, _ := resp.Body.Read(b)
			return strings.Contains(string(b[:n]), "part one")
		})
	}
	victim.Kill()
	up.Plays(harness.Echoes)
	for _, session := range []string{native, openai} {
		var got string
		harness.Eventually(t, "it is asked once more", func() bool {
			got = harness.ReadAll(t, ask(again, session).Answer())
			return !strings.Contains(got, "ai_unavailable") && !strings.Contains(got, "session_busy")
		})
		if !strings.Contains(got, "re: hello") {
			t.Errorf("asked once more, it is\n%s", got)
		}
		harness.WantList(t, "history", harness.Contents(again.History(session)), []string{"user: hello", "assistant: re: hello"})
	}
	for _, asked := range up.Requests() {
		if n := len(asked.Messages()); n != 1 {
			t.Errorf("the model was sent %v", asked.Said())
		}
	}
}
