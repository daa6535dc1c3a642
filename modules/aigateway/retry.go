package aigateway

import (
	"errors"
	"slices"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// verdict is what to do after a failed attempt.
type verdict int

const (
	again   verdict = iota // retry the same target, after a delay
	nextOne                // try the next target
	giveUp                 // fail: every target would refuse the request
)

// judge returns what to do after a failure before anything was sent. Its rows
// are those of the table in docs/ai-gateway-fallbacks.md.
func judge(err error) verdict {
	switch {
	case errors.Is(err, errSilent), errors.Is(err, errOutOfTime):
		return nextOne
	case errors.Is(err, errUncounted):
		return giveUp
	}
	if added(err) != "" {
		return nextOne
	}
	switch reasonOf(err) {
	case provider.ReasonContextLength, provider.ReasonCredentials, provider.ReasonModel, provider.ReasonUnsupported:
		return nextOne
	case provider.ReasonContentFiltered, provider.ReasonInvalid:
		return giveUp
	default:
		return again
	}
}

// try tries the targets in order, and returns the first attempt that begins to
// answer.
func (c *call) try() (*attempt, error) {
	var last error
	for place, hop := range c.order {
		c.line = c.order[place+1:]
		a, err := c.ask(place, hop)
		if err == nil {
			return a, nil
		}
		last = worse(last, err)
		if c.ctx.Err() != nil || judge(err) == giveUp || time.Until(c.deadline) <= 0 {
			break
		}
	}
	return nil, c.failed(last)
}

// ask tries one target, with retries.
func (c *call) ask(place int, hop route.Hop) (*attempt, error) {
	if err := c.reprice(hop.Target); err != nil {
		return nil, err
	}
	for n := 1; ; {
		a, err := c.enter(place, hop)
		if err != nil {
			return nil, err
		}
		if err = a.begin(); err == nil {
			return a, nil
		}
		a.over(err)
		if c.omit(hop.Target, err) {
			continue // no retry: the request is another one
		}
		if !isOverloaded(err) && reasonOf(err) != provider.ReasonUnsupported {
			c.otherwise = true
		}
		if judge(err) != again || n > *c.h.Retries || !c.pause(hop, c.delay(err, n)) {
			return nil, err
		}
		n++
	}
}

// isOverloaded reports whether a provider has failed because it has too much to do.
func isOverloaded(err error) bool {
	pe, ok := errors.AsType[*provider.Error](err)
	return ok && pe.Overloaded
}

// added returns what a target refuses and its provider can do without; empty for nothing.
func added(err error) string {
	if pe, ok := errors.AsType[*provider.Error](err); ok {
		return pe.Added
	}
	return ""
}

// refusal is a member of a request that a target refuses, and that its provider can do
// without.
type refusal struct {
	name    string
	passing bool // the target may take it in another request
}

// omit notes a refusal, so that the call's next attempt leaves the member out. It reports
// whether to make that attempt.
func (c *call) omit(t route.Target, err error) bool {
	pe, ok := errors.AsType[*provider.Error](err)
	if !ok || pe.Added == "" || slices.Contains(c.omitted(t, true), pe.Added) || c.ctx.Err() != nil || time.Until(c.deadline) <= 0 {
		return false
	}
	if c.refusals == nil {
		c.refusals = make(map[route.Target][]refusal)
	}
	c.refusals[t] = append(c.refusals[t], refusal{pe.Added, pe.Passing})
	return true
}

// omitted returns what a target has refused in this call, with or without what it may take
// in others.
func (c *call) omitted(t route.Target, passing bool) (names []string) {
	for _, r := range c.refusals[t] {
		if passing || !r.passing {
			names = append(names, r.name)
		}
	}
	return names
}

// reprice switches the reservation to a target's price. It fails if the target
// costs more than what is left.
func (c *call) reprice(t route.Target) error {
	if err := c.meter.hold.Reprice(c.ctx, c.countedPrice(t, c.meter.tier)); err != nil {
		return c.refused(err)
	}
	return nil
}

// worse returns the failure to report: the one of more weight, else the later
// one, and of two open circuits the one that closes first.
func worse(last, err error) error {
	was, is := weight(last), weight(err)
	if was > is {
		return last
	}
	a, ok := errors.AsType[*circuitError](last)
	b, too := errors.AsType[*circuitError](err)
	if ok && too && a.wait < b.wait {
		return last
	}
	return err
}

// weight ranks failures by how much they tell the client. A failed call says
// most, then an open circuit, then a target that lacks a feature or is too
// expensive.
func weight(err error) int {
	_, left := errors.AsType[*circuitError](err)
	switch {
	case err == nil:
		return 0
	case isOurs(err), reasonOf(err) == provider.ReasonUnsupported:
		return 1
	case left:
		return 2
	}
	return 3
}

// delay returns how long to wait before the nth retry: the provider's
// Retry-After up to retry_after_max, else an exponential backoff.
func (c *call) delay(err error, n int) time.Duration {
	if pe, ok := errors.AsType[*provider.Error](err); ok && pe.Reason == provider.ReasonRateLimited &&
		pe.RetryAfter > 0 && pe.RetryAfter <= time.Duration(c.h.RetryAfterMax) {
		return pe.RetryAfter
	}
	return route.Backoff(n)
}

// pause waits before a retry, and reports whether to make it: not if the
// target's circuit has opened, the deadline is too close or the call was
// cancelled.
func (c *call) pause(hop route.Hop, d time.Duration) bool {
	if d >= time.Until(c.deadline) || hop.Breaker.State(time.Now()) == route.Open {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return hop.Breaker.State(time.Now()) != route.Open
	case <-c.ctx.Done():
		return false
	}
}
