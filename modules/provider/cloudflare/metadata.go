package cloudflare

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// labels are what a gateway's log keeps of a call. It accepts at most five
// entries.
type labels struct {
	TenantID  string `json:"tenantId,omitempty"`
	TraceID   string `json:"traceId,omitempty"`
	SessionID string `json:"sessionId,omitempty"`
	UserID    string `json:"userId,omitempty"`
	Route     string `json:"route,omitempty"`
}

// metadata returns the value of the header for the gateway's log; empty if
// nothing is known.
func metadata(preq *provider.Request) string {
	l := labels{preq.Labels.TenantID, preq.TraceID, preq.Labels.SessionID, preq.Labels.UserID, preq.Labels.Route}
	if l == (labels{}) {
		return ""
	}
	raw, _ := json.Marshal(l) // strings only, which cannot fail
	return ascii(string(raw))
}

// ascii replaces what a header cannot hold with JSON's own escapes.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}
