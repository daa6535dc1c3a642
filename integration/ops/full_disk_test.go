package ops

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestFullDisk fills the disk of the embedded store, whose files are mapped into
// memory: writing to one that has no blocks left would kill the process.
func TestFullDisk(t *testing.T) {
	disk := harness.NewDisk(t, 160<<20)
	c := harness.StartOn(t, disk, `chat {
		store badger {$DISK}/chat
		tenant acme {
			budget 1000000 tokens/day
		}
	}`, "tenant_resolve\nchat_session\nai_gateway echo")
	ann := harness.NewClient(c, "acme", "ann")
	var sessions []string
	for range 30 {
		session := harness.NewSession()
		ann.Say(session, strings.Repeat("x", 9000))
		sessions = append(sessions, session)
	}
	status := func() string {
		var h struct {
			Data struct{ Status, Store string }
		}
		ann.Call(http.MethodGet, "/v1/health", nil, &h)
		return h.Data.Status + " " + h.Data.Store
	}
	if got := status(); got != "ok " {
		t.Errorf("health is %s before", got)
	}

	disk.Fill()
	for range 3 {
		for _, session := range sessions {
			harness.WantFailure(t, ann.Do(http.MethodDelete, "/chat/"+session, nil), 503, "storage_unavailable")
		}
		harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: sessions[0], Message: "more"}), 503, "storage_unavailable")
	}
	if got := status(); got != "degraded degraded" {
		t.Errorf("health is %s on a full disk", got)
	}
	if n := len(ann.History(sessions[0])); n != 2 {
		t.Errorf("%d messages on a full disk, want 2", n)
	}

	c.Stop()
	if c.Err != nil {
		t.Errorf("the process ended with %v", c.Err)
	}
	out, err := c.Command(t.Context(), "run", "--config", "Caddyfile").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is nearly full") {
		t.Errorf("a start on a full disk: %v\n%s", err, out)
	}

	disk.Empty()
	c.Restart()
	for _, session := range sessions {
		if n := len(ann.History(session)); n != 2 {
			t.Errorf("%d messages after a restart, want 2", n)
		}
	}
	ann.Say(sessions[0], "there is room again")
	disk.Fill()
	harness.WantFailure(t, ann.Do(http.MethodDelete, "/chat/"+sessions[0], nil), 503, "storage_unavailable")
	disk.Empty()
	if resp := ann.Do(http.MethodDelete, "/chat/"+sessions[0], nil); resp.StatusCode != http.StatusOK {
		t.Errorf("deleting with room again: status %d", resp.StatusCode)
	}
}
