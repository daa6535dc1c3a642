package idempotency

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// once starts a message under a key.
func once(c *harness.Client, key string, body any) *harness.Pending {
	c.T.Helper()
	return c.Start(c.Request(http.MethodPost, "/chat", body, "Idempotency-Key", key))
}

// whole is what there is to compare of a document.
type whole struct {
	Data struct {
		SessionID, Message, FinishReason string
		Usage                            harness.Usage
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied(""))
	ann := harness.NewClient(c, "acme", "ann")
	no := false

	t.Run("is one to 255 visible characters", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"}
		for _, key := range []string{"", "a b", "a\tb", "ü", strings.Repeat("k", 256)} {
			f := harness.WantFailure(t, once(ann, key, message).Answer(), 400, "invalid_request")
			if !strings.HasPrefix(f.Error.Message, "Idempotency-Key: ") {
				t.Errorf("%q: %s", key, f.Error.Message)
			}
		}
		req := ann.Request(http.MethodPost, "/chat", message)
		req.Header["Idempotency-Key"] = []string{"a", "b"}
		harness.WantFailure(t, ann.Start(req).Answer(), 400, "invalid_request")
		up.WantNoCall(t)
		for _, key := range []string{"!", strings.Repeat("~", 255)} {
			a := once(ann, key, harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"})
			call := up.Call()
			if got := call.Header.Values("Idempotency-Key"); len(got) != 0 {
				t.Errorf("the model server got %q", got)
			}
			call.Answer("ok")
			a.Events().Rest()
		}
	})

	t.Run("a stream is followed while it runs", func(t *testing.T) {
		session := harness.NewSession()
		first := once(ann, "follow", harness.ChatRequest{SessionID: session, Message: "go"})
		call := up.Call()
		call.Event(harness.ChunkOf(`{"content":"one "}`))
		a := first.Events()
		all := a.Text("one ")
		b := once(ann, "follow", harness.ChatRequest{SessionID: session, Message: "go"}).Events()
		if got := b.Text("one "); got[0].ID != all[0].ID {
			t.Errorf("the event ids are %s and %s", all[0].ID, got[0].ID)
		}
		call.Event(harness.ChunkOf(`{"content":"two"}`))
		b.Text("two")
		call.Stream(harness.EndOf("stop"))
		a.Text("two")
		harness.WantRest(t, b, a.Rest().Events)
		up.WantNoCall(t)
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: go", "assistant: one two"})
	})

	t.Run("a stream is replayed afterwards", func(t *testing.T) {
		session := harness.NewSession()
		first := once(ann, "replay", harness.ChatRequest{SessionID: session, Message: "go"})
		call := up.Call()
		call.Event(harness.ChunkOf(`{"content":"one "}`))
		call.Stream(harness.ChunkOf(`{"content":"two"}`), harness.EndOf("length"))
		begun := first.Answer()
		want := harness.ReadEvents(t, begun).Rest()
		for range 3 {
			resp := once(ann, "replay", harness.ChatRequest{SessionID: session, Message: "go"}).Answer()
			harness.WantHeader(t, resp.Header, map[string]string{"X-Tokens-In": begun.Header.Get("X-Tokens-In"), "X-Tenant-Id": "acme", "X-Trace-Id": "*"})
			got := harness.ReadEvents(t, resp).Rest()
			if got.Text != want.Text || got.Done == nil || got.Done.ID != want.Done.ID || got.Done.FinishReason != "length" || got.Done.Usage != want.Done.Usage {
				t.Errorf("got %+v, want %+v", got.Events, want.Events)
			}
		}
		up.WantNoCall(t)
		if n := len(ann.History(session)); n != 2 {
			t.Errorf("%d messages", n)
		}
	})

	t.Run("a document is waited for and replayed", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go", Stream: &no}
		a, b := once(ann, "document", message), once(ann, "document", message)
		up.Call().Answer("whole <b>")
		var first, second, third whole
		harness.Decode(t, a.Answer(), &first)
		harness.Decode(t, b.Answer(), &second)
		resp := once(ann, "document", message).Answer()
		harness.WantHeader(t, resp.Header, map[string]string{"X-Tokens-In": "11", "X-Tokens-Out": "7", "X-Tokens-Total": "18", "X-Ai-Latency-Ms": "#"})
		harness.Decode(t, resp, &third)
		if first.Data.Message != "whole <b>" || first.Data.FinishReason != "stop" || first != second || first != third {
			t.Errorf("got %+v, %+v, %+v", first, second, third)
		}
		up.WantNoCall(t)
	})

	t.Run("with another body it is refused", func(t *testing.T) {
		session := harness.NewSession()
		a := once(ann, "reused", harness.ChatRequest{SessionID: session, Message: "go"})
		call := up.Call()
		refused := func() {
			t.Helper()
			for _, other := range []harness.ChatRequest{
				{SessionID: session, Message: "stop"}, {SessionID: harness.NewSession(), Message: "go"}, {SessionID: session, Message: "go", Stream: &no},
			} {
				f := harness.WantFailure(t, once(ann, "reused", other).Answer(), 422, "idempotency_key_reused")
				if !strings.Contains(f.Error.Message, "send a new one") {
					t.Errorf("the message is %q", f.Error.Message)
				}
			}
		}
		refused()
		call.Answer("done")
		a.Events().Rest()
		refused()
		up.WantNoCall(t)
	})

	t.Run("belongs to its tenant and user", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go"}
		for who, cl := range map[string]*harness.Client{
			"ann": ann, "bob": harness.NewClient(c, "acme", "bob"), "nobody": harness.NewClient(c, "acme", ""), "ann elsewhere": harness.NewClient(c, "globex", "ann"),
		} {
			a := once(cl, "mine", message)
			up.Call().Answer("for " + who)
			if got := a.Events().Rest().Text; got != "for "+who {
				t.Errorf("%s got %q", who, got)
			}
		}
		if got := once(ann, "mine", message).Events().Rest().Text; got != "for ann" {
			t.Errorf("ann got %q", got)
		}
	})

	t.Run("many at once are one", func(t *testing.T) {
		for _, stream := range []*bool{nil, &no} {
			message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go", Stream: stream}
			var list []*harness.Pending
			for range 20 {
				list = append(list, once(ann, fmt.Sprint("many", stream == nil), message))
			}
			up.Call().Answer("the one answer")
			var wg sync.WaitGroup
			for _, a := range list {
				wg.Go(func() {
					if body := harness.ReadAll(t, a.Answer()); !strings.Contains(body, "the one answer") {
						t.Errorf("got %s", body)
					}
				})
			}
			wg.Wait()
			if n := len(ann.History(message.SessionID)); n != 2 {
				t.Errorf("%d messages", n)
			}
		}
		up.WantNoCall(t)
	})

	t.Run("of a busy session it is free again", func(t *testing.T) {
		session := harness.NewSession()
		a := once(ann, "busy-1", harness.ChatRequest{SessionID: session, Message: "one"})
		call := up.Call()
		for range 2 {
			harness.WantFailure(t, once(ann, "busy-2", harness.ChatRequest{SessionID: session, Message: "two"}).Answer(), 409, "session_busy")
		}
		call.Answer("1")
		a.Events().Rest()
		a = once(ann, "busy-2", harness.ChatRequest{SessionID: session, Message: "two"})
		up.Call().Answer("2")
		if got := a.Events().Rest().Text; got != "2" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("other turns do not disturb it", func(t *testing.T) {
		session := harness.NewSession()
		a := once(ann, "earlier", harness.ChatRequest{SessionID: session, Message: "one"})
		up.Call().Answer("1")
		a.Events().Rest()
		b := ann.Ask(session, "two")
		call := up.Call()
		if got := once(ann, "earlier", harness.ChatRequest{SessionID: session, Message: "one"}).Events().Rest(); got.Text != "1" || got.Done == nil {
			t.Errorf("got %+v", got.Events)
		}
		call.Answer("2")
		b.Events().Rest()
	})

	t.Run("a deleted answer is forgotten", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go"}
		for i := range 2 {
			a := once(ann, "deleted", message)
			up.Call().Answer(fmt.Sprint("secret ", i))
			if got := a.Events().Rest().Text; got != fmt.Sprint("secret ", i) {
				t.Errorf("got %q", got)
			}
			ann.Do(http.MethodDelete, "/chat/"+message.SessionID, nil).Body.Close()
		}
	})

	t.Run("a restart forgets nothing", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go"}
		a := once(ann, "restart", message)
		call := up.Call()
		call.Event(harness.ChunkOf(`{"content":"one "}`))
		call.Stream(harness.ChunkOf(`{"content":"two"}`), harness.EndOf("stop"))
		want := a.Events().Rest()
		c.Kill()
		c.Restart()
		got := once(ann, "restart", message).Events().Rest()
		if got.Text != "one two" || got.Done == nil || !slices.Equal(got.Events, want.Events) {
			t.Errorf("got %+v, want %+v", got.Events, want.Events)
		}
		up.WantNoCall(t)
	})

	t.Run("a kill in the middle frees it", func(t *testing.T) {
		message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "go"}
		a := once(ann, "killed", message)
		call := up.Call()
		call.Event(harness.ChunkOf(`{"content":"half"}`))
		e := a.Events()
		e.Text("half")
		c.Kill()
		call.WantGone()
		c.Restart()
		a = once(ann, "killed", message)
		up.Call().Answer("whole")
		if got := a.Events().Rest().Text; got != "whole" {
			t.Errorf("got %q", got)
		}
		harness.WantList(t, "history", harness.Contents(ann.History(message.SessionID)), []string{"user: go", "assistant: whole"})
	})
}
