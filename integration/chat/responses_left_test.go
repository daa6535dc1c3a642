package chat

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// streams asks for a stream, and returns its response's id once some text came.
func (a asks) streams(up *harness.Upstream, said string, header ...string) (id string, pending *harness.Pending, stream *harness.RawStream, call *harness.HeldCall) {
	a.t.Helper()
	body := map[string]any{"model": "fast", "input": "one", "stream": true}
	pending = a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body, header...))
	call = up.Call()
	call.Say(said)
	stream = pending.Raw().UpTo(said)
	_, data, _ := strings.Cut(stream.Text, "data: ")
	return gjson.Get(data, "response.id").Str, pending, stream, call
}

// TestLeftInProgress has the clients of kept responses leave in the middle: as long as the
// turn goes on without them, so does the response.
func TestLeftInProgress(t *testing.T) {
	for name, chain := range map[string]func(*harness.Upstream) string{
		"ai_gateway":    func(up *harness.Upstream) string { return up.Sessions("") },
		"reverse_proxy": func(up *harness.Upstream) string { return up.Proxied("") },
	} {
		t.Run(name, func(t *testing.T) {
			up := harness.NewUpstream(t)
			a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, chain(up)), "acme", "ann")}
			for _, key := range [][]string{nil, {"Idempotency-Key", "k"}} {
				id, pending, stream, call := a.streams(up, "part one", key...)
				path := "/v1/responses/" + id
				for _, left := range []bool{false, true} {
					if left {
						pending.GoAway()
					}
					got := a.call(http.MethodGet, path, nil)
					if got.Get("status").Str != "in_progress" || got.Get("id").Str != id || got.Get("background").Raw != "false" || got.Get("output").Raw != "[]" {
						t.Errorf("left %v, it is %s", left, got.Raw)
					}
				}
				if got := a.call(http.MethodGet, path+"/input_items", nil); got.Get("data.0.content.0.text").Str != "one" {
					t.Errorf("its input is %s", got.Raw)
				}
				if got := a.call(http.MethodPost, path+"/cancel", nil); got.Get("error.param").Str != "response_id" {
					t.Errorf("cancelled, it is %s", got.Raw)
				}
				if got := a.create(map[string]any{"input": "two", "previous_response_id": id}); got.Get("error.code").Str != "session_busy" {
					t.Errorf("beside it came %s", got.Raw)
				}
				follower := a.cl.Start(a.cl.Request(http.MethodGet, path+"?stream=true", nil)).Raw().UpTo("part one")
				if !strings.HasPrefix(follower.Text, stream.Text) {
					t.Errorf("a follower gets\n%s\nwant\n%s", follower.Text, stream.Text)
				}
				call.Say(" and two")
				call.Finish("stop")
				rest := follower.Rest()
				got := a.call(http.MethodGet, path, nil)
				if !strings.Contains(rest, "event: response.completed\n") || text(got) != "part one and two" || got.Get("status").Str != "completed" {
					t.Errorf("it ends as %s\n%s", got.Raw, rest)
				}
			}
		})
	}
}

// TestLeftEnds ends the turns of such responses.
func TestLeftEnds(t *testing.T) {
	for name, test := range map[string]struct {
		options string
		end     func(c *harness.Caddy, a asks, path string, pending *harness.Pending, call *harness.HeldCall)
		status  string // empty for none
		said    string // what is left of the answer
	}{
		"a failure": {"", func(_ *harness.Caddy, _ asks, _ string, pending *harness.Pending, call *harness.HeldCall) {
			pending.GoAway()
			call.End(harness.TornOff)
		}, "failed", "part one"},
		"a server that dies": {"", func(c *harness.Caddy, _ asks, _ string, _ *harness.Pending, _ *harness.HeldCall) {
			c.Kill()
			c.Run()
		}, "failed", ""},
		"a turn that ends with its client": {"on_disconnect cancel", func(_ *harness.Caddy, _ asks, _ string, pending *harness.Pending, call *harness.HeldCall) {
			pending.GoAway()
			call.WantGone()
		}, "cancelled", "part one"},
		"a deletion": {"", func(_ *harness.Caddy, a asks, path string, pending *harness.Pending, call *harness.HeldCall) {
			pending.GoAway()
			if status := a.status(http.MethodDelete, path, nil); status != http.StatusOK {
				a.t.Fatalf("DELETE: %d", status)
			}
			call.WantGone()
		}, "", ""},
		"a deletion before its client's eyes": {"", func(_ *harness.Caddy, a asks, path string, _ *harness.Pending, call *harness.HeldCall) {
			a.status(http.MethodDelete, path, nil)
			call.WantGone()
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			up := harness.NewUpstream(t)
			c := harness.Start(t, harness.PlainTenants, up.Sessions(test.options))
			a := asks{t, harness.NewClient(c, "acme", "ann")}
			id, pending, _, call := a.streams(up, "part one")
			path := "/v1/responses/" + id
			test.end(c, a, path, pending, call)
			if test.status != "" {
				a.wantStatus(path, test.status)
				got := a.call(http.MethodGet, path, nil)
				if test.said != "" && got.Get("output.0.status").Str != "incomplete" || text(got) != test.said {
					t.Errorf("it is %s", got.Raw)
				}
				return
			}
			c.WantNothingLeft()
			if status := a.status(http.MethodGet, path, nil); status != http.StatusNotFound {
				t.Errorf("it is back: %d", status)
			}
			if list := a.cl.List("").Data.Sessions; len(list) != 0 {
				t.Errorf("the sessions are %v", list)
			}
		})
	}
}

// TestDeletedAtItsEnd deletes responses whose turns end in the middle of that: all of what
// was said goes with them.
func TestDeletedAtItsEnd(t *testing.T) {
	for name, end := range map[string]func(call *harness.HeldCall){
		"whole":  func(call *harness.HeldCall) { call.Finish("stop") },
		"failed": func(call *harness.HeldCall) { call.End(harness.TornOff) },
	} {
		t.Run(name, func(t *testing.T) {
			up := harness.NewUpstream(t)
			c := harness.Start(t, harness.TroubledTenants, up.Sessions(""))
			a := asks{t, harness.NewClient(c, "acme", "ann")}
			id, _, stream, call := a.streams(up, "part")
			path := "/v1/responses/" + id
			over := c.Trouble("cancel")
			deletion := a.cl.Start(a.cl.Request(http.MethodDelete, path, nil))
			harness.Eventually(t, "it has read the response as one that runs", func() bool {
				_, err := os.Stat(filepath.Join(c.Dir, "cancel-waits"))
				return err == nil
			})
			end(call)
			stream.Rest()
			over()
			if resp := deletion.Answer(); resp.StatusCode != http.StatusOK {
				t.Errorf("DELETE: %d", resp.StatusCode)
			}
			if status := a.status(http.MethodGet, path, nil); status != http.StatusNotFound {
				t.Errorf("GET: %d", status)
			}
			if list := a.cl.List("").Data.Sessions; len(list) != 0 {
				t.Errorf("the sessions are %v", list)
			}
		})
	}
}
