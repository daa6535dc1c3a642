package cluster

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestRoundTrips counts the operations of a request: each is a round trip to the
// server, and docs/scaling.md has the numbers.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := harness.NewUpstream(t)
	const site = "tenant_resolve\nchat_ratelimit {\n\trequests 1000 1m\n\trequests 10000 1m per tenant\n%s}\nchat_session\n"
	global := options(server.URL())
	windows := harness.Start(t, global, fmt.Sprintf(site, "")+up.Gateway())
	slots := harness.Start(t, global, fmt.Sprintf(site, "\tconcurrent 100\n")+up.Gateway())
	windowed := harness.Start(t, global, fmt.Sprintf(site, "\ttokens 1000000 1m\n")+up.Gateway())
	all := harness.Start(t, global, fmt.Sprintf(site, "\tconcurrent 100\n\ttokens 1000000 1m\n")+up.Gateway())

	leaving := harness.Start(t, global, strings.Replace(fmt.Sprintf(site, "\tconcurrent 100\n\ttokens 1000000 1m\n"), "chat_session", "chat_session {\n\ton_disconnect cancel\n}", 1)+up.Gateway())

	acme, initech, slotted := harness.NewClient(windows, "acme", "ann"), harness.NewClient(windows, "initech", "ann"), harness.NewClient(slots, "acme", "ann")
	spender, limited := harness.NewClient(windowed, "acme", "ann"), harness.NewClient(all, "initech", "ann")
	leaver := harness.NewClient(leaving, "initech", "ann")
	a, g, s, w, l := harness.NewSession(), harness.NewSession(), harness.NewSession(), harness.NewSession(), harness.NewSession()
	v1 := func(c *harness.Client, header ...string) *harness.Pending {
		return c.StartCompletion(harness.NewQuestion("fast").Streamed(), header...)
	}
	keys := 0
	keyed := func(c *harness.Client) *harness.Pending {
		keys++
		body := harness.ChatRequest{SessionID: harness.NewSession(), Message: "once"}
		return c.Start(c.Request(http.MethodPost, "/chat", body, "Idempotency-Key", fmt.Sprint(keys)))
	}
	answered := "" // the last one
	response := func(c *harness.Client, header ...string) *harness.Pending {
		body := map[string]any{"model": "fast", "input": "hi", "stream": true}
		if id := regexp.MustCompile("resp_[0-9a-f]+").FindString(answered); id != "" {
			body["previous_response_id"] = id
		}
		return c.Start(c.Request(http.MethodPost, "/v1/responses", body, header...))
	}
	whole := []harness.Message{{Role: "user", Content: "hello"}}
	w1 := harness.NewSession()
	conversation := func(c *harness.Client, session string, header ...string) *harness.Pending {
		whole = append(whole, harness.Message{Role: "assistant", Content: "Hello"}, harness.Message{Role: "user", Content: "and now?"})
		q := harness.NewQuestion("fast").Streamed()
		q.Messages = whole
		if session == l { // its turns so far
			q.Messages = []harness.Message{{Role: "user", Content: "hello"}, {Role: "assistant", Content: "Hello"}, {Role: "user", Content: "and now?"}}
		}
		return c.StartCompletion(q, append(header, "X-Session-Id", session)...)
	}
	// diverging sends another conversation each time, whose last messages the session does not
	// have: what was stored as its turn began is taken back.
	w2, told := harness.NewSession(), 0
	diverging := func(c *harness.Client) *harness.Pending {
		told++
		q := harness.NewQuestion("fast").Streamed()
		q.Messages = []harness.Message{{Role: "user", Content: fmt.Sprint("story ", told)}, {Role: "assistant", Content: "Hello"}}
		for i := range 50 {
			q.Messages = append(q.Messages, harness.Message{Role: "user", Content: fmt.Sprint(told, " and ", i)})
		}
		return c.StartCompletion(q, "X-Session-Id", w2)
	}
	for _, test := range []struct {
		name   string
		ask    func() *harness.Pending
		before int // the model is called
		during int // a part of the answer has come, at most: more batches where the machine is busy
		after  int // the answer has ended
	}{
		{"a first message", func() *harness.Pending { return acme.Ask(a, "hello") }, 2, 1, 2},
		{"a further message", func() *harness.Pending { return acme.Ask(a, "hello again") }, 2, 1, 2},
		{"a message with a budget", func() *harness.Pending { return initech.Ask(g, "hello") }, 3, 1, 3},
		{"a message with concurrent", func() *harness.Pending { return slotted.Ask(s, "hello") }, 2, 1, 3},
		{"a message with a token window", func() *harness.Pending { return spender.Ask(w, "hello") }, 3, 1, 3},
		{"a message with a budget, a token window and concurrent", func() *harness.Pending { return limited.Ask(l, "hello") }, 3, 1, 4},
		{"a message with a key", func() *harness.Pending { return keyed(acme) }, 2, 4, 4},
		{"a message with a key and concurrent", func() *harness.Pending { return keyed(slotted) }, 2, 4, 5},
		{"a message with a key and a budget", func() *harness.Pending { return keyed(initech) }, 3, 4, 5},
		{"a message with a key, a budget, a token window and concurrent", func() *harness.Pending { return keyed(limited) }, 3, 4, 6},
		{"the same that ends when its client leaves", func() *harness.Pending { return keyed(leaver) }, 3, 4, 7},
		{"v1", func() *harness.Pending { return v1(acme) }, 1, 0, 0},
		{"v1 with a budget", func() *harness.Pending { return v1(initech) }, 2, 0, 1},
		{"v1 with concurrent", func() *harness.Pending { return v1(slotted) }, 2, 0, 1},
		{"v1 with a budget, a token window and concurrent", func() *harness.Pending { return v1(limited) }, 3, 0, 2},
		{"v1 with all of them and a key", func() *harness.Pending { return v1(limited, "Idempotency-Key", "k") }, 3, 3, 4},
		{"a response that is kept", func() *harness.Pending { return response(acme) }, 2, 2, 4},
		{"one that goes on from it", func() *harness.Pending { return response(acme) }, 3, 2, 4},
		{"a message between", func() *harness.Pending { return acme.Ask(a, "and now?") }, 2, 1, 2},
		{"a response that is kept, with all of them and a key", func() *harness.Pending { return response(limited, "Idempotency-Key", "r") }, 3, 6, 8},
		{"v1 with a session", func() *harness.Pending { return v1(acme, "X-Session-Id", a) }, 2, 1, 2},
		{"v1 with a new session and all of a conversation", func() *harness.Pending { return conversation(acme, w1) }, 3, 1, 2},
		{"v1 with all of a conversation that goes on", func() *harness.Pending { return conversation(acme, w1) }, 2, 1, 2},
		{"the same with a budget, a token window, concurrent and a key", func() *harness.Pending { return conversation(limited, l, "Idempotency-Key", "w") }, 3, 4, 6},
		{"v1 with all of a long conversation", func() *harness.Pending { return diverging(acme) }, 3, 1, 2},
		{"v1 with all of another one in its session", func() *harness.Pending { return diverging(acme) }, 4, 1, 2},
	} {
		n := server.Calls("evalsha")
		// want waits for operations, at least and at most so many.
		want := func(when string, least, most int) {
			t.Helper()
			harness.Eventually(t, fmt.Sprintf("%s: %d operations %s", test.name, least, when), func() bool { return server.Calls("evalsha") >= n+least })
			got := server.Calls("evalsha") - n
			if got > most {
				t.Errorf("%s: %d operations %s, want %d at most", test.name, got, when, most)
			}
			n += got
		}
		asked := test.ask()
		call := up.Call()
		want("before the model is called", test.before, test.before)
		call.Say("Hello")
		want("while it answers", min(1, test.during), test.during) // the events are one batch or several
		call.Finish("stop")
		resp := asked.Answer()
		if answered = harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d", test.name, resp.StatusCode)
		}
		// all is done when the body ends; the last events are a batch of their own, or
		// go with the end, as they come
		if got := server.Calls("evalsha") - n; got < test.after || got > test.after+test.during {
			t.Errorf("%s: %d operations after its answer, want %d, and %d of events at most", test.name, got, test.after, test.during)
		}
	}
}
