package aigateway

import (
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// rescueWay is a way to go on with a cut answer. Each is tried once in a
// call, so that there is an end to it.
type rescueWay struct {
	target    route.Target
	continued bool
}

// rescue finds another stream that goes on where a cut one ended: first from
// a target that continues an assistant message, then from one whose answer to
// the same request begins with exactly what the client has. It fails with the
// cause of the cut where neither is to be had.
func (c *call) rescue(cut error) (source, error) {
	c.answering.over(cut)
	if !*c.h.Rescue || c.out.sent.fixed || c.ctx.Err() != nil || !isCut(cut) {
		return source{}, cut
	}
	// what the client has is that target's until another one goes on
	defer func() { c.answers(c.answering) }()
	c.deadline = time.Now().Add(time.Duration(c.h.TryDuration))
	for _, continued := range []bool{true, false} {
		for _, place := range c.places(errors.Is(cut, errSilent)) {
			if s, ok := c.goOn(place, continued); ok {
				return s, nil
			}
		}
	}
	return source{}, cut
}

// isCut says whether a stream's failure leaves an answer that another call
// may complete. What the provider's policy stopped would be stopped again.
func isCut(err error) bool {
	return !isOurs(err) && reasonOf(err) != provider.ReasonContentFiltered
}

// places are the targets to go on with: the one that was cut first, as it
// would say the same most likely, but last where it has fallen silent.
func (c *call) places(silent bool) []int {
	var list []int
	for i := range c.order {
		if i != c.answering.place {
			list = append(list, i)
		}
	}
	if silent {
		return append(list, c.answering.place)
	}
	return append([]int{c.answering.place}, list...)
}

// goOn asks a target to go on with the answer, by continuing it or by giving
// it again.
func (c *call) goOn(place int, continued bool) (source, bool) {
	hop := c.order[place]
	begun, body := "", c.req.body
	if continued {
		begun = strings.TrimRightFunc(c.out.sent.text.String(), unicode.IsSpace)
		body = capped(body, c.used().Output)
		if begun == "" || body == nil || !c.continues(hop.Target) {
			return source{}, false
		}
	}
	if !c.mayRescue(rescueWay{hop.Target, continued}) || c.reprice(hop.Target) != nil {
		return source{}, false
	}
	a, err := c.enter(place, hop)
	if err != nil {
		return source{}, false
	}
	s := c.out.sent.again(a)
	if continued {
		a.preq.Continue, a.preq.Body = begun, body
		a.carried = c.answering.carried + provider.EstimateTokens(len(begun))
		// providers refuse white space at the end
		s = c.out.sent.onward(a, len(begun))
	}
	var src source
	if err = a.open(); err == nil {
		src, err = begins(a, s)
	}
	if err != nil {
		a.over(err)
		return source{}, false
	}
	c.answering = a
	return src, true
}

// mayRescue says whether a way is still to be tried, and notes it as tried.
func (c *call) mayRescue(way rescueWay) bool {
	if c.rescued[way] || c.ctx.Err() != nil || time.Until(c.deadline) <= 0 {
		return false
	}
	if c.rescued == nil {
		c.rescued = make(map[rescueWay]bool)
	}
	c.rescued[way] = true
	return true
}

// capped is a request for the rest of an answer of which so many tokens have
// been produced, so that the whole is no longer than the client allows; nil
// where it is that long already.
func capped(body []byte, produced int64) []byte {
	for _, name := range [...]string{"max_completion_tokens", "max_tokens"} {
		limit := gjson.GetBytes(body, name)
		if limit.Type != gjson.Number {
			continue
		}
		left := limit.Int() - produced
		if left < 1 {
			return nil
		}
		var err error
		if body, err = sjson.SetBytes(body, name, left); err != nil {
			return nil
		}
	}
	return body
}

// continues says whether a target goes on with the answer to this request
// where it has been begun.
func (c *call) continues(t route.Target) bool {
	p, ok := c.h.providers[t.Provider].(provider.Continuer)
	return ok && p.Continues(t.Model) && c.providerRequest(t).Continuable()
}
