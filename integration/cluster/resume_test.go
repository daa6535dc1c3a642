package cluster

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// resumable are the headers of requests under /v1 whose answers can be resumed.
var resumable = map[string]func() []string{
	"a session": func() []string { return []string{"X-Session-Id", harness.NewSession()} },
	"a key":     func() []string { return []string{"Idempotency-Key", harness.NewSession()} },
}

// TestResumeElsewhere has an answer under /v1 begin on one node and resumed on another,
// while its client is gone.
func TestResumeElsewhere(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		up := harness.NewUpstream(t)
		all := clients(start(t, url, 2, up.Chain("")), "acme", "ann")
		for name, header := range resumable {
			t.Log(name)
			a := all[0].StartCompletion(harness.UserSays("go", harness.Streamed), header()...)
			call := up.Call()
			call.Event(harness.ChunkOf(`{"role":"assistant","content":"one"}`))
			first := a.Raw().UpTo("one").Text
			a.GoAway()
			id := harness.EventIDs(first)[0]
			turn, _, _ := strings.Cut(id, ":")
			whole := all[1].Resume(turn).Raw().UpTo("one")
			rest := all[1].Resume(id).Raw()
			call.Stream(harness.ChunkOf(`{"content":" two"}`), harness.EndOf("stop"))
			stream := whole.Rest()
			if !strings.HasPrefix(stream, first) || !strings.HasSuffix(stream, "data: [DONE]\n\n") {
				t.Errorf("the first client saw\n%s\nand the one on another node\n%s", first, stream)
			}
			if got, want := rest.Rest(), harness.AfterEvent(stream, id); got != want {
				t.Errorf("after %s came\n%s\nwant\n%s", id, got, want)
			}
			for _, c := range all {
				if got := c.Resume(id).Raw().Rest(); got != harness.AfterEvent(stream, id) {
					t.Errorf("after the end came\n%s", got)
				}
			}
			ids := harness.EventIDs(stream)
			if resp := all[1].Resume(ids[len(ids)-1]).Answer(); resp.StatusCode != http.StatusNoContent {
				t.Errorf("after the last event: status %d", resp.StatusCode)
			}
		}
	})
}

// TestResumedNodeDies kills the node that writes an answer under /v1.
func TestResumedNodeDies(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	nodes := start(t, redistest.Start(t).URL(), 2, up.Chain(""))
	all := clients(nodes, "acme", "ann")
	type turn struct {
		name     string
		header   []string
		begun    string
		follower *harness.RawStream
	}
	var turns []turn
	for name, header := range resumable {
		h := header()
		a := all[0].StartCompletion(harness.UserSays("go", harness.Streamed), h...)
		up.Call().Event(harness.ChunkOf(`{"role":"assistant","content":"one"}`))
		begun := a.Raw().UpTo("one").Text
		id, _, _ := strings.Cut(harness.EventIDs(begun)[0], ":")
		turns = append(turns, turn{name, h, begun, all[1].Resume(id).Raw().UpTo("one")})
	}
	nodes[0].Kill()
	up.Plays(harness.Echoes)
	for _, tn := range turns {
		stream := tn.follower.Rest()
		if !strings.HasPrefix(stream, tn.begun) || !strings.Contains(stream, `"code":"ai_unavailable"`) || strings.Contains(stream, "[DONE]") {
			t.Errorf("%s: ends with\n%s", tn.name, stream)
		}
		ids := harness.EventIDs(stream)
		if resp := all[1].Resume(ids[len(ids)-1]).Answer(); resp.StatusCode != http.StatusNoContent {
			t.Errorf("%s: after its end: %d %s", tn.name, resp.StatusCode, harness.ReadAll(t, resp))
		}
		// the session and the key are free
		if a := all[1].Complete(harness.UserSays("go", harness.Streamed), tn.header...); a.Text != "re: go" || !a.Done {
			t.Errorf("%s: sent again: %+v", tn.name, a)
		}
	}
}

// TestLostKey sends a request again whose node is gone, and that no one has followed.
func TestLostKey(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	nodes := start(t, redistest.Start(t).URL(), 2, up.Chain(""))
	all := clients(nodes, "acme", "ann")
	a := all[0].StartCompletion(harness.UserSays("go", harness.Streamed), "Idempotency-Key", "k")
	up.Call().Event(harness.ChunkOf(`{"role":"assistant","content":"one"}`))
	a.Raw().UpTo("one")
	nodes[0].Kill()
	up.Plays(harness.Echoes)
	harness.Eventually(t, "the key is free", func() bool {
		got := all[1].Complete(harness.UserSays("go", harness.Streamed), "Idempotency-Key", "k")
		return got.Text == "re: go" && got.Done
	})
}
