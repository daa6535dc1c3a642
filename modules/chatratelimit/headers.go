package chatratelimit

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// setHeaders tells the client where it stands, whether or not it is let
// through. Where several windows apply, the tightest one speaks in the
// headers that have room for one only.
func (g *gauges) setHeaders(w http.ResponseWriter, r *http.Request, rec *record.Record) {
	now := time.Now()
	if tight, ok := g.tightest(); ok {
		s := g.state(tight)
		rec.SetHeader(w, "X-RateLimit-Limit", strconv.FormatInt(tight.rule.Limit, 10))
		rec.SetHeader(w, "X-RateLimit-Remaining", strconv.FormatInt(s.Remaining, 10))
		rec.SetHeader(w, "X-RateLimit-Reset", strconv.FormatInt(ceilMillis(s.Reset), 10))
		g.setStandardHeaders(w, rec, now)
	} else {
		g.setSlotHeaders(w, rec, now)
	}
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		g.setOpenAIHeaders(w, rec, now, "Requests", kindRequests, kindBurst)
		g.setOpenAIHeaders(w, rec, now, "Tokens", kindTokens)
	}
}

// setOpenAIHeaders sets OpenAI's three headers for what they call requests
// or tokens.
func (g *gauges) setOpenAIHeaders(w http.ResponseWriter, rec *record.Record, now time.Time, what string, kinds ...string) {
	tight, ok := g.tightestOf(kinds...)
	if !ok {
		return
	}
	s := g.state(tight)
	rec.SetHeader(w, "X-Ratelimit-Limit-"+what, strconv.FormatInt(tight.rule.Limit, 10))
	rec.SetHeader(w, "X-Ratelimit-Remaining-"+what, strconv.FormatInt(s.Remaining, 10))
	rec.SetHeader(w, "X-Ratelimit-Reset-"+what, max(s.Reset.Sub(now), 0).Round(time.Millisecond).String())
}

// setSlotHeaders speaks for a limit on concurrent requests where there is no
// window at all: what is free now, and resets as soon as a request ends.
func (g *gauges) setSlotHeaders(w http.ResponseWriter, rec *record.Record, now time.Time) {
	limitOf, free := int64(-1), int64(0)
	for i, t := range g.takes {
		if t.Slots == 0 {
			continue
		}
		if left := max(t.Slots-g.results[i].InUse, 0); limitOf < 0 || left < free {
			limitOf, free = t.Slots, left
		}
	}
	if limitOf < 0 {
		return
	}
	rec.SetHeader(w, "X-RateLimit-Limit", strconv.FormatInt(limitOf, 10))
	rec.SetHeader(w, "X-RateLimit-Remaining", strconv.FormatInt(free, 10))
	rec.SetHeader(w, "X-RateLimit-Reset", strconv.FormatInt(now.UnixMilli(), 10))
}

// setStandardHeaders sets the structured fields of the IETF draft
// "RateLimit header fields for HTTP", one item a window.
func (g *gauges) setStandardHeaders(w http.ResponseWriter, rec *record.Record, now time.Time) {
	var policy, state []string
	seen := make(map[string]bool)
	for _, win := range g.windows {
		name := win.name()
		if seen[name] {
			// two policies must not share a name
			name += "-" + win.rule.Window.String()
		}
		seen[name] = true
		s := g.state(win)
		policy = append(policy, fmt.Sprintf("%q;q=%d;w=%d", name, win.rule.Limit, apierror.Seconds(win.rule.Window)))
		state = append(state, fmt.Sprintf("%q;r=%d;t=%d", name, s.Remaining, apierror.Seconds(max(s.Reset.Sub(now), 0))))
	}
	rec.SetHeader(w, "RateLimit-Policy", strings.Join(policy, ", "))
	rec.SetHeader(w, "RateLimit", strings.Join(state, ", "))
}

// name is the window's name in the standard headers, with its scope unless
// it counts per user.
func (w window) name() string {
	if w.rule.Scope == limit.ScopeUser {
		return w.kind
	}
	return w.kind + "-" + strings.Trim(w.rule.Scope, "{}")
}

// ceilMillis never names a moment at which the limit is not yet free.
func ceilMillis(t time.Time) int64 {
	return t.Add(time.Millisecond - 1).UnixMilli()
}
