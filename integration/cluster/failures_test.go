package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestServerDies kills Redis while answers are streamed, and starts it again with what
// its log had. With appendfsync everysec the log of a killed server ends with what was
// acknowledged, unless the disk was busy: then up to two seconds may be missing.
func TestServerDies(t *testing.T) {
	t.Parallel()
	const streams, late = 200, 2 * time.Second
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	up := harness.NewUpstream(t)
	up.Plays(func(c *harness.Call) {
		if strings.HasPrefix(c.Question(), "message") {
			harness.Echoes(c)
			return
		}
		up.Hold(c)
	})
	all := clients(start(t, server.URL(), 2, up.Chain("")), "acme", "ann")

	type turn struct {
		session string
		call    *harness.HeldCall
		events  *harness.Events
	}
	var turns []turn
	for i := range streams {
		session := harness.NewSession()
		a := all[i%2].Ask(session, "hello")
		call := up.Call()
		call.Say("one ")
		e := a.Events()
		e.Text("one ")
		turns = append(turns, turn{session, call, e})
	}
	logged(t, server)
	talk := startTalk(t, all[0])
	harness.Eventually(t, "the conversation goes on", func() bool { return talk.answered() >= 3 })
	server.Kill()
	killed := time.Now()
	talk.ends.Wait()
	for i, turn := range turns {
		turn.call.Say("two ")
		turn.events.Text("two ")
		if i%2 == 0 {
			turn.call.Finish("stop")
			if end := turn.events.Rest(); end.Failed != nil || end.Done == nil || end.Done.FinishReason != "stop" {
				t.Errorf("turn %d ends with %+v", i, end)
			}
		}
	}
	server.Restart()
	for i, turn := range turns {
		text := "one two "
		if i%2 == 1 {
			turn.call.Say("three")
			turn.call.Finish("stop")
			text += "three"
			if end := turn.events.Rest(); end.Text != "three" || end.Failed != nil || end.Done == nil {
				t.Errorf("turn %d ends with %+v", i, end)
			}
		}
		all[(i+1)%2].WantLast(turn.session, text, "complete")
		if got, want := fmt.Sprint(harness.Contents(all[0].History(turn.session))), "[user: hello assistant: "+text+"]"; got != want {
			t.Errorf("turn %d: the history is %s, want %s", i, got, want)
		}
	}
	harness.Eventually(t, "the nodes are well", func() bool {
		var h struct{ Data struct{ Status string } }
		return all[0].Call(http.MethodGet, "/v1/health", nil, &h) == http.StatusOK && h.Data.Status == "ok"
	})
	talk.check(t, all[1], killed.Add(-late))
}

// talk is a conversation that goes on until a message is refused or not answered.
type talk struct {
	session string
	ends    sync.WaitGroup

	mu    sync.Mutex
	at    []time.Time // of the answers
	asked int
}

func startTalk(t *testing.T, c *harness.Client) *talk {
	t.Helper()
	l := &talk{session: harness.NewSession()}
	l.ends.Go(func() {
		for l.say(c) {
		}
	})
	return l
}

// say sends a message, and reports whether it was answered.
func (l *talk) say(c *harness.Client) bool {
	l.asked++
	resp, err := c.HTTP.Do(c.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: l.session, Message: fmt.Sprint("message ", l.asked)}))
	if err != nil {
		c.T.Error(err)
		return false
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return false
	}
	if end := harness.ReadEvents(c.T, resp).Rest(); end.Failed != nil || end.Done == nil {
		c.T.Errorf("message %d ends with %+v", l.asked, end)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = append(l.at, time.Now())
	return true
}

func (l *talk) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.at)
}

// check checks that the history has what was said in order and once, and all that was
// answered before some time.
func (l *talk) check(t *testing.T, c *harness.Client, before time.Time) {
	t.Helper()
	var said []string
	least := 0
	for i := range l.asked {
		text := fmt.Sprint("message ", i+1)
		said = append(said, "user: "+text, "assistant: re: "+text)
		if i < len(l.at) && l.at[i].Before(before) {
			least = len(said)
		}
	}
	got := harness.Contents(c.History(l.session))
	if len(got) > len(said) || len(got) < least || !slices.Equal(got, said[:len(got)]) {
		t.Errorf("the history is %q, want at least %d of %q", got, least, said)
	}
	t.Logf("%d messages were answered before Redis died, and %d are left of %d", len(l.at), len(got), len(said))
}

// TestSlowServer has Redis stop for a while.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := harness.NewUpstream(t)
	all := clients(start(t, server.URL(), 2, up.Sessions("")), "acme", "ann")
	session := harness.NewSession()
	a := all[0].Ask(session, "hello")
	call := up.Call()
	call.Say("one ")
	e := a.Events()
	e.Text("one ")
	reader, first := join(all[1], session)
	silent := harness.NewSession()
	b := all[0].Ask(silent, "hello")
	later := up.Call()
	waiting := all[1].Do(http.MethodGet, "/chat/"+silent+"/stream", nil) // has a header, and no event
	server.Freeze()
	for range 5 {
		call.Say("more ")
		e.Text("more ")
	}
	harness.WantFailure(t, all[1].Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "x"}), http.StatusServiceUnavailable, "storage_unavailable")
	var h struct{ Data struct{ Status string } }
	if all[1].Call(http.MethodGet, "/v1/health", nil, &h); h.Data.Status != "degraded" {
		t.Errorf("health is %q while redis does not answer", h.Data.Status)
	}
	server.Thaw()
	call.Finish("stop")
	if end := e.Rest(); end.Failed != nil || end.Done == nil {
		t.Errorf("ends with %+v", end)
	}
	if got := reader.Rest(); first.Content+got.Text != "one more more more more more " || got.Done == nil || got.Failed != nil {
		t.Errorf("the follower has %q, then %+v, %+v", first.Content+got.Text, got.Done, got.Failed)
	}
	later.Say("late ")
	again := harness.ReadEvents(t, waiting)
	begun, ok := again.Next()
	if !ok { // it was cut off without an error, and comes back as clients do
		again, begun = join(all[1], silent)
	}
	later.Say("answer")
	later.Finish("stop")
	b.Events().Rest()
	if got := again.Rest(); begun.Content+got.Text != "late answer" || got.Done == nil || got.Failed != nil {
		t.Errorf("who came back has %q, %+v, %+v", begun.Content+got.Text, got.Done, got.Failed)
	}
	all[1].WantLast(session, "one more more more more more ", "complete")
}

// TestIdleNodeRecovers checks that a node that gets no requests notices that Redis is
// away, and that it is back.
func TestIdleNodeRecovers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := harness.NewUpstream(t)
	node := start(t, server.URL(), 1, up.Sessions(""))[0]
	ann := harness.NewClient(node, "acme", "ann")
	status := func() string {
		var h struct{ Data struct{ Status string } }
		ann.Call(http.MethodGet, "/v1/health", nil, &h) // which asks no Redis
		return h.Data.Status
	}
	server.Freeze()
	harness.Eventually(t, "the node notices", func() bool { return status() == "degraded" })
	server.Thaw()
	harness.Eventually(t, "the node is well", func() bool { return status() == "ok" })
	for _, msg := range []string{"redis fails", "redis works again"} {
		harness.Eventually(t, msg+" is logged", func() bool { return strings.Contains(node.Log.String(), msg) })
		if n := strings.Count(node.Log.String(), msg); n != 1 {
			t.Errorf("%q is logged %d times", msg, n)
		}
	}
}

// TestClaimLost has Redis lose its data while answers are written: they end with an error,
// and not as if their clients had stopped them.
func TestClaimLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := harness.NewUpstream(t)
	ann := harness.NewClient(start(t, server.URL(), 1, up.Sessions(""))[0], "acme", "ann")
	session := harness.NewSession()
	a := ann.Ask(session, "hello")
	call := up.Call()
	call.Say("one ")
	e := a.Events()
	e.Text("one ")
	join(ann, session) // what was said is in Redis
	server.Command("FLUSHALL")
	call.Say("two")
	if end := e.Rest(); end.Failed == nil || end.Failed.Code != "storage_unavailable" || end.Done == nil || end.Done.FinishReason != "error" {
		t.Errorf("ends with %+v, %+v", end.Failed, end.Done)
	}
	call.WantGone()
	respond := func(body map[string]any) *harness.Pending {
		body["model"] = "fast"
		return ann.Start(ann.Request(http.MethodPost, "/v1/responses", body))
	}
	a = respond(map[string]any{"input": "hello"})
	up.Call().Answer("one")
	first := gjson.Get(harness.ReadAll(t, a.Answer()), "id").Str
	a = respond(map[string]any{"input": "hello again", "previous_response_id": first})
	call = up.Call()
	server.Command("FLUSHALL")
	call.WantGone() // when the claim is renewed
	harness.WantFailure(t, a.Answer(), http.StatusServiceUnavailable, "storage_unavailable")
	b := ann.Ask(harness.NewSession(), "hello")
	up.Call().Answer("again")
	if end := b.Events().Rest(); end.Text != "again" || end.Failed != nil {
		t.Errorf("the next turn ends with %+v", end)
	}
}

// logged waits until the server's log has all that was written.
func logged(t *testing.T, server *redistest.Server) {
	t.Helper()
	harness.Eventually(t, "the log has all that was written", func() bool {
		info := server.Command("INFO", "persistence")
		return strings.Contains(info, "aof_buffer_length:0\r") && strings.Contains(info, "aof_pending_bio_fsync:0\r")
	})
}

// TestEndsWhileAway has answers end while Redis is away: under their keys they are given
// again, and responses are kept.
func TestEndsWhileAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	up := harness.NewUpstream(t)
	nodes := start(t, server.URL(), 2, up.Sessions(""))
	ann, other := harness.NewClient(nodes[0], "initech", "ann"), harness.NewClient(nodes[1], "initech", "ann")
	session := harness.NewSession()
	asks := []struct {
		path   string
		body   any
		header []string
	}{
		{"/chat", harness.ChatRequest{SessionID: session, Message: "hi"}, nil},
		{"/v1/chat/completions", harness.QuestionOf("hi"), []string{"X-Session-Id", harness.NewSession()}},
		{"/v1/chat/completions", harness.QuestionOf("hi").Streamed(), nil},
		{"/v1/messages", map[string]any{"model": "fast", "max_tokens": 99, "messages": []any{map[string]any{"role": "user", "content": "hi"}}}, []string{"X-Session-Id", harness.NewSession()}},
		{"/v1/responses", map[string]any{"model": "fast", "input": "hi", "stream": true}, nil},
		{"/v1/responses", map[string]any{"model": "fast", "input": "hi", "background": true}, nil},
	}
	ask := func(cl *harness.Client, i int) *harness.Pending {
		header := slices.Concat(asks[i].header, []string{"Idempotency-Key", fmt.Sprint("k", i)})
		return cl.Start(cl.Request(http.MethodPost, asks[i].path, asks[i].body, header...))
	}
	var pending []*harness.Pending
	var calls []*harness.HeldCall
	for i := range asks {
		pending = append(pending, ask(ann, i))
		calls = append(calls, up.Call())
		calls[i].Say("part ")
	}
	background := gjson.Get(harness.ReadAll(t, pending[5].Answer()), "id").Str
	join(ann, session) // what was said is in Redis
	logged(t, server)
	server.Kill()
	for _, call := range calls {
		call.Say("whole")
		call.Finish("stop")
	}
	var answers []string
	for _, p := range pending[:5] {
		answers = append(answers, harness.ReadAll(t, p.Answer()))
	}
	server.Restart()
	count := up.Count()
	for i, want := range answers {
		var got string
		harness.Eventually(t, "Redis is back for "+asks[i].path, func() bool {
			resp := ask(other, i).Answer()
			got = harness.ReadAll(t, resp)
			return resp.StatusCode != http.StatusServiceUnavailable
		})
		if got != want || up.Count() != count {
			t.Errorf("%s: %d more calls for\n%s\nwant\n%s", asks[i].path, up.Count()-count, got, want)
		}
	}
	_, data, _ := strings.Cut(answers[4], "data: ")
	for name, id := range map[string]string{"a stream": gjson.Get(data, "response.id").Str, "one in the background": background} {
		var got string
		harness.Eventually(t, "the response is kept: "+name, func() bool {
			got = harness.ReadAll(t, other.Do(http.MethodGet, "/v1/responses/"+id, nil))
			return gjson.Get(got, "status").Str != "in_progress"
		})
		if gjson.Get(got, "status").Str != "completed" || !strings.Contains(got, "part whole") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
