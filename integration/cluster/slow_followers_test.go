package cluster

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestSlowFollowers has followers on both nodes that read nothing: who asked, and a
// follower that reads, get all of the answer.
func TestSlowFollowers(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const slow, pieces, size = 20, 100, 16 << 10 // with the escapes more than all buffers on the way
		up := harness.NewUpstream(t)
		all := clients(start(t, url, 2, up.Chain("")), "acme", "ann")
		session := harness.NewSession()
		a := all[0].Ask(session, "hello")
		call := up.Call()
		call.Say("begin ")
		producer := a.Events()
		producer.Text("begin ")
		for i := range slow {
			conn, err := net.Dial("tcp", strings.TrimPrefix(all[i%2].URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET /chat/%s/stream HTTP/1.1\r\nHost: a\r\nX-Tenant-Id: acme\r\nX-User-Id: ann\r\n\r\n", session)
			if _, err := conn.Read(make([]byte, 1)); err != nil { // it follows
				t.Fatal(err)
			}
		}
		reader, first := join(all[1], session)
		want := first.Content
		var got harness.Answered
		var reading sync.WaitGroup
		reading.Go(func() { got = producer.Rest() })
		piece := strings.Repeat("\x01", size)
		for range pieces {
			call.Say(piece)
			want += piece
		}
		call.Finish("stop")
		if got := reader.Rest(); first.Content+got.Text != want || got.Done == nil || got.Failed != nil {
			t.Errorf("the follower has %d bytes of %d, %+v, %+v", len(first.Content+got.Text), len(want), got.Done, got.Failed)
		}
		reading.Wait()
		if got.Text != want[len(first.Content):] || got.Done == nil {
			t.Errorf("who asked has %d bytes, %+v", len(got.Text), got.Done)
		}
	})
}
