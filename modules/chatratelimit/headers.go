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
	if tight := g.tightestOf(false); tight != nil {
		s := g.state(tight)
		rec.SetHeader(w, "X-Ratelimit-Limit-Requests", tight.limit)
		rec.SetHeader(w, "X-Ratelimit-Remaining-Requests", strconv.FormatInt(s.Remaining, 10))
		rec.SetHeader(w, "X-Ratelimit-Reset-Requests", untilReset(s, now))
	}
	if tight := g.tightestOf(true); tight != nil {
		s := g.state(tight)
		rec.SetHeader(w, "X-Ratelimit-Limit-Tokens", tight.limit)
		rec.SetHeader(w, "X-Ratelimit-Remaining-Tokens", strconv.FormatInt(s.Remaining, 10))
		rec.SetHeader(w, "X-Ratelimit-Reset-Tokens", untilReset(s, now))
	}
}

// untilReset is how OpenAI writes when a window is free again.
func untilReset(s store.WindowState, now time.Time) string {
	return max(s.Reset.Sub(now), 0).Round(time.Millisecond).String()
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
