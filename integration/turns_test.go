package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSessionOwnership(t *testing.T) {
	c, up := echoing(t, "")
	session := newSession()
	newClient(c, "acme", "ann").say(session, "ann's secret")

	others := map[string]*client{
		"another user":               newClient(c, "acme", "bob"),
		"nobody in particular":       newClient(c, "acme", ""),
		"anonymous by name":          newClient(c, "acme", "anonymous"),
		"the same name elsewhere":    newClient(c, "globex", "ann"),
		"the same name in upper":     newClient(c, "acme", "Ann"),
		"one who is nobody anywhere": newClient(c, "globex", ""),
	}
	t.Run("to anyone else it never was", func(t *testing.T) {
		for who, other := range others {
			for _, r := range [][2]string{
				{"GET", "/history"}, {"GET", "/stream"}, {"POST", "/cancel"}, {"DELETE", ""},
			} {
				resp := other.do(r[0], "/chat/"+session+r[1], nil)
				if resp.StatusCode != http.StatusNotFound {
					t.Errorf("%s: %s %s", who, r[0], r[1])
				}
				wantFailure(t, resp, 404, "session_not_found")
			}
			if l := other.list(""); len(l.Data.Sessions) != 0 {
				t.Errorf("%s sees %+v", who, l.Data.Sessions)
			}
		}
	})

	t.Run("a POST with its id starts one's own", func(t *testing.T) {
		prompts := make(chan prompt, 1)
		up.answer(func(c *upstreamCall) string {
			prompts <- c.prompt
			return "yours"
		})
		bob := newClient(c, "acme", "bob")
		bob.say(session, "bob's")
		wantList(t, "what the model gets", (<-prompts).texts(), []string{"user: bob's"})
		wantList(t, "bob's", contents(bob.history(session)), []string{"user: bob's", "assistant: yours"})
		wantList(t, "ann's", contents(newClient(c, "acme", "ann").history(session)), []string{"user: ann's secret", "assistant: re: ann's secret"})
		up.echo()
	})

	t.Run("nobody in particular is anonymous", func(t *testing.T) {
		id := newSession()
		newClient(c, "acme", "").say(id, "who am I")
		if n := len(newClient(c, "acme", "anonymous").history(id)); n != 2 {
			t.Errorf("anonymous by name sees %d messages", n)
		}
	})

	t.Run("the body's userId is X-User-Id of that name", func(t *testing.T) {
		id := newSession()
		nobody := newClient(c, "acme", "")
		readEvents(t, nobody.do(http.MethodPost, "/chat", ask{SessionID: id, Message: "by body", UserID: "carl"})).rest()
		carl := newClient(c, "acme", "carl")
		wantList(t, "carl's", contents(carl.history(id)), []string{"user: by body", "assistant: re: by body"})
		wantList(t, "carl's list", sessionIDs(carl.list("")), []string{id})
		if msgs := nobody.history(id); msgs != nil {
			t.Errorf("anonymous sees %+v", msgs)
		}
	})

	t.Run("the header wins over the body", func(t *testing.T) {
		id := newSession()
		dora := newClient(c, "acme", "dora")
		readEvents(t, dora.do(http.MethodPost, "/chat", ask{SessionID: id, Message: "by header", UserID: "emil"})).rest()
		if n := len(dora.history(id)); n != 2 {
			t.Errorf("dora sees %d messages", n)
		}
		if msgs := newClient(c, "acme", "emil").history(id); msgs != nil {
			t.Errorf("emil sees %+v", msgs)
		}
	})
}

func TestOneTurnAtATime(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")

	t.Run("a second one is session_busy", func(t *testing.T) {
		session := newSession()
		first := ann.ask(session, "first")
		call := up.call()
		second := ask{SessionID: session, Message: "second"}
		wantFailure(t, ann.do(http.MethodPost, "/chat", second), 409, "session_busy")
		call.say("some")
		stream := first.events()
		stream.text("some")
		wantFailure(t, ann.do(http.MethodPost, "/chat", second), 409, "session_busy")

		bob := newClient(c, "acme", "bob").ask(session, "mine")
		up.call().finish("stop")
		if a := bob.events().rest(); a.done == nil {
			t.Error("another user's session of this name is busy too")
		}

		call.finish("stop")
		stream.rest()
		wantList(t, "history", contents(ann.history(session)), []string{"user: first", "assistant: some"})
	})

	t.Run("the session is free as soon as done was read", func(t *testing.T) {
		up.echo()
		session := newSession()
		for i := range 200 {
			streamed := i%2 == 0
			resp := ann.do(http.MethodPost, "/chat", ask{SessionID: session, Message: fmt.Sprint(i), Stream: &streamed})
			if !streamed {
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("turn %d: %d %s", i, resp.StatusCode, readAll(t, resp))
				}
				resp.Body.Close()
				continue
			}
			stream := readEvents(t, resp)
			for {
				ev, ok := stream.next()
				if !ok {
					t.Fatalf("turn %d: cut", i)
				}
				if ev.Type == "done" {
					break
				}
			}
			// what comes behind done is left unread on purpose
		}
		if n := len(ann.history(session)); n != 400 {
			t.Errorf("%d messages after 200 turns", n)
		}
	})
}

func TestContext(t *testing.T) {
	t.Parallel()
	up := newSteered(t)
	prompts := make(chan prompt, 1)
	up.answer(func(c *upstreamCall) string {
		prompts <- c.prompt
		return "a" + c.prompt.question()[1:]
	})
	const tenants = `
	chat {
		tenant acme {
			system "You are Acme's."
		}
		tenant globex {
			max_messages 3
		}
	}
`
	c := startCaddy(t, tenants, up.chain("context_messages 3\n\t\tsystem \"You are anybody's.\""))
	last := func(cl *client, session string, turns int) []string {
		t.Helper()
		var p prompt
		for i := range turns {
			cl.say(session, fmt.Sprintf("q%d", i))
			p = <-prompts
		}
		return p.texts()
	}

	t.Run("is exactly n stored messages before the new one", func(t *testing.T) {
		ann := newClient(c, "acme", "ann")
		wantList(t, "first", last(ann, newSession(), 1), []string{"system: You are Acme's.", "user: q0"})
		wantList(t, "second", last(ann, newSession(), 2), []string{"system: You are Acme's.", "user: q0", "assistant: a0", "user: q1"})
		wantList(t, "fifth", last(ann, newSession(), 5), []string{"system: You are Acme's.", "assistant: a2", "user: q3", "assistant: a3", "user: q4"})
	})

	t.Run("does not count a question that is asked again", func(t *testing.T) {
		ann := newClient(c, "acme", "ann")
		session := newSession()
		last(ann, session, 3)
		up.cancelled(ann, session, "q3")
		ann.say(session, "q3")
		wantList(t, "again", (<-prompts).texts(), []string{"system: You are Acme's.", "assistant: a1", "user: q2", "assistant: a2", "user: q3"})
	})

	t.Run("has the directive's system prompt where the tenant has none", func(t *testing.T) {
		globex := newClient(c, "globex", "ann")
		wantList(t, "prompt", last(globex, newSession(), 1), []string{"system: You are anybody's.", "user: q0"})
	})

	t.Run("max_messages keeps the newest", func(t *testing.T) {
		globex := newClient(c, "globex", "ann")
		session := newSession()
		last(globex, session, 4)
		wantList(t, "history", contents(globex.history(session)), []string{"assistant: a2", "user: q3", "assistant: a3"})
		if n := globex.list("").Data.Sessions[0].MessageCount; n != 3 {
			t.Errorf("messageCount is %d", n)
		}
	})

	t.Run("context_tokens is a bound too, and 0 messages are none", func(t *testing.T) {
		// an estimate of four bytes a token: 10 for each of 40 bytes
		c.writeConfig(tenants, up.chain("context_tokens 25\n\t\tmax_messages 100"))
		c.reload()
		ann := newClient(c, "acme", "ann")
		session := newSession()
		var p prompt
		for i := range 3 {
			ann.say(session, fmt.Sprintf("q%d", i)+strings.Repeat(".", 38))
			p = <-prompts
		}
		wantList(t, "prompt", p.texts(), []string{
			"system: You are Acme's.",
			"user: q1" + strings.Repeat(".", 38),
			"assistant: a1" + strings.Repeat(".", 38),
			"user: q2" + strings.Repeat(".", 38),
		})

		c.writeConfig(tenants, up.chain("context_messages 0"))
		c.reload()
		wantList(t, "prompt", last(ann, session, 1), []string{"system: You are Acme's.", "user: q0"})
	})
}

func TestRetention(t *testing.T) {
	up := newSteered(t)
	prompts := make(chan prompt, 100)
	up.answer(func(c *upstreamCall) string {
		prompts <- c.prompt
		return "answer"
	})
	c := startCaddy(t, "chat {\n\ttenant acme {\n\t\tretention 1s\n\t}\n\ttenant globex\n}", up.chain(""))
	ann := newClient(c, "acme", "ann")
	session := newSession()
	ann.say(session, "soon forgotten")
	newClient(c, "globex", "ann").say(session, "kept")

	eventually(t, "the session expires", func() bool {
		asked := time.Now().UnixMilli()
		msgs := ann.history(session)
		for _, m := range msgs {
			if m.Timestamp+1000 <= asked {
				t.Fatalf("a message %d ms old is returned", asked-m.Timestamp)
			}
		}
		return msgs == nil
	})
	wantFailure(t, ann.do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
	if l := ann.list(""); len(l.Data.Sessions) != 0 {
		t.Errorf("still listed: %+v", l.Data.Sessions)
	}
	<-prompts
	<-prompts
	ann.say(session, "anew")
	wantList(t, "what the model gets", (<-prompts).texts(), []string{"user: anew"})
	if n := len(newClient(c, "globex", "ann").history(session)); n != 2 {
		t.Errorf("the other tenant has %d messages left", n)
	}
}

// keysOf are the names of a JSON object, sorted.
func keysOf(t testing.TB, doc []byte) []string {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	return slices.Sorted(maps.Keys(m))
}

var usageKeys = []string{"costUsd", "estimated", "latencyMs", "modelId", "tokensIn", "tokensOut", "totalTokens", "ttftMs"}

func TestDocumentAnswer(t *testing.T) {
	c, _ := echoing(t, "")
	ann := newClient(c, "acme", "ann")
	session := newSession()
	no := false
	resp := ann.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "hello", Stream: &no}, "X-Trace-Id", "trace-1")
	body := readAll(t, resp)

	var doc struct {
		OK      bool            `json:"ok"`
		Data    json.RawMessage `json:"data"`
		TraceID string          `json:"traceId"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	var data struct {
		Status, SessionID, Message, FinishReason string
		Stream                                   *bool
		Usage                                    usage
	}
	if err := json.Unmarshal(doc.Data, &data); err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(doc.Data, &raw); err != nil {
		t.Fatal(err)
	}
	wantList(t, "members", keysOf(t, []byte(body)), []string{"data", "ok", "traceId"})
	wantList(t, "data", keysOf(t, doc.Data), []string{"finishReason", "message", "sessionId", "status", "stream", "usage"})
	wantList(t, "usage", keysOf(t, raw["usage"]), usageKeys)
	if resp.StatusCode != http.StatusOK || !doc.OK || doc.TraceID != "trace-1" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if data.Status != "accepted" || data.SessionID != session || data.Message != "re: hello" || data.FinishReason != "stop" || data.Stream == nil || *data.Stream {
		t.Errorf("data: %s", doc.Data)
	}
	wantUsage(t, data.Usage)
	for name, want := range map[string]string{
		"Content-Type":    "application/json",
		"X-Tenant-Id":     "acme",
		"X-Trace-Id":      "trace-1",
		"X-Model-Id":      "fast",
		"X-Tokens-In":     "11",
		"X-Tokens-Out":    "7",
		"X-Tokens-Total":  "18",
		"X-Ai-Latency-Ms": strconv.FormatInt(data.Usage.LatencyMs, 10),
	} {
		if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	wantList(t, "history", contents(ann.history(session)), []string{"user: hello", "assistant: re: hello"})
}

func wantUsage(t testing.TB, u usage) {
	t.Helper()
	if u.ModelID != "fast" || u.TokensIn != upstreamTokensIn || u.TokensOut != upstreamTokensOut || u.TotalTokens != upstreamTokensIn+upstreamTokensOut || u.Estimated {
		t.Errorf("usage: %+v", u)
	}
	if u.LatencyMs < u.TTFTMs || u.TTFTMs < 0 {
		t.Errorf("latency %d ms, first token after %d ms", u.LatencyMs, u.TTFTMs)
	}
}

func TestStreamedAnswer(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")
	session := newSession()
	a := ann.start(ann.request(http.MethodPost, "/chat", ask{SessionID: session, Message: "hello"}, "X-Trace-Id", "trace-1"))
	call := up.call()
	call.say("Grüße, ")
	resp := a.answer()
	for name, want := range map[string]string{
		"Content-Type":      "text/event-stream",
		"Cache-Control":     "no-cache",
		"X-Accel-Buffering": "no",
		"X-Tenant-Id":       "acme",
		"X-Trace-Id":        "trace-1",
		"X-Model-Id":        "fast",
		"X-Tokens-In":       "2", // an estimate: the question has 5 bytes
		"X-RateLimit-Limit": "100000",
	} {
		if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	stream := readEvents(t, resp)
	// each event is there before the next one is made
	list := stream.text("Grüße, ")
	call.say("Welt\n\"!\"")
	list = append(list, stream.text("Welt\n\"!\"")...)
	call.finish("length")
	end := stream.rest()
	list = append(list, end.events...)

	wantIDs(t, list)
	wantList(t, "an event", keysOf(t, []byte(list[0].Data)), []string{"content", "role", "sessionId", "tenantId", "traceId"})
	if e := list[0]; e.SessionID != session || e.TenantID != "acme" || e.TraceID != "trace-1" || !strings.Contains(e.Data, `"role":"assistant"`) {
		t.Errorf("got %+v", e)
	}
	if end.done == nil || end.done.FinishReason != "length" || !strings.Contains(end.done.Data, `"done":true`) {
		t.Fatalf("done: %+v", end.done)
	}
	wantList(t, "done", keysOf(t, []byte(end.done.Data)), []string{"done", "finishReason", "usage"})
	wantUsage(t, end.done.Usage)
	wantList(t, "history", contents(ann.history(session)), []string{"user: hello", "assistant: Grüße, Welt\n\"!\""})
}
