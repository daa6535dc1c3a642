package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/replay"
)

// upstream starts an upstream and returns its address.
func upstream(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { _ = replay.Serve(l) }()
	return l.Addr().String()
}

func TestRun(t *testing.T) {
	addr := upstream(t)
	for name, tc := range map[string]struct {
		req  Request
		lags int
	}{
		"documents":                      {Request{Model: "3", Words: 3}, 0},
		"streams":                        {Request{Model: "3", Words: 3, Stream: true}, 30},
		"a stream of more than a buffer": {Request{Model: "1000", Words: 1000, Stream: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			plan := Plan{Addr: addr, Request: &tc.req, Connections: 4, Requests: 10}
			got, err := plan.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.Requests != 10 || got.Words != 10*tc.req.Words || len(got.Took) != 10 || len(got.First) != 10 {
				t.Errorf("%d requests with %d words, %d and %d times", got.Requests, got.Words, len(got.Took), len(got.First))
			}
			if tc.lags > 0 && len(got.Lags) != tc.lags {
				t.Errorf("%d times of words, want %d", len(got.Lags), tc.lags)
			}
		})
	}
}

func TestRunFails(t *testing.T) {
	addr := upstream(t)
	for name, tc := range map[string]struct {
		req  Request
		want string
	}{
		"a missing word":   {Request{Model: "2", Words: 3, Stream: true}, "2 of 3 words"},
		"an error status":  {Request{Model: "gpt-4o", Words: 1}, "400 Bad Request"},
		"a wrong document": {Request{Model: "2", Words: 1}, "2 of 1 words"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Plan{Addr: addr, Request: &tc.req, Connections: 1, Requests: 1}.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := upstream(t)
	held := Request{Model: "1-held", Words: 1, Stream: true}
	done := make(chan error)
	go func() {
		_, err := Plan{Addr: addr, Request: &held, Connections: 2, Requests: 2}.Run(ctx)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the error of a stop", err)
	}
}

func TestHold(t *testing.T) {
	addr := upstream(t)
	req := &Request{Model: "1000000", Words: 1, Stream: true}
	open, err := Hold(t.Context(), addr, req, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for i, c := range open.conns {
		if c.read.words == 0 {
			t.Errorf("stream %d has no first word", i)
		}
	}
	req.Model = "gpt-4o"
	if _, err := Hold(t.Context(), addr, req, 3); err == nil {
		t.Error("refused streams are held")
	}
}

func TestCheck(t *testing.T) {
	stream, turn := Request{Words: 3, Stream: true}, Request{Words: 3, Stream: true, Chat: true}
	whole := answer{words: 3}
	for tail, ok := range map[string][2]bool{
		"data: [DONE]": {true, false},
		`data: {"done":true,"finishReason":"stop"}`:  {false, true},
		`data: {"done":true,"finishReason":"error"}`: {false, false},
		"": {false, false},
	} {
		if got := [2]bool{stream.check(whole, []byte(tail)) == nil, turn.check(whole, []byte(tail)) == nil}; got != ok {
			t.Errorf("end %q: complete as a stream and as a turn: %v, want %v", tail, got, ok)
		}
	}
}

// TestSchedule checks when requests begin and are due while answers take time.
func TestSchedule(t *testing.T) {
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		plan  Plan
		takes time.Duration
		begun []time.Duration // when each begins
		due   []time.Duration // when its time starts to count
	}{
		"a closed loop continues with the answer": {
			Plan{Duration: 100 * ms}, 40 * ms,
			[]time.Duration{0, 40 * ms, 80 * ms}, []time.Duration{0, 40 * ms, 80 * ms},
		},
		"a number of requests, however long they take": {
			Plan{Requests: 2}, time.Hour,
			[]time.Duration{0, time.Hour}, []time.Duration{0, time.Hour},
		},
		"a fixed rate waits until a request is due": {
			Plan{Duration: 100 * ms, Rate: 20}, 10 * ms,
			[]time.Duration{0, 50 * ms}, []time.Duration{0, 50 * ms},
		},
		"a delayed request was due earlier": {
			Plan{Requests: 3, Rate: 20}, 80 * ms,
			[]time.Duration{0, 80 * ms, 160 * ms}, []time.Duration{0, 50 * ms, 100 * ms},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				next := tc.plan.schedule(t.Context(), start)
				var begun, dues []time.Duration
				for {
					n, due, ok := next()
					if !ok {
						break
					}
					if n != int64(len(begun)) {
						t.Errorf("request %d has the number %d", len(begun), n)
					}
					begun = append(begun, time.Since(start))
					dues = append(dues, due.Sub(start))
					time.Sleep(tc.takes) // the answer
				}
				if !slices.Equal(begun, tc.begun) || !slices.Equal(dues, tc.due) {
					t.Errorf("begun at %v, due at %v; want %v, %v", begun, dues, tc.begun, tc.due)
				}
			})
		})
	}
}

func TestNumber(t *testing.T) {
	wire := func(r Request, n int64) string {
		c := r.clone()
		c.number(n)
		return string(c.wire)
	}
	for name, tc := range map[string]struct {
		req        Request
		same, next int64 // as 0: whether the same request
	}{
		"one session of two":  {Request{Chat: true, Sessions: 2}, 2, 1},
		"one tenant of three": {Request{Tenants: 3}, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if first := wire(tc.req, 0); wire(tc.req, tc.same) != first || wire(tc.req, tc.next) == first {
				t.Errorf("want the same request for %d and another for %d:\n%s", tc.same, tc.next, first)
			}
		})
	}
	first, second := wire(Request{Chat: true}, 0), wire(Request{Chat: true}, 0)
	if first == second {
		t.Error("two turns share a session")
	}
	if one := (Request{}); wire(one, 0) != wire(one, 1) {
		t.Error("completions differ")
	}
}

// TestParts reads an answer that arrives in pieces of every length.
func TestParts(t *testing.T) {
	stamp := fmt.Sprint(time.Now().UnixNano())
	chunk := "~" + stamp + " and more"
	wire := "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" +
		fmt.Sprintf("%x\r\n%s\r\n", len(chunk), chunk) +
		"4\r\n~end\r\n0\r\n\r\n"
	for length := 1; length <= len(wire); length++ {
		server, client := net.Pipe()
		go func() {
			for part := range slices.Chunk([]byte(wire), length) {
				_, _ = server.Write(part)
			}
			server.Close()
		}()
		c := &conn{Conn: client, r: bufio.NewReaderSize(client, 64)}
		if err := c.body(); err != nil {
			t.Fatalf("parts of %d: %v", length, err)
		}
		if c.read.words != 2 || string(c.tail) != chunk+"~end" {
			t.Errorf("parts of %d: %d words, the end is %q", length, c.read.words, c.tail)
		}
		if _, err := c.r.ReadByte(); err != io.EOF {
			t.Errorf("parts of %d: unread bytes: %v", length, err)
		}
		client.Close()
	}
}

func TestTailIsTheEnd(t *testing.T) {
	var c conn
	all := ""
	for i := range 100 {
		part := strings.Repeat(fmt.Sprint(i), i%40+1)
		c.note([]byte(part))
		all += part
		if want := all[max(0, len(all)-tailLen):]; string(c.tail) != want {
			t.Fatalf("after %d parts: got %q, want %q", i+1, c.tail, want)
		}
	}
}
