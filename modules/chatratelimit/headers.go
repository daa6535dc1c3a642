package chatratelimit

import (
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// setHeaders shows the client its limits, whether or not it is let through.
// Headers with room for one window describe the tightest.
func (g *gauges) setHeaders(w http.ResponseWriter, r *http.Request, rec *record.Record) {
	now := time.Now()
	if tight := g.tightest(); tight != nil {
		s := g.state(tight)
		rec.SetHeader(w, "X-Ratelimit-Limit", tight.limit)
		rec.SetHeader(w, "X-Ratelimit-Remaining", strconv.FormatInt(s.Remaining, 10))
		rec.SetHeader(w, "X-Ratelimit-Reset", strconv.FormatInt(ceilMillis(s.Reset), 10))
		g.setStandardHeaders(w, rec, now)
	} else {
		g.setSlotHeaders(w, rec, now)
	}
	if !record.IsV1(record.Path(r)) {
		return
	}
	names := &openAINames
	if apierror.ForAnthropic(r) {
		names = &anthropicNames
	}
	for _, tokens := range [...]bool{false, true} {
		if tight := g.tightestOf(tokens); tight != nil {
			names.of(tokens).set(w, rec, tight.limit, g.state(tight), now)
		}
	}
}

// apiNames are the headers by which an API tells a client its limits, and how it writes
// when a window is free again.
type apiNames struct {
	requests, tokens windowNames
}

type windowNames struct {
	limit, remaining, reset string
	until                   func(reset, now time.Time) string
}

var (
	openAINames = apiNames{
		windowNames{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests", untilReset},
		windowNames{"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens", untilReset},
	}
	anthropicNames = apiNames{
		windowNames{"Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset", timeOfReset},
		windowNames{"Anthropic-Ratelimit-Tokens-Limit", "Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset", timeOfReset},
	}
)

func (n *apiNames) of(tokens bool) *windowNames {
	if tokens {
		return &n.tokens
	}
	return &n.requests
}

func (n *windowNames) set(w http.ResponseWriter, rec *record.Record, limit string, s store.WindowState, now time.Time) {
	rec.SetHeader(w, n.limit, limit)
	rec.SetHeader(w, n.remaining, strconv.FormatInt(s.Remaining, 10))
	rec.SetHeader(w, n.reset, n.until(s.Reset, now))
}

// untilReset is how OpenAI writes when a window is free again.
func untilReset(reset, now time.Time) string {
	return max(reset.Sub(now), 0).Round(time.Millisecond).String()
}

// timeOfReset is how Anthropic writes it: in whole seconds, and never too early.
func timeOfReset(reset, _ time.Time) string {
	return reset.Add(time.Second - 1).UTC().Truncate(time.Second).Format(time.RFC3339)
}

// setSlotHeaders describes a limit on concurrent requests, for want of any
// window: what is free now, and resets as soon as a request ends.
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
	rec.SetHeader(w, "X-Ratelimit-Limit", strconv.FormatInt(limitOf, 10))
	rec.SetHeader(w, "X-Ratelimit-Remaining", strconv.FormatInt(free, 10))
	rec.SetHeader(w, "X-Ratelimit-Reset", strconv.FormatInt(now.UnixMilli(), 10))
}

// setStandardHeaders sets the structured fields of the IETF draft
// "RateLimit header fields for HTTP", one item a window.
func (g *gauges) setStandardHeaders(w http.ResponseWriter, rec *record.Record, now time.Time) {
	state := make([]byte, 0, 256)
	for i := range g.plan.windows {
		win := &g.plan.windows[i]
		s := g.state(win)
		if i > 0 {
			state = append(state, ", "...)
		}
		state = append(state, win.item...)
		state = strconv.AppendInt(append(state, ";r="...), s.Remaining, 10)
		state = strconv.AppendInt(append(state, ";t="...), apierror.Seconds(max(s.Reset.Sub(now), 0)), 10)
	}
	rec.SetHeader(w, "Ratelimit-Policy", g.plan.policy)
	rec.SetHeader(w, "Ratelimit", string(state))
}

// ceilMillis never names a moment at which the limit is not yet free.
func ceilMillis(t time.Time) int64 {
	return t.Add(time.Millisecond - 1).UnixMilli()
}
