package cluster

import (
	"net/http"
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
	if got := read(http.MethodGet, path, nil).Get("status").Str; got != "in_progress" {
		t.Errorf("elsewhere it is %q", got)
	}
	nodes[0].Kill()
	harness.Eventually(t, "it has failed", func() bool { return read(http.MethodGet, path, nil).Get("status").Str == "failed" })
	if got := read(http.MethodGet, path, nil).Get("error.code").Str; got != "ai_unavailable" {
		t.Errorf("its error is %q", got)
	}
}
