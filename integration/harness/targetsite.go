package harness

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TargetSite is a gateway whose model fast has targets. An input token costs one
// dollar, an output token two.
type TargetSite struct {
	T       testing.TB
	C       *Caddy
	Globex  *Client
	Targets []*Upstream
}

// TargetConfig is what differs from site to site, as lines of a Caddyfile.
type TargetConfig struct {
	Targets  []*Upstream
	Tenants  string // the global option chat; GatewayTenants if empty
	Provider string // more lines of each provider
	Fast     string // lines of the model fast; all targets in order if empty
	Gateway  string // more lines of ai_gateway
}

// Patient has neither a circuit breaker nor a timeout that a test could meet.
const Patient = `
		retries 1
		circuit_breaker 100000 1s
		response_timeout 5m
		first_token_timeout 5m
		stall_timeout 5m
		try_duration 10m`

// NewTargetSite starts a gateway in front of the targets.
func NewTargetSite(t testing.TB, cfg TargetConfig) *TargetSite {
	t.Helper()
	var providers, to strings.Builder
	for _, f := range cfg.Targets {
		fmt.Fprintf(&providers, "provider %s openai {\nbase_url %s\napi_key %[1]s-upstream-key\n%[3]s\n}\n", f.Name, f.URL, cfg.Provider)
		fmt.Fprintf(&to, "to %s/up-%[1]s\n", f.Name)
	}
	if cfg.Fast == "" {
		cfg.Fast = to.String()
	}
	if cfg.Tenants == "" {
		cfg.Tenants = GatewayTenants
	}
	c := Start(t, cfg.Tenants, fmt.Sprintf(`
	log
	tenant_resolve
	chat_session
	ai_gateway {
		%s
		model fast {
			%s
			price 1000000 2000000
		}
		%s
	}
`, providers.String(), cfg.Fast, cfg.Gateway))
	return &TargetSite{T: t, C: c, Globex: NewClient(c, "globex", "ann"), Targets: cfg.Targets}
}

// Label returns the value of a series' label.
func Label(series, name string) string {
	_, rest, _ := strings.Cut(series, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// WantText checks that the answer is complete: a document, or a stream that
// shows no seam.
func (a *Completion) WantText(t testing.TB, text string) {
	t.Helper()
	if a.Header.Get("Content-Type") != "text/event-stream" {
		if a.Status != http.StatusOK || a.Text != text || a.Finish != "stop" {
			t.Errorf("status %d, text %.200q, finish %q, want %.200q\n%.500s", a.Status, a.Text, a.Finish, text, a.Frames)
		}
		return
	}
	if a.Status != http.StatusOK || a.Text != text || a.Finish != "stop" || a.Code != "" || !a.Done {
		t.Errorf("status %d, text %.200q, finish %q, error %q, end mark %v; want text %.200q, complete\n%.2000s",
			a.Status, a.Text, a.Finish, a.Code, a.Done, text, a.Frames)
	}
	a.WantOne(t)
}

// WantOne checks that the chunks of a stream belong to one answer: one id, one
// role, and at the end one finish reason and one usage.
func (a *Completion) WantOne(t testing.TB) {
	t.Helper()
	var ids, roles, reasons []string
	var usages int
	for i, frame := range a.Frames {
		if frame == "[DONE]" {
			continue
		}
		doc := gjson.Parse(frame)
		if doc.Get("error").Exists() {
			continue
		}
		if id := doc.Get("id").Str; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		if role := doc.Get("choices.0.delta.role"); role.Exists() {
			roles = append(roles, role.Str)
		}
		if reason := doc.Get("choices.0.finish_reason").Str; reason != "" {
			reasons = append(reasons, reason)
		} else if len(reasons) > 0 && doc.Get("choices.#").Int() > 0 {
			t.Errorf("frame %d follows the finish reason: %s", i, frame)
		}
		if doc.Get("usage").IsObject() {
			if usages++; i != len(a.Frames)-2 {
				t.Errorf("the usage is in frame %d of %d", i, len(a.Frames))
			}
		}
	}
	if len(ids) != 1 || len(roles) > 1 || len(reasons) > 1 || usages > 1 {
		t.Errorf("ids %q, roles %q, finish reasons %q, %d usages, want one answer's\n%.2000s", ids, roles, reasons, usages, a.Frames)
	}
}
