package cluster

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestOnStoreError has Redis not answer, in front of nodes that deny requests then and
// that allow them.
func TestOnStoreError(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := harness.NewUpstream(t, harness.Echoes)
	site := func(policy string) string {
		return "tenant_resolve\nchat_ratelimit {\n\trequests 1 1h\n\ton_store_error " + policy + "\n}\nchat_session\n" + up.Gateway()
	}
	deny, allow := start(t, server.URL(), 1, site("deny"))[0], start(t, server.URL(), 1, site("allow"))[0]
	denied, allowed := harness.NewClient(deny, "acme", "ann"), harness.NewClient(allow, "acme", "ann")
	v1 := func(c *harness.Client) harness.Completion { return c.Complete(harness.NewQuestion("fast").Streamed()) }
	message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "hello"}

	if a := v1(allowed); a.Status != http.StatusOK {
		t.Fatalf("status %d", a.Status)
	}
	for _, c := range []*harness.Client{allowed, denied} {
		if a := v1(c); a.Code != "rate_limited" {
			t.Errorf("%d %s, want the limit while Redis answers", a.Status, a.Code)
		}
	}
	server.Freeze() // the slowest way to be down
	quickest := time.Hour
	for range 3 {
		asked := time.Now()
		if a := v1(allowed); a.Status != http.StatusOK || a.Text != "re: hi" || !a.Done {
			t.Errorf("allow: %d %s %q", a.Status, a.Code, a.Text)
		}
		quickest = min(quickest, time.Since(asked))
	}
	if quickest > 2*time.Second {
		t.Errorf("the quickest answer took %s, want about one second", quickest)
	}
	const told = "letting a request through without limits"
	if n := strings.Count(allow.Log.String(), told); n != 3 {
		t.Errorf("the log tells of %d requests without limits, want 3", n)
	}
	for _, c := range []*harness.Client{allowed, denied} {
		if got := health(c); got != "degraded" {
			t.Errorf("health is %q", got)
		}
	}
	calls := up.Count()
	harness.WantFailure(t, allowed.Do(http.MethodPost, "/chat", message), http.StatusServiceUnavailable, "storage_unavailable")
	harness.WantFailure(t, denied.Do(http.MethodPost, "/chat", message), http.StatusServiceUnavailable, "storage_unavailable")
	if a := v1(denied); a.Status != http.StatusServiceUnavailable || a.Code != "storage_unavailable" {
		t.Errorf("deny: %d %s", a.Status, a.Code)
	}
	if n := up.Count(); n != calls {
		t.Errorf("the upstream was called %d times for requests that were refused", n-calls)
	}
	server.Thaw()
	harness.Eventually(t, "the limit counts again", func() bool { return v1(allowed).Code == "rate_limited" })
}
