package chaterr

import (
	"context"
	"errors"

	"github.com/caddy-chat/caddy-chat/modules/budget"
)

// FromBudget turns a reservation that was not to be had into the failure that
// a client is told.
func FromBudget(err error) *Error {
	if errors.Is(err, context.Canceled) {
		return From(err)
	}
	e, ok := errors.AsType[*budget.ExceededError](err)
	switch {
	case !ok:
		return StorageUnavailable(err)
	case e.Window:
		return RateLimited(e.RetryAfter).Because(err)
	default:
		return BudgetExceeded(e.RetryAfter).Because(err)
	}
}
