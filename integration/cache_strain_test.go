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
	up := newSteered(t)
	c := startCaddy(t, cacheTenants, flightSite(up))
	for _, leads := range []bool{true, false} {
		t.Run(fmt.Sprintf("which leads %v", leads), func(t *testing.T) {
			q := asks(fmt.Sprint("slow ", leads)).streamed()
			slowly := func() net.Conn { return sendOnly(t, c, "globex", q) }
			quickly := func() *asking { return newClient(c, "globex", "ann").startCompletion(q) }
			var quick *asking
			var slow net.Conn
			if leads {
				slow = slowly()
			} else {
				quick = quickly()
			}
			call := up.call()
			if leads {
				quick = quickly()
			} else {
				slow = slowly()
			}
			defer slow.Close()
			c.wantRides(2)
			call.say("One")
			r := quick.ride()
			// more than what the connection's buffers hold
			text, piece := "One", strings.Repeat("x", 1<<20)
			for range 12 {
				call.say(piece)
				text += piece
				r.text(text)
			}
			call.finish("stop")
			r.rest().wantWhole(t, text)
			c.wantRides(1)
			slow.Close()
			c.wantNothingLeft()
		})
	}
}

// sendOnly makes a request and reads nothing of its answer.
func sendOnly(t testing.TB, c *caddyProcess, tenant string, q question) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if err := newClient(c, tenant, "slow").request(http.MethodPost, completions, q).Write(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestCoalescedTooLong has an answer that is longer than what is held for
// those who come later.
func TestCoalescedTooLong(t *testing.T) {
	t.Parallel()
	up := newSteered(t)
	c := startCaddy(t, cacheTenants, flightSite(up))
	list, call := coalesced(c, up, 2)
	piece := strings.Repeat("x", 4<<20)
	ends := make(chan *completion)
	for _, r := range list {
		go func() { ends <- r.rest() }()
	}
	for range 9 {
		select {
		case call.steps <- func(w http.ResponseWriter) bool { call.writeUnlessGone(w, piece); return false }:
			<-call.acks
		case <-call.gone:
		}
	}
	call.wantGone()
	for range list {
		if a := <-ends; a.code != "ai_error" || a.done || len(a.Text) > 32<<20 || len(a.Text) < 24<<20 {
			t.Errorf("%d bytes, error %q, end mark %v", len(a.Text), a.code, a.done)
		}
	}
	c.wantNothingLeft()
}

// writeUnlessGone writes a piece to a caller who may cancel the call over it.
func (c *upstreamCall) writeUnlessGone(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, content(text))
	_ = http.NewResponseController(w).Flush()
}

func TestCoalescedReload(t *testing.T) {
	t.Parallel()
	up := newSteered(t)
	c := startCaddy(t, cacheTenants, flightSite(up))
	list, call := coalesced(c, up, 3)
	c.reload()
	// the new configuration finds the answer of the old one on its way
	late := newClient(c, "globex", "late").startCompletion(newQuestion("fast").streamed()).ride()
	late.text("One")
	list[0].ask.goAway()
	call.say(" two")
	call.finish("stop")
	for _, r := range append(list[1:], late) {
		r.rest().wantWhole(t, "One two")
	}
	a := newClient(c, "globex", "late").complete(newQuestion("fast").streamed())
	wantCache(t, a.header, "hit")
	c.wantNothingLeft()
}

func TestCoalescedShutdown(t *testing.T) {
	t.Parallel()
	up := newSteered(t)
	c := startCaddy(t, cacheTenants, flightSite(up))
	list, call := coalesced(c, up, 3)
	slow := sendOnly(t, c, "globex", newQuestion("fast").streamed())
	defer slow.Close()
	c.wantRides(4)
	piece := strings.Repeat("x", 1<<20)
	for range 12 {
		call.say(piece)
		for _, r := range list {
			r.text(r.Text + piece)
		}
	}
	early := newClient(c, "globex", "ann").startCompletion(asks("early").streamed())
	earlyCall := up.call()
	whole := []*asking{newClient(c, "globex", "ann").startCompletion(asks("whole"))}
	wholeCall := up.call()
	whole = append(whole, newClient(c, "globex", "bob").startCompletion(asks("whole")))
	c.wantRides(7)

	c.signal(syscall.SIGTERM)
	for _, r := range list {
		a := r.rest()
		if a.code != "ai_unavailable" || a.done {
			t.Errorf("the stream ended with error %q, end mark %v", a.code, a.done)
		}
	}
	call.wantGone()
	wantFailure(t, early.answer(), http.StatusServiceUnavailable, "ai_unavailable")
	earlyCall.wantGone()
	// a document may finish
	wholeCall.say("whole")
	wholeCall.finish("stop")
	for _, a := range whole {
		if resp := a.answer(); resp.StatusCode != http.StatusOK {
			t.Errorf("document: status %d: %s", resp.StatusCode, readAll(t, resp))
		}
	}
	<-c.exit
	if c.err != nil {
		t.Fatalf("Caddy ended with %v", c.err)
	}
}
