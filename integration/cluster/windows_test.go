package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// windowLog is what was granted and refused by one window.
type windowLog struct {
	limit  int
	length time.Duration

	mu      sync.Mutex
	granted []int64 // the server's times, in milliseconds
	refused []refusal
}

// refusal is when a request was refused: between these times, in milliseconds. Redis
// has the clock of the test.
type refusal struct{ from, to int64 }

// ask makes a request and logs its answer, which may also have one other status.
func (l *windowLog) ask(t *testing.T, c *harness.Client, other ...int) {
	t.Helper()
	from := time.Now()
	resp := c.Get()
	to := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch resp.StatusCode {
	case http.StatusOK:
		// the whole window is free again when the newest request leaves it, which
		// is this one
		reset, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64)
		if err != nil {
			t.Errorf("X-RateLimit-Reset: %v", err)
		}
		l.granted = append(l.granted, reset-l.length.Milliseconds())
	case http.StatusTooManyRequests:
		l.refused = append(l.refused, refusal{from.UnixMilli(), to.UnixMilli()})
	default:
		if !slices.Contains(other, resp.StatusCode) {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
}

// full reports whether the window was filled and found full several times.
func (l *windowLog) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.granted) >= 4*l.limit && len(l.refused) >= l.limit
}

// check compares all answers with the times that the server granted.
func (l *windowLog) check(t *testing.T) {
	t.Helper()
	l.checkGranted(t, l.granted)
	length := l.length.Milliseconds()
	for _, r := range l.refused {
		inside := 0
		for _, at := range l.granted {
			if at >= r.from-length-1 && at <= r.to {
				inside++
			}
		}
		if inside < l.limit {
			t.Errorf("refused with %d requests in a window of %d in %s", inside, l.limit, l.length)
		}
	}
}

// checkGranted checks that no interval of the window's length has more than its limit
// of these times.
func (l *windowLog) checkGranted(t *testing.T, times []int64) {
	t.Helper()
	slices.Sort(times)
	for i := range len(times) - l.limit {
		if apart := times[i+l.limit] - times[i]; apart < l.length.Milliseconds() {
			t.Errorf("%d requests within %d ms pass a window of %d in %s", l.limit+1, apart, l.limit, l.length)
		}
	}
}

// TestWindowEdges has three nodes asked without pause, until windows were filled
// several times. Whatever the machine's speed, each request that passed had room, and
// each that was refused had none: the moment when a request leaves the window, and
// not before, one more passes on any node.
func TestWindowEdges(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		logs := map[string]*windowLog{
			"one":  {limit: 1, length: 100 * time.Millisecond},
			"few":  {limit: 5, length: 500 * time.Millisecond},
			"many": {limit: 40, length: 2 * time.Second},
		}
		tenants := ""
		for name, l := range logs {
			tenants += fmt.Sprintf("tenant %s {\nrequests %d %s\n}\n", name, l.limit, l.length)
		}
		nodes := startWith(t, "chat {\nstore redis "+url+"\n"+tenants+"}", 3, harness.LimitedSite(""))
		var asking sync.WaitGroup
		for name, l := range logs {
			for _, c := range slices.Repeat(clients(nodes, name, "ann"), 2) {
				asking.Go(func() {
					for !l.full() && !t.Failed() {
						l.ask(t, c)
					}
				})
			}
		}
		asking.Wait()
		for name, l := range logs {
			l.check(t)
			t.Logf("%s: %d passed, %d were refused", name, len(l.granted), len(l.refused))
		}
	})
}
