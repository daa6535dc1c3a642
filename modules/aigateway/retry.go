package aigateway

import (
	"errors"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// verdict is what follows from a failed attempt.
type verdict int

const (
	again   verdict = iota // the same target, after a while
	nextOne                // the next target
	giveUp                 // nothing: every target would say the same
)

// judge tells what follows from a failure, before anything was sent: the
// table of the contract, row by row.
func judge(err error) verdict {
	switch {
	case errors.Is(err, errSilent), errors.Is(err, errOutOfTime):
		return nextOne
	case errors.Is(err, errUncounted):
		return giveUp
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

// try asks target by target, until one of them has begun to answer. It returns
// that attempt.
func (c *call) try() (*attempt, error) {
	var last error
	for place, hop := range c.order {
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

// ask makes attempts at one target for as long as that makes sense.
func (c *call) ask(place int, hop route.Hop) (*attempt, error) {
	if err := c.reprice(hop.Target); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		a, err := c.enter(place, hop)
		if err != nil {
			return nil, err
		}
		if err = a.begin(); err == nil {
			return a, nil
		}
		a.over(err)
		if judge(err) != again || n > *c.h.Retries || !c.pause(hop, c.delay(err, n)) {
			return nil, err
		}
	}
}

// reprice has the budgets count by a target's price. One that is too dear for
// what is left is passed over.
func (c *call) reprice(t route.Target) error {
	if err := c.meter.hold.Reprice(c.ctx, c.countedPrice(t)); err != nil {
		return c.refused(err)
	}
	return nil
}

// worse is the failure to tell of: the later one, where they weigh the same,
// and of two open circuits the one that closes first.
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

// weight is how much a target's failure says. What one of them does not have,
// or is too dear for, says less than that another one is left alone for a
// while, and both say less than what became of a call.
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

// delay is how long to wait before the nth retry: what the provider asks for
// where that is little enough, or else a while that grows.
func (c *call) delay(err error, n int) time.Duration {
	if pe, ok := errors.AsType[*provider.Error](err); ok && pe.Reason == provider.ReasonRateLimited &&
		pe.RetryAfter > 0 && pe.RetryAfter <= time.Duration(c.h.RetryAfterMax) {
		return pe.RetryAfter
	}
	return route.Backoff(n)
}

// pause waits before a target is asked again, and says whether it may be: not
// where its circuit has opened, nor where there is no time left.
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
