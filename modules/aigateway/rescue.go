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

// rescueWay is one way to continue a cut answer. Each is tried once per call,
// which bounds the number of rescues.
type rescueWay struct {
	target    route.Target
	continued bool
}

// rescue returns a stream that continues where a cut one ended: from a target
// that can continue an assistant message, or else from one whose answer to the
// same request begins with exactly what the client has. If both fail it returns
// the error of the cut.
func (c *call) rescue(cut error) (source, error) {
	c.answering.over(cut)
	if !*c.h.Rescue || c.out.sent.fixed || c.ctx.Err() != nil || !isCut(cut) {
		return source{}, cut
	}
	// attempts change info.Provider, also those that fail
	defer func() { c.answers(c.answering) }()
	c.rescuedBy = time.Now().Add(c.silenceLeft())
	c.deadline = c.rescuedBy
	places := c.places(errors.Is(cut, errSilent))
	for _, continued := range []bool{true, false} {
		for i, place := range places {
			c.line = c.hops(places[i+1:])
			if s, ok := c.goOn(place, continued); ok {
				return s, nil
			}
		}
	}
	return source{}, cut
}

// silenceLeft returns how much silence a rescue may add: stall_timeout once more,
// and for the rescue of a rescue what that one has left. If every target falls
// silent, the answer ends after twice that time.
func (c *call) silenceLeft() time.Duration {
	if c.rescuedBy.IsZero() {
		return c.stallTimeout()
	}
	return c.answering.stall.left()
}

// hops returns the targets at places in the order.
func (c *call) hops(places []int) []route.Hop {
	var list []route.Hop
	for _, place := range places {
		list = append(list, c.order[place])
	}
	return list
}

// isCut reports whether another call may complete the answer after this failure.
// A content filter would stop it again.
func isCut(err error) bool {
	return !isOurs(err) && reasonOf(err) != provider.ReasonContentFiltered
}

// places returns the order in which targets are tried: the one that was cut
// first, since it is the most likely to repeat its answer, but last if it fell
// silent.
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

// goOn asks a target to continue the answer or, unless continued, to give it
// again. It returns false if the target does not.
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
	src, err := c.resume(place, continued, begun, body)
	for err != nil && c.omit(hop.Target, err) {
		src, err = c.resume(place, continued, begun, body)
	}
	return src, err == nil
}

// resume makes the call of a rescue.
func (c *call) resume(place int, continued bool, begun string, body []byte) (source, error) {
	a, err := c.enter(place, c.order[place])
	if err != nil {
		return source{}, err
	}
	if a.preq.Native != nil || a.preq.Beside != nil {
		// what comes is compared with chat completions
		a.preq.Native, a.preq.Beside, a.preq.Translated = nil, nil, true
	}
	s := c.out.sent.again(a)
	if continued {
		a.preq.Continue, a.preq.Body = begun, body
		a.carried = c.answering.carried + provider.EstimateTokens(len(begun))
		// begun is trimmed: providers refuse trailing white space
		s = c.out.sent.onward(a, len(begun))
	}
	var src source
	if err = a.open(); err == nil {
		src, err = begins(a, s)
	}
	if err != nil {
		a.over(err)
		return source{}, err
	}
	c.answering = a
	return src, nil
}

// mayRescue reports whether a way has not been tried yet, and marks it as tried.
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

// capped returns the request with its token limits lowered by produced, so that
// a continued answer does not exceed them. It returns nil if nothing is left.
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

// continues reports whether a target can continue a begun answer to this
// request.
func (c *call) continues(t route.Target) bool {
	p, ok := c.h.providers[t.Provider].(provider.Continuer)
	return ok && p.Continues(t.Model) && c.providerRequest(t).Continuable()
}
