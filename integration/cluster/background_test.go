package cluster

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestBackgroundNodeDies kills the node that makes a response in the background. Another
// node tells that it has failed.
func TestBackgroundNodeDies(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	nodes := start(t, redistest.Start(t).URL(), 2, up.Chain(""))
	all := clients(nodes, "acme", "ann")
	read := func(method, path string, body any) gjson.Result {
		return gjson.Parse(harness.ReadAll(t, all[1].Do(method, path, body)))
	}
	resp := all[0].Do(http.MethodPost, "/v1/responses", map[string]any{"model": "fast", "input": "go", "background": true})
	path := "/v1/responses/" + gjson.Get(harness.ReadAll(t, resp), "id").Str
	up.Call().Say("one")
	all[1].Start(all[1].Request(http.MethodGet, path+"?stream=true", nil)).Raw().UpTo("one")
	if got := read(http.MethodGet, path, nil).Get("status").Str; got != "in_progress" {
		t.Errorf("elsewhere it is %q", got)
	}
	nodes[0].Kill()
	harness.Eventually(t, "it has failed", func() bool { return read(http.MethodGet, path, nil).Get("status").Str == "failed" })
	if got := read(http.MethodGet, path, nil).Get("error.code").Str; got != "ai_unavailable" {
		t.Errorf("its error is %q", got)
	}
	if got := read(http.MethodGet, path, nil).Get("output.0"); got.Get("content.0.text").Str != "one" || got.Get("status").Str != "incomplete" {
		t.Errorf("of its answer there is %s", got.Raw)
	}
	read(http.MethodDelete, path, nil)
	if list := all[1].List("").Data.Sessions; len(list) != 0 {
		t.Errorf("deleted, it has left %v", list)
	}
}

// TestCancelUnheard cancels a response whose node does not hear of it, because it is gone
// or stands still. The response is cancelled for all, with what there was of it, and
// stays so.
func TestCancelUnheard(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*harness.Caddy){"gone": (*harness.Caddy).Kill, "stands still": (*harness.Caddy).Freeze} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := harness.NewUpstream(t)
			nodes := start(t, redistest.Start(t).URL(), 3, up.Chain(""))
			all := clients(nodes, "acme", "ann")
			read := func(node int, method, path string) gjson.Result {
				return gjson.Parse(harness.ReadAll(t, all[node].Do(method, path, nil)))
			}
			resp := all[0].Do(http.MethodPost, "/v1/responses", map[string]any{"model": "fast", "input": "go", "background": true})
			path := "/v1/responses/" + gjson.Get(harness.ReadAll(t, resp), "id").Str
			call := up.Call()
			call.Say("one")
			all[1].Start(all[1].Request(http.MethodGet, path+"?stream=true", nil)).Raw().UpTo("one")
			stop(nodes[0])

			got := read(1, http.MethodPost, path+"/cancel")
			if got.Get("status").Str != "cancelled" || got.Get("output.0.content.0.text").Str != "one" || got.Get("output.0.status").Str != "incomplete" {
				t.Errorf("it is %s", got.Raw)
			}
			stays := func(node int) {
				t.Helper()
				if again := read(node, http.MethodGet, path); again.Raw != got.Raw {
					t.Errorf("node %d has\n%s\nwant\n%s", node, again.Raw, got.Raw)
				}
			}
			check := func(node int) {
				t.Helper()
				stays(node)
				stream := harness.ReadAll(t, all[node].Do(http.MethodGet, path+"?stream=true", nil))
				if !strings.Contains(stream, "event: response.cancelled\n") || !strings.Contains(stream, `"delta":"one"`) {
					t.Errorf("node %d streams\n%s", node, stream)
				}
			}
			check(1)
			check(2)
			if name == "gone" {
				up.Plays(harness.Echoes)
				next := map[string]any{"model": "fast", "input": "next", "previous_response_id": got.Get("id").Str}
				harness.Eventually(t, "its turn has ended with its lease", func() bool {
					return gjson.Get(harness.ReadAll(t, all[2].Do(http.MethodPost, "/v1/responses", next)), "status").Str == "completed"
				})
			} else {
				nodes[0].Thaw()
				call.WantGone()
				check(0)
			}
			stays(1)
		})
	}
}

// TestDeleteUnheard deletes a response whose node stands still. What was said goes once that
// node has ended its turn, and no more.
func TestDeleteUnheard(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	server := redistest.Start(t)
	nodes := start(t, server.URL(), 2, up.Chain(""))
	all := clients(nodes, "acme", "ann")
	begin := func(body map[string]any) (id string, call *harness.HeldCall) {
		body["model"], body["background"] = "fast", true
		id = gjson.Get(harness.ReadAll(t, all[0].Do(http.MethodPost, "/v1/responses", body)), "id").Str
		return id, up.Call()
	}
	read := func(id string) *http.Response { return all[1].Do(http.MethodGet, "/v1/responses/"+id, nil) }
	deletes := func(id string) {
		t.Helper()
		call := all[1].Do(http.MethodDelete, "/v1/responses/"+id, nil)
		if harness.ReadAll(t, call); call.StatusCode != http.StatusOK {
			t.Fatalf("DELETE: %d", call.StatusCode)
		}
	}
	said := func() []string {
		session := all[1].List("").Data.Sessions
		if len(session) == 0 {
			return nil
		}
		return harness.Contents(all[1].History(session[0].SessionID))
	}
	first, call := begin(map[string]any{"input": "one"})
	call.Answer("first")
	harness.Eventually(t, "it has ended", func() bool { return gjson.Get(harness.ReadAll(t, read(first)), "status").Str == "completed" })
	for _, test := range []struct {
		body map[string]any
		left []string
	}{
		{map[string]any{"input": "two", "previous_response_id": first}, []string{"user: one", "assistant: first"}},
		{map[string]any{"input": "three"}, []string{"user: one", "assistant: first"}},
	} {
		id, call := begin(test.body)
		call.Say("part")
		all[1].Start(all[1].Request(http.MethodGet, "/v1/responses/"+id+"?stream=true", nil)).Raw().UpTo("part")
		nodes[0].Freeze()
		deletes(id)
		nodes[0].Thaw()
		call.WantGone()
		harness.Eventually(t, "what was said is gone", func() bool { return slices.Equal(said(), test.left) })
		if resp := read(id); resp.StatusCode != http.StatusNotFound {
			t.Errorf("it is back: %s", harness.ReadAll(t, resp))
		}
	}
}
