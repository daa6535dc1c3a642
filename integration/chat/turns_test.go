package chat

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

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestSessionOwnership(t *testing.T) {
	c, up := echoing(t, "")
	session := harness.NewSession()
	harness.NewClient(c, "acme", "ann").Say(session, "ann's secret")

	others := map[string]*harness.Client{
		"another user":                harness.NewClient(c, "acme", "bob"),
		"anonymous":                   harness.NewClient(c, "acme", ""),
		"anonymous by name":           harness.NewClient(c, "acme", "anonymous"),
		"the same name elsewhere":     harness.NewClient(c, "globex", "ann"),
		"the same name in upper case": harness.NewClient(c, "acme", "Ann"),
		"anonymous elsewhere":         harness.NewClient(c, "globex", ""),
	}
	t.Run("others get session_not_found", func(t *testing.T) {
		for who, other := range others {
			for _, r := range [][2]string{
				{"GET", "/history"}, {"GET", "/stream"}, {"POST", "/cancel"}, {"DELETE", ""},
			} {
				resp := other.Do(r[0], "/chat/"+session+r[1], nil)
				if resp.StatusCode != http.StatusNotFound {
					t.Errorf("%s: %s %s", who, r[0], r[1])
				}
				harness.WantFailure(t, resp, 404, "session_not_found")
			}
			if l := other.List(""); len(l.Data.Sessions) != 0 {
				t.Errorf("%s sees %+v", who, l.Data.Sessions)
			}
		}
	})

	t.Run("a POST with the same id starts a session of one's own", func(t *testing.T) {
		prompts := make(chan harness.Asked, 1)
		up.Plays(harness.Replies(func(c harness.Asked) string {
			prompts <- c
			return "yours"
		}))
		bob := harness.NewClient(c, "acme", "bob")
		bob.Say(session, "bob's")
		harness.WantList(t, "what the model gets", (<-prompts).Said(), []string{"user: bob's"})
		harness.WantList(t, "bob's", harness.Contents(bob.History(session)), []string{"user: bob's", "assistant: yours"})
		harness.WantList(t, "ann's", harness.Contents(harness.NewClient(c, "acme", "ann").History(session)), []string{"user: ann's secret", "assistant: re: ann's secret"})
		up.Plays(harness.Echoes)
	})

	t.Run("a client without a user is anonymous", func(t *testing.T) {
		id := harness.NewSession()
		harness.NewClient(c, "acme", "").Say(id, "who am I")
		if n := len(harness.NewClient(c, "acme", "anonymous").History(id)); n != 2 {
			t.Errorf("anonymous by name sees %d messages", n)
		}
	})

	t.Run("anonymous sessions are found by their id alone", func(t *testing.T) {
		id := harness.NewSession()
		visitor := harness.NewClient(c, "acme", "")
		visitor.Say(id, "my secret")
		harness.ReadEvents(t, visitor.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "by name", UserID: "anonymous"})).Rest()
		resp := visitor.Do(http.MethodPost, "/v1/chat/completions", `{"messages":[{"role":"user","content":"under v1"}]}`, "X-Session-Id", harness.NewSession())
		harness.ReadAll(t, resp)
		for who, client := range map[string]*harness.Client{"no name": visitor, "the name": harness.NewClient(c, "acme", "anonymous")} {
			for _, query := range []string{"", "?limit=1", "?limit=1&before=9999999999999_" + id} {
				if l := client.List(query); l.Data.Sessions == nil || len(l.Data.Sessions) != 0 || l.Data.NextBefore != "" {
					t.Errorf("%s: GET /chat%s lists %+v", who, query, l.Data)
				}
			}
			harness.WantFailure(t, client.Do(http.MethodGet, "/chat?limit=0", nil), 400, "invalid_request")
		}
		harness.WantList(t, "by its id", harness.Contents(visitor.History(id)), []string{"user: my secret", "assistant: re: my secret"})
		if resp := visitor.Do(http.MethodDelete, "/chat/"+id, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("deleting it: %d", resp.StatusCode)
		}
	})

	t.Run("the body's userId equals X-User-Id", func(t *testing.T) {
		id := harness.NewSession()
		anonymous := harness.NewClient(c, "acme", "")
		harness.ReadEvents(t, anonymous.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: id, Message: "by body", UserID: "carl"})).Rest()
		carl := harness.NewClient(c, "acme", "carl")
		harness.WantList(t, "carl's", harness.Contents(carl.History(id)), []string{"user: by body", "assistant: re: by body"})
		harness.WantList(t, "carl's list", harness.SessionIDs(carl.List("")), []string{id})
		if msgs := anonymous.History(id); msgs != nil {
			t.Errorf("anonymous sees %+v", msgs)
		}
	})

	t.Run("the header wins over the body", func(t *testing.T) {
		id := harness.NewSession()
		dora := harness.NewClient(c, "acme", "dora")
		harness.ReadEvents(t, dora.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: id, Message: "by header", UserID: "emil"})).Rest()
		if n := len(dora.History(id)); n != 2 {
			t.Errorf("dora sees %d messages", n)
		}
		if msgs := harness.NewClient(c, "acme", "emil").History(id); msgs != nil {
			t.Errorf("emil sees %+v", msgs)
		}
	})
}

func TestOneTurnAtATime(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")

	t.Run("a second turn is session_busy", func(t *testing.T) {
		session := harness.NewSession()
		first := ann.Ask(session, "first")
		call := up.Call()
		second := harness.ChatRequest{SessionID: session, Message: "second"}
		harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", second), 409, "session_busy")
		call.Say("some")
		stream := first.Events()
		stream.Text("some")
		harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", second), 409, "session_busy")

		bob := harness.NewClient(c, "acme", "bob").Ask(session, "mine")
		up.Call().Finish("stop")
		if a := bob.Events().Rest(); a.Done == nil {
			t.Error("another user's session with the same id is busy too")
		}

		call.Finish("stop")
		stream.Rest()
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: first", "assistant: some"})
	})

	t.Run("the session is free as soon as done was read", func(t *testing.T) {
		up.Plays(harness.Echoes)
		session := harness.NewSession()
		for i := range 200 {
			streamed := i%2 == 0
			resp := ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: fmt.Sprint(i), Stream: &streamed})
			if !streamed {
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("turn %d: %d %s", i, resp.StatusCode, harness.ReadAll(t, resp))
				}
				resp.Body.Close()
				continue
			}
			stream := harness.ReadEvents(t, resp)
			for {
				ev, ok := stream.Next()
				if !ok {
					t.Fatalf("turn %d: cut", i)
				}
				if ev.Type == "done" {
					break
				}
			}
			// the rest after done is deliberately left unread
		}
		if n := len(ann.History(session)); n != 400 {
			t.Errorf("%d messages after 200 turns", n)
		}
	})
}

func TestContext(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	prompts := make(chan harness.Asked, 1)
	up.Plays(harness.Replies(func(c harness.Asked) string {
		prompts <- c
		return "a" + c.Question()[1:]
	}))
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
	c := harness.Start(t, tenants, up.Chain("context_messages 3\n\t\tsystem \"You are a helper.\""))
	last := func(cl *harness.Client, session string, turns int) []string {
		t.Helper()
		var p harness.Asked
		for i := range turns {
			cl.Say(session, fmt.Sprintf("q%d", i))
			p = <-prompts
		}
		return p.Said()
	}

	t.Run("holds exactly n stored messages before the new one", func(t *testing.T) {
		ann := harness.NewClient(c, "acme", "ann")
		harness.WantList(t, "first", last(ann, harness.NewSession(), 1), []string{"system: You are Acme's.", "user: q0"})
		harness.WantList(t, "second", last(ann, harness.NewSession(), 2), []string{"system: You are Acme's.", "user: q0", "assistant: a0", "user: q1"})
		harness.WantList(t, "fifth", last(ann, harness.NewSession(), 5), []string{"system: You are Acme's.", "assistant: a2", "user: q3", "assistant: a3", "user: q4"})
	})

	t.Run("does not count a repeated question", func(t *testing.T) {
		ann := harness.NewClient(c, "acme", "ann")
		session := harness.NewSession()
		last(ann, session, 3)
		up.Cancelled(ann, session, "q3")
		ann.Say(session, "q3")
		harness.WantList(t, "again", (<-prompts).Said(), []string{"system: You are Acme's.", "assistant: a1", "user: q2", "assistant: a2", "user: q3"})
	})

	t.Run("falls back to the directive's system prompt", func(t *testing.T) {
		globex := harness.NewClient(c, "globex", "ann")
		harness.WantList(t, "prompt", last(globex, harness.NewSession(), 1), []string{"system: You are a helper.", "user: q0"})
	})

	t.Run("max_messages keeps the newest", func(t *testing.T) {
		globex := harness.NewClient(c, "globex", "ann")
		session := harness.NewSession()
		last(globex, session, 4)
		harness.WantList(t, "history", harness.Contents(globex.History(session)), []string{"assistant: a2", "user: q3", "assistant: a3"})
		if n := globex.List("").Data.Sessions[0].MessageCount; n != 3 {
			t.Errorf("messageCount is %d", n)
		}
	})

	t.Run("context_tokens and context_messages 0 limit it too", func(t *testing.T) {
		// at four bytes per token, each message of 40 bytes counts 10
		c.WriteConfig(tenants, up.Chain("context_tokens 25\n\t\tmax_messages 100"))
		c.Reload()
		ann := harness.NewClient(c, "acme", "ann")
		session := harness.NewSession()
		var p harness.Asked
		for i := range 3 {
			ann.Say(session, fmt.Sprintf("q%d", i)+strings.Repeat(".", 38))
			p = <-prompts
		}
		harness.WantList(t, "prompt", p.Said(), []string{
			"system: You are Acme's.",
			"user: q1" + strings.Repeat(".", 38),
			"assistant: a1" + strings.Repeat(".", 38),
			"user: q2" + strings.Repeat(".", 38),
		})

		c.WriteConfig(tenants, up.Chain("context_messages 0"))
		c.Reload()
		harness.WantList(t, "prompt", last(ann, session, 1), []string{"system: You are Acme's.", "user: q0"})
	})
}

func TestRetention(t *testing.T) {
	up := harness.NewUpstream(t)
	prompts := make(chan harness.Asked, 100)
	up.Plays(harness.Replies(func(c harness.Asked) string {
		prompts <- c
		return "answer"
	}))
	c := harness.Start(t, "chat {\n\ttenant acme {\n\t\tretention 1s\n\t}\n\ttenant globex\n}", up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	ann.Say(session, "soon forgotten")
	harness.NewClient(c, "globex", "ann").Say(session, "kept")

	harness.Eventually(t, "the session expires", func() bool {
		asked := time.Now().UnixMilli()
		msgs := ann.History(session)
		for _, m := range msgs {
			if m.Timestamp+1000 <= asked {
				t.Fatalf("a message %d ms old is returned", asked-m.Timestamp)
			}
		}
		return msgs == nil
	})
	harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
	if l := ann.List(""); len(l.Data.Sessions) != 0 {
		t.Errorf("still listed: %+v", l.Data.Sessions)
	}
	<-prompts
	<-prompts
	ann.Say(session, "anew")
	harness.WantList(t, "what the model gets", (<-prompts).Said(), []string{"user: anew"})
	if n := len(harness.NewClient(c, "globex", "ann").History(session)); n != 2 {
		t.Errorf("the other tenant has %d messages left", n)
	}
}

// keysOf returns the sorted names of a JSON object.
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
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	no := false
	resp := ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hello", Stream: &no}, "X-Trace-Id", "trace-1")
	body := harness.ReadAll(t, resp)

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
		Usage                                    harness.Usage
	}
	if err := json.Unmarshal(doc.Data, &data); err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(doc.Data, &raw); err != nil {
		t.Fatal(err)
	}
	harness.WantList(t, "members", keysOf(t, []byte(body)), []string{"data", "ok", "traceId"})
	harness.WantList(t, "data", keysOf(t, doc.Data), []string{"finishReason", "message", "sessionId", "status", "stream", "usage"})
	harness.WantList(t, "usage", keysOf(t, raw["usage"]), usageKeys)
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
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: hello", "assistant: re: hello"})
}

func wantUsage(t testing.TB, u harness.Usage) {
	t.Helper()
	if u.ModelID != "fast" || u.TokensIn != harness.UpstreamTokensIn || u.TokensOut != harness.UpstreamTokensOut || u.TotalTokens != harness.UpstreamTokensIn+harness.UpstreamTokensOut || u.Estimated {
		t.Errorf("usage: %+v", u)
	}
	if u.LatencyMs < u.TTFTMs || u.TTFTMs < 0 {
		t.Errorf("latency %d ms, first token after %d ms", u.LatencyMs, u.TTFTMs)
	}
}

func TestStreamedAnswer(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	a := ann.Start(ann.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hello"}, "X-Trace-Id", "trace-1"))
	call := up.Call()
	call.Say("Grüße, ")
	resp := a.Answer()
	for name, want := range map[string]string{
		"Content-Type":      "text/event-stream",
		"Cache-Control":     "no-cache",
		"X-Accel-Buffering": "no",
		"X-Tenant-Id":       "acme",
		"X-Trace-Id":        "trace-1",
		"X-Model-Id":        "fast",
		"X-Tokens-In":       "2", // an estimate for 5 bytes
		"X-RateLimit-Limit": "100000",
	} {
		if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	stream := harness.ReadEvents(t, resp)
	// each event arrives before the next one is sent
	list := stream.Text("Grüße, ")
	call.Say("Welt\n\"!\"")
	list = append(list, stream.Text("Welt\n\"!\"")...)
	call.Finish("length")
	end := stream.Rest()
	list = append(list, end.Events...)

	harness.WantIDs(t, list)
	harness.WantList(t, "an event", keysOf(t, []byte(list[0].Data)), []string{"content", "role", "sessionId", "tenantId", "traceId"})
	if e := list[0]; e.SessionID != session || e.TenantID != "acme" || e.TraceID != "trace-1" || !strings.Contains(e.Data, `"role":"assistant"`) {
		t.Errorf("got %+v", e)
	}
	if end.Done == nil || end.Done.FinishReason != "length" || !strings.Contains(end.Done.Data, `"done":true`) {
		t.Fatalf("done: %+v", end.Done)
	}
	harness.WantList(t, "done", keysOf(t, []byte(end.Done.Data)), []string{"done", "finishReason", "usage"})
	wantUsage(t, end.Done.Usage)
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: hello", "assistant: Grüße, Welt\n\"!\""})
}
