package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestManyFollowers has 1,000 clients on two nodes follow the turn of one of them, from
// its first event, while it goes on.
func TestManyFollowers(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const followers, pieces = 1000, 30
		up := harness.NewUpstream(t)
		all := clients(start(t, url, 2, up.Chain("")), "acme", "ann")
		own := harness.Transport.Clone() // whose connections end with the test
		t.Cleanup(own.CloseIdleConnections)
		for _, c := range all {
			c.HTTP = &http.Client{Transport: own}
		}
		session := harness.NewSession()
		a := all[0].Ask(session, "hello")
		call := up.Call()
		call.Say("begin ")
		producer := a.Events()
		begun := producer.Text("begin ")

		var following atomic.Int64
		answers := make([]harness.Answered, followers)
		var reading sync.WaitGroup
		joining := make(chan struct{}, 20) // each reads from Redis first
		for i := range followers {
			reading.Go(func() {
				joining <- struct{}{}
				e, first := join(all[i%2], session)
				<-joining
				following.Add(1)
				answers[i] = e.Rest()
				answers[i].Events = append([]harness.Event{first}, answers[i].Events...)
			})
		}
		harness.Eventually(t, "all follow", func() bool { return following.Load() == followers })
		want := ""
		for i := range pieces {
			piece := fmt.Sprintf("piece %d ", i)
			call.Say(piece)
			want += piece
		}
		call.Finish("stop")
		reading.Wait()
		end := producer.Rest()
		events := len(begun) + len(end.Events)
		end.Events = append(begun, end.Events...)
		for i, a := range slices.Concat(answers, []harness.Answered{end}) {
			harness.WantIDs(t, a.Events)
			if len(a.Events) != events {
				t.Errorf("client %d has %d events of %d", i, len(a.Events), events)
			}
			if a.Text != want || a.Failed != nil || a.Done == nil || a.Done.FinishReason != "stop" {
				t.Errorf("client %d ends with %+v", i, a)
			}
			if t.Failed() {
				break
			}
		}
		all[1].WantLast(session, "begin "+want, "complete")
		if n := up.Count(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// join follows a turn until its first event, again if Redis is too slow for all who
// begin to.
func join(c *harness.Client, session string) (e *harness.Events, first harness.Event) {
	c.T.Helper()
	harness.Eventually(c.T, "the turn is followed", func() bool {
		resp := c.Do(http.MethodGet, "/chat/"+session+"/stream", nil)
		if resp.StatusCode != http.StatusOK {
			harness.WantFailure(c.T, resp, http.StatusServiceUnavailable, "storage_unavailable")
			return false
		}
		var ok bool
		e = harness.ReadEvents(c.T, resp)
		first, ok = e.Next()
		return ok
	})
	return e, first
}
