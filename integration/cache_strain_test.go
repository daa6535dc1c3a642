package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestCoalescedSlowClient has a client that does not read, before others who
// do.
func TestCoalescedSlowClient(t *testing.T) {
	t.Parallel()
	up := NewSteered(t)
	c := Start(t, CacheTenants, flightSite(up))
	for _, leads := range []bool{true, false} {
		t.Run(fmt.Sprintf("which leads %v", leads), func(t *testing.T) {
			q := QuestionOf(fmt.Sprint("slow ", leads)).Streamed()
			slowly := func() net.Conn { return sendOnly(t, c, "globex", q) }
			quickly := func() *Pending { return NewClient(c, "globex", "ann").StartCompletion(q) }
			var quick *Pending
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
			// more than what the connection's buffers hold
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

// sendOnly makes a request and reads nothing of its answer.
func sendOnly(t testing.TB, c *Caddy, tenant string, q Question) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if err := NewClient(c, tenant, "slow").Request(http.MethodPost, CompletionsPath, q).Write(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestCoalescedTooLong has an answer that is longer than what is held for
// those who come later.
func TestCoalescedTooLong(t *testing.T) {
	t.Parallel()
	up := NewSteered(t)
	c := Start(t, CacheTenants, flightSite(up))
	list, call := coalesced(c, up, 2)
	piece := strings.Repeat("x", 4<<20)
	ends := make(chan *Completion)
	for _, r := range list {
		go func() { ends <- r.Rest() }()
	}
	for range 9 {
		select {
		case call.Steps <- func(w http.ResponseWriter) bool { call.writeUnlessGone(w, piece); return false }:
			<-call.Acks
		case <-call.Gone:
		}
	}
	call.WantGone()
	for range list {
		if a := <-ends; a.Code != "ai_error" || a.Done || len(a.Text) > 32<<20 || len(a.Text) < 24<<20 {
			t.Errorf("%d bytes, error %q, end mark %v", len(a.Text), a.Code, a.Done)
		}
	}
	c.WantNothingLeft()
}

// writeUnlessGone writes a piece to a caller who may cancel the call over it.
func (c *UpstreamCall) writeUnlessGone(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, Content(text))
	_ = http.NewResponseController(w).Flush()
}

func TestCoalescedReload(t *testing.T) {
	t.Parallel()
	up := NewSteered(t)
	c := Start(t, CacheTenants, flightSite(up))
	list, call := coalesced(c, up, 3)
	c.Reload()
	// the new configuration finds the answer of the old one on its way
	late := NewClient(c, "globex", "late").StartCompletion(NewQuestion("fast").Streamed()).Stream()
	late.ReadText("One")
	list[0].Ask.GoAway()
	call.Say(" two")
	call.Finish("stop")
	for _, r := range append(list[1:], late) {
		r.Rest().WantWhole(t, "One two")
	}
	a := NewClient(c, "globex", "late").Complete(NewQuestion("fast").Streamed())
	wantCache(t, a.Header, "hit")
	c.WantNothingLeft()
}

func TestCoalescedShutdown(t *testing.T) {
	t.Parallel()
	up := NewSteered(t)
	c := Start(t, CacheTenants, flightSite(up))
	list, call := coalesced(c, up, 3)
	slow := sendOnly(t, c, "globex", NewQuestion("fast").Streamed())
	defer slow.Close()
	c.WantWaiting(4)
	piece := strings.Repeat("x", 1<<20)
	for range 12 {
		call.Say(piece)
		for _, r := range list {
			r.ReadText(r.Text + piece)
		}
	}
	early := NewClient(c, "globex", "ann").StartCompletion(QuestionOf("early").Streamed())
	earlyCall := up.Call()
	whole := []*Pending{NewClient(c, "globex", "ann").StartCompletion(QuestionOf("whole"))}
	wholeCall := up.Call()
	whole = append(whole, NewClient(c, "globex", "bob").StartCompletion(QuestionOf("whole")))
	c.WantWaiting(7)

	c.Signal(syscall.SIGTERM)
	for _, r := range list {
		a := r.Rest()
		if a.Code != "ai_unavailable" || a.Done {
			t.Errorf("the stream ended with error %q, end mark %v", a.Code, a.Done)
		}
	}
	call.WantGone()
	WantFailure(t, early.Answer(), http.StatusServiceUnavailable, "ai_unavailable")
	earlyCall.WantGone()
	// a document may finish
	wholeCall.Say("whole")
	wholeCall.Finish("stop")
	for _, a := range whole {
		if resp := a.Answer(); resp.StatusCode != http.StatusOK {
			t.Errorf("document: status %d: %s", resp.StatusCode, ReadAll(t, resp))
		}
	}
	<-c.Exit
	if c.Err != nil {
		t.Fatalf("Caddy ended with %v", c.Err)
	}
}
