package aigateway

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/route"
)

var (
	// errSilent cancels an attempt whose target sends nothing for too long.
	errSilent = errors.New("the provider sent nothing for too long")

	// errOutOfTime cancels an attempt when try_duration is over.
	errOutOfTime = errors.New("no answer began within try_duration")
)

// Timeouts say how long to wait for the providers. A value that is given counts for
// streamed and other answers alike.
type Timeouts struct {
	// How long to try targets until one begins to answer. Default: 100
	// seconds, or the longest of the other timeouts if that is more.
	TryDuration caddy.Duration `json:"try_duration,omitempty"`

	// How long to wait for a provider's response header or, if the answer is
	// not streamed, for the whole answer. Default: 60 seconds, or 10 minutes
	// if the answer is not streamed.
	ResponseTimeout caddy.Duration `json:"response_timeout,omitempty"`

	// How long a stream may take from its header to its first token of text,
	// reasoning or a tool call. Default: 12 seconds if another target is next
	// in line and the model does not think, else 5 minutes.
	FirstTokenTimeout caddy.Duration `json:"first_token_timeout,omitempty"`

	// How long a stream may be silent after its first token. A rescue has this
	// much once more. Default: 60 seconds.
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`
}

// The timeouts that count where none is given.
const (
	defaultTry        = 100 * time.Second
	defaultResponse   = time.Minute
	defaultDocument   = 10 * time.Minute // a response that is not streamed
	defaultFirstToken = 12 * time.Second // with another target next in line
	defaultThought    = 5 * time.Minute  // the first token otherwise
	defaultStall      = time.Minute
)

// timeoutOptions are the names of the timeouts.
var timeoutOptions = []string{"try_duration", "response_timeout", "first_token_timeout", "stall_timeout"}

// timeout returns the timeout with a name, or nil for any other option.
func (t *Timeouts) timeout(name string) *caddy.Duration {
	switch name {
	case "try_duration":
		return &t.TryDuration
	case "response_timeout":
		return &t.ResponseTimeout
	case "first_token_timeout":
		return &t.FirstTokenTimeout
	case "stall_timeout":
		return &t.StallTimeout
	}
	return nil
}

// checkTimeouts returns an error for the first timeout out of range.
func (t *Timeouts) checkTimeouts() error {
	for _, name := range timeoutOptions {
		if d := *t.timeout(name); d < 0 {
			return fmt.Errorf("%s: %v: want a duration such as 30s", name, time.Duration(d))
		}
	}
	return nil
}

// or returns t with those of less where t has none.
func (t Timeouts) or(less Timeouts) Timeouts {
	for _, name := range timeoutOptions {
		*t.timeout(name) = cmp.Or(*t.timeout(name), *less.timeout(name))
	}
	return t
}

// patience returns how long to wait for d: less if the call is about to run out of
// time.
func (c *call) patience(d time.Duration) time.Duration { return min(d, time.Until(c.deadline)) }

// responseTimeout returns how long to wait for a response header or, if the answer
// is not streamed, for the whole answer.
func (c *call) responseTimeout() time.Duration {
	if !c.req.stream {
		return cmp.Or(time.Duration(c.given.ResponseTimeout), defaultDocument)
	}
	return cmp.Or(time.Duration(c.given.ResponseTimeout), defaultResponse)
}

// firstTokenTimeout returns how long a target may take from its header to its
// first token; 0 for any time. A model that thinks is silent for minutes, and the
// last target may be: the client would only get an error in its place. An answer
// that is not streamed, but assembled here for a budget, has responseTimeout.
func (c *call) firstTokenTimeout(t route.Target) time.Duration {
	switch given := time.Duration(c.given.FirstTokenTimeout); {
	case given > 0 || !c.req.stream:
		return given
	case c.nextInLine() && !c.thinks(t):
		return defaultFirstToken
	}
	return defaultThought
}

// stallTimeout returns how long a target may be silent after its first token; 0
// for any time.
func (c *call) stallTimeout() time.Duration {
	if given := time.Duration(c.given.StallTimeout); given > 0 || !c.req.stream {
		return given
	}
	return defaultStall
}

// tryDuration returns how long all targets together may take until the answer
// begins.
func (c *call) tryDuration() time.Duration {
	if given := time.Duration(c.given.TryDuration); given > 0 {
		return given
	}
	firstToken := time.Duration(c.given.FirstTokenTimeout)
	if firstToken == 0 && c.req.stream {
		firstToken = defaultThought // the last target in line has so much
	}
	return max(defaultTry, c.responseTimeout(), firstToken, c.stallTimeout())
}

// nextInLine reports whether there is another target to try after this one.
func (c *call) nextInLine() bool {
	now := time.Now()
	return slices.ContainsFunc(c.line, func(hop route.Hop) bool {
		key := keyFor(c.x.Rec.Tenant, hop.Target.Provider)
		return hop.Breaker.State(now) != route.Open && c.h.table.KeyState(key, hop.Target.Model, now) != route.Open
	})
}

// beginWatch cancels an attempt whose answer does not begin in time. The zero value
// never does.
type beginWatch struct{ timer *time.Timer }

// watchBegin cancels the attempt after a wait, or earlier at the call's deadline.
// The deadline is not the target's fault if earlier targets have used up the time.
func (a *attempt) watchBegin(wait time.Duration) beginWatch {
	alone, deadline := a.alone, a.c.deadline
	return beginWatch{time.AfterFunc(a.c.patience(wait), func() {
		if !alone && time.Until(deadline) <= 0 {
			a.cancel(errOutOfTime)
			return
		}
		a.cancel(errSilent)
	})}
}

func (w beginWatch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
