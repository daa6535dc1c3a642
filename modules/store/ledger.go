package store

import (
	"context"
	"time"
)

// Amount is what a budget counts: tokens, or US dollars in millionths.
type Amount int64

// Budget is one counter that a reservation must fit. It counts for good, up to
// Until, or slides: then what was settled counts for Window from that moment
// on, and what is held counts while it is held. In no interval of length
// Window is more settled than Limit, but for what a call used beyond its
// reservation.
type Budget struct {
	// Key names the counter, with its period or the length of its window,
	// such as "tokens/day/2026-11-22". A key is always asked for with the
	// same Window, and once in a call.
	Key string

	Limit  Amount        // 0 for no bound: counted only
	Want   Amount        // how much is asked for
	Until  time.Time     // when the counter may be forgotten; not of one that slides
	Window time.Duration // 0 for a counter that does not slide
}

// Balance is the state of one counter.
type Balance struct {
	Used Amount // settled, and not yet out of the window
	Held Amount // reserved and not yet settled

	// Wait is how long until Want fits beside what is held now, 0 where it
	// does; only of a counter that slides. When a hold ends is not known: if
	// holds are in the way, Wait is at most until all that was settled is
	// free.
	Wait time.Duration

	// Reset is when all of a counter that slides is free again, at the
	// earliest: what is held counts as if it were settled now.
	Reset time.Time
}

// Ledger keeps what tenants have used. A reservation is a lease: one that is
// neither settled nor renewed in time frees itself.
type Ledger interface {
	// Reserve holds every budget's Want under id, or none: ErrExceeded where
	// used, held and wanted pass a limit. Calling it again with the same id
	// replaces the hold, which is how it grows, and renews the lease. The
	// balances come in the order of budgets, also with ErrExceeded, when an
	// earlier hold of this id stays as it was and is among what is held. It
	// may answer ErrFull for a new key when too many counters slide.
	Reserve(ctx context.Context, tenant, id string, lease time.Duration, budgets []Budget) ([]Balance, error)

	// Settle replaces the hold by what was really used, Want of each budget,
	// whether or not that fits. It counts once for an id. If the store's server does
	// not answer, it counts when it does again, and there are no balances.
	Settle(ctx context.Context, tenant, id string, budgets []Budget) ([]Balance, error)

	// ReleaseHold drops the hold; nothing was used.
	ReleaseHold(ctx context.Context, tenant, id string) error

	// Balances reads counters, in the order of budgets.
	Balances(ctx context.Context, tenant string, budgets []Budget) ([]Balance, error)
}
