package cache

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestCoalescedSlowClient has one client that does not read and one that does.
func TestCoalescedSlowClient(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.CacheTenants, flightSite(up))
	for _, leads := range []bool{true, false} {
		t.Run(fmt.Sprint("slow client leads: ", leads), func(t *testing.T) {
			q := harness.QuestionOf(fmt.Sprint("slow ", leads)).Streamed()
			slowly := func() net.Conn { return sendOnly(t, c, "globex", q) }
			quickly := func() *harness.Pending { return harness.NewClient(c, "globex", "ann").StartCompletion(q) }
			var quick *harness.Pending
			var slow net.Conn
			if leads {
				slow = slowly()
			} else {
				quick = quickly()
			}
			call := up.Call()
			if leads {
				quick = quickly()
			} else {
				slow = slowly()
			}
			defer slow.Close()
			c.WantWaiting(2)
			call.Say("One")
			r := quick.Stream()
			// more than the connection's buffers hold
			text, piece := "One", strings.Repeat("x", 1<<20)
			for range 12 {
				call.Say(piece)
				text += piece
				r.ReadText(text)
			}
			call.Finish("stop")
			r.Rest().WantWhole(t, text)
			c.WantWaiting(1)
			slow.Close()
			c.WantNothingLeft()
		})
	}
}

// sendOnly sends a request and does not read the answer.
func sendOnly(t testing.TB, c *harness.Caddy, tenant string, q harness.Question) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if err := harness.NewClient(c, tenant, "slow").Request(http.MethodPost, harness.CompletionsPath, q).Write(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestCoalescedTooLong has an answer that exceeds the replay buffer for
// followers.
func TestCoalescedTooLong(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.CacheTenants, flightSite(up))
	list, call := coalesced(c, up, 2)
	piece := strings.Repeat("x", 4<<20)
	ends := make(chan *harness.Completion)
	for _, r := range list {
		go func() { ends <- r.Rest() }()
	}
	for range 9 {
		call.Try(harness.Sends(harness.Content(piece)))
	}
	call.WantGone()
	for range list {
		if a := <-ends; a.Code != "ai_error" || a.Done || len(a.Text) > 32<<20 || len(a.Text) < 24<<20 {
			t.Errorf("%d bytes, error %q, end mark %v", len(a.Text), a.Code, a.Done)
		}
	}
	c.WantNothingLeft()
}

func TestCoalescedReload(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.CacheTenants, flightSite(up))
	list, call := coalesced(c, up, 3)
	c.Reload()
	// the new configuration joins the answer that the old one has in progress
	late := harness.NewClient(c, "globex", "late").StartCompletion(harness.NewQuestion("fast").Streamed()).Stream()
	late.ReadText("One")
	list[0].Ask.GoAway()
	call.Say(" two")
	call.Finish("stop")
	for _, r := range append(list[1:], late) {
		r.Rest().WantWhole(t, "One two")
	}
	a := harness.NewClient(c, "globex", "late").Complete(harness.NewQuestion("fast").Streamed())
	wantCache(t, a.Header, "hit")
	c.WantNothingLeft()
}

func TestCoalescedShutdown(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.CacheTenants, flightSite(up))
	list, call := coalesced(c, up, 3)
	slow := sendOnly(t, c, "globex", harness.NewQuestion("fast").Streamed())
	defer slow.Close()
	c.WantWaiting(4)
	piece := strings.Repeat("x", 1<<20)
	for range 12 {
		call.Say(piece)
		for _, r := range list {
			r.ReadText(r.Text + piece)
		}
	}
	early := harness.NewClient(c, "globex", "ann").StartCompletion(harness.QuestionOf("early").Streamed())
	earlyCall := up.Call()
	whole := []*harness.Pending{harness.NewClient(c, "globex", "ann").StartCompletion(harness.QuestionOf("whole"))}
	wholeCall := up.Call()
	whole = append(whole, harness.NewClient(c, "globex", "bob").StartCompletion(harness.QuestionOf("whole")))
	c.WantWaiting(7)

	c.Signal(syscall.SIGTERM)
	for _, r := range list {
		a := r.Rest()
		if a.Code != "ai_unavailable" || a.Done {
			t.Errorf("the stream ended with error %q, end mark %v", a.Code, a.Done)
		}
	}
	call.WantGone()
	harness.WantFailure(t, early.Answer(), http.StatusServiceUnavailable, "ai_unavailable")
	earlyCall.WantGone()
	// a document may finish
	wholeCall.Say("whole")
	wholeCall.Finish("stop")
	for _, a := range whole {
		if resp := a.Answer(); resp.StatusCode != http.StatusOK {
			t.Errorf("document: status %d: %s", resp.StatusCode, harness.ReadAll(t, resp))
		}
	}
	<-c.Exit
	if c.Err != nil {
		t.Fatalf("Caddy ended with %v", c.Err)
	}
}
