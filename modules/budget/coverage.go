package budget

import "github.com/caddy-chat/caddy-chat/modules/provider"

// mostAhead is how much output is covered at a time, at most.
const mostAhead = 1024

// coverage is what a hold has room for without growing, so that most chunks of
// a stream cost Used no lock and no look at the clock. It ends when the lease
// is to be renewed, or when what is held or its price changes.
type coverage struct{ input, cached, written, output int64 }

// covers says whether Used can let a figure through without looking. Output
// only grows while an answer streams; another input costs another amount.
func (c *coverage) covers(u provider.Usage) bool {
	return c != nil && u.Input == c.input && u.Cached == c.cached && u.Written == c.written && u.Output <= c.output
}

// cover covers as much as there is room for beyond a figure that was let
// through. A figure that needs no growth means that no smaller one does.
func (h *Hold) cover(u provider.Usage) {
	h.wakeAt(h.renewAt)
	for more := int64(mostAhead); more > 0; more /= 2 {
		most := u
		most.Output += more
		if h.hasRoom(most) {
			h.covered.Store(&coverage{u.Input, u.Cached, u.Written, most.Output})
			return
		}
	}
}
