package ops

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestMoney checks that a cost whose parts are no exact floats is written as a decimal
// number, wherever it is written.
func TestMoney(t *testing.T) {
	up := harness.NewUpstream(t, harness.Says(1, 1, "hi"))
	c := harness.Start(t, "", `
		log
		log_append cost {chat.cost_usd}
		tenant_resolve
		chat_session
		ai_gateway {
			provider up openai {
				base_url {$UPSTREAM}/v1
			}
			model fast {
				to up/m
				price 0.1 0.2
			}
		}
	`, "UPSTREAM="+up.Origin())
	cl := harness.NewClient(c, "default", "ann")
	for _, tt := range []struct{ name, path, body string }{
		{"document", "/chat", `{"sessionId":"` + harness.NewSession() + `","message":"hi","stream":false}`},
		{"stream", "/chat", `{"sessionId":"` + harness.NewSession() + `","message":"hi"}`},
		{"completion", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := "money-" + tt.name
			body := harness.ReadAll(t, cl.Do(http.MethodPost, tt.path, tt.body, "X-Trace-Id", trace))
			if tt.path == "/chat" && !strings.Contains(body, `"costUsd":0.0000003,`) {
				t.Errorf("the cost is not 0.0000003 in %s", body)
			}
			harness.Eventually(t, "the access log has the request", func() bool {
				return strings.Contains(accessLine(c, trace), trace)
			})
			line := accessLine(c, trace)
			for _, want := range []string{`"cost_usd":0.0000003,`, `"cost":"0.0000003"`} {
				if !strings.Contains(line, want) {
					t.Errorf("no %s in %s", want, line)
				}
			}
		})
	}
}

// accessLine returns the access log's line of a request, as it is written.
func accessLine(c *harness.Caddy, trace string) string {
	for line := range strings.Lines(c.Log.String()) {
		if strings.Contains(line, `"logger":"http.log.access`) && strings.Contains(line, `"trace_id":"`+trace+`"`) {
			return line
		}
	}
	return ""
}
