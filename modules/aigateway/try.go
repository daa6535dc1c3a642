package aigateway

import (
	"errors"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/chaterr"
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

// try makes attempts, target by target, until one of them has begun to
// answer, which is when begin returns no error. It returns that attempt.
func (c *call) try(begin func(*attempt) error) (*attempt, error) {
	var last error            // of the attempts made
	wait := time.Duration(-1) // until the first circuit closes
	for place, hop := range c.order {
		if err := c.reprice(hop.Target); err != nil {
			last = err
			continue
		}
		for n := 1; ; n++ {
			a, closed := c.enter(c.ctx, place, hop)
			if a == nil {
				if wait < 0 || closed < wait {
					wait = closed
				}
				break
			}
			err := begin(a)
			if err == nil {
				return a, nil
			}
			a.over(err)
			if c.ctx.Err() != nil {
				return nil, c.failed(err)
			}
			last = worse(last, err)
			v := judge(err)
			if v == giveUp {
				return nil, c.failed(err)
			}
			if v == nextOne || n > *c.h.Retries || !c.pause(c.delay(err, n)) {
				break
			}
		}
		if c.ctx.Err() != nil || time.Until(c.deadline) <= 0 {
			break
		}
	}
	if last == nil {
		return nil, chaterr.AIUnavailable(wait)
	}
	return nil, c.failed(last)
}

// reprice has the budgets count by a target's price. One that is too dear for
// what is left is passed over.
func (c *call) reprice(t route.Target) error {
	err := c.hold.Reprice(c.ctx, c.countedPrice(t))
	if err == nil {
		return nil
	}
	return c.refused(err)
}

// worse is the failure to tell of. What one target does not have says less
// than what became of another.
func worse(last, err error) error {
	if last != nil && reasonOf(err) == provider.ReasonUnsupported {
		return last
	}
	return err
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

// pause waits, and says whether there is time left to go on.
func (c *call) pause(d time.Duration) bool {
	if d >= time.Until(c.deadline) {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}
