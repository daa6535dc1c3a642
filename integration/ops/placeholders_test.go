package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestPlaceholders checks the placeholders in an answer's header and in the access
// log.
func TestPlaceholders(t *testing.T) {
	up := harness.NewUpstream(t, harness.Steps(harness.Heads("X-Trace-Id", "upstream", "X-Tenant-Id", "upstream"), harness.Says(3, 5, "hi")))
	names := []string{
		"tenant.id", "tenant.source", "user.id", "session.id", "trace_id", "model", "provider",
		"tokens.in", "tokens.out", "cost_usd", "error.code", "tenant.metadata.plan",
	}
	var appends strings.Builder
	for _, name := range names {
		fmt.Fprintf(&appends, "log_append p.%s {chat.%s}\n", name, name)
	}
	c := harness.StartSites(t, `
		chat {
			tenant acme {
				metadata plan gold
			}
		}
	`, `
		http://:{$PORT} {
			log
			`+appends.String()+`
			header >X-Model "{chat.model}/{chat.provider}"
			tenant_resolve
			chat_session
			ai_gateway {
				provider up openai {
					base_url {$UPSTREAM}/v1
				}
				model fast {
					to up/m
					price 1000 10
				}
			}
			respond "{chat.tenant.id}|{chat.tenant.source}|{chat.user.id}|{chat.session.id}|{chat.trace_id}|{chat.model}|{chat.tenant.metadata.plan}|{chat.tenant.metadata.none}|{chat.nosuch}"
		}
	`, "UPSTREAM="+up.Origin())
	cl := harness.NewClient(c, "acme", "ann")

	t.Run("before a model is called", func(t *testing.T) {
		text := harness.ReadAll(t, cl.Do("GET", "/elsewhere", nil, "X-Trace-Id", "t-1"))
		// an unknown placeholder is left unchanged, as everywhere in Caddy
		const want = "acme|header|ann||t-1||gold||{chat.nosuch}"
		if text != want {
			t.Errorf("got %q, want %q", text, want)
		}
	})
	// logged returns what log_append wrote for the request with this trace id
	logged := func(t *testing.T, trace string) string {
		t.Helper()
		var all []string
		harness.Eventually(t, "the access log has "+trace, func() bool {
			for line := range strings.Lines(c.Log.String()) {
				var entry map[string]any
				if json.Unmarshal([]byte(line), &entry) != nil || entry["p.trace_id"] != trace {
					continue
				}
				for _, name := range names {
					all = append(all, fmt.Sprint(entry["p."+name]))
				}
				return true
			}
			return false
		})
		return strings.Join(all, "|")
	}
	session := harness.NewSession()
	stream := false
	for _, tt := range []struct {
		trace  string
		method string
		path   string
		body   any
		status int
		want   string
	}{
		{"t-chat", "POST", "/chat", harness.ChatRequest{SessionID: strings.ToUpper(session), Message: "hi", Stream: &stream}, 200, "acme|header|ann|" + session + "|t-chat|fast|up|3|5|0.00305||gold"},
		{"t-stream", "POST", "/chat", harness.ChatRequest{SessionID: session, Message: "hi"}, 200, "acme|header|ann|" + session + "|t-stream|fast|up|3|5|0.00305||gold"},
		{"t-v1", "POST", "/v1/chat/completions", harness.CompletionRequestFor("fast"), 200, "acme|header|ann||t-v1|fast|up|3|5|0.00305||gold"},
		{"t-history", "GET", "/chat/" + session + "/history", nil, 200, "acme|header|ann|" + session + "|t-history|||0|0|0||gold"},
		{"t-unknown", "POST", "/v1/chat/completions", harness.CompletionRequestFor("slow"), 404, "acme|header|ann||t-unknown|||0|0|0|model_unknown|gold"},
	} {
		t.Run(tt.trace, func(t *testing.T) {
			cl.T = t
			resp := cl.Do(tt.method, tt.path, tt.body, "X-Trace-Id", tt.trace)
			harness.ReadAll(t, resp)
			if resp.StatusCode != tt.status {
				t.Errorf("got %d", resp.StatusCode)
			}
			if got := logged(t, tt.trace); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := resp.Header.Get("X-Model"); tt.method == http.MethodPost && tt.status == 200 && got != "fast/up" {
				t.Errorf("in the header: %q", got)
			}
		})
	}
}
