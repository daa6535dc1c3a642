package chaterr

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/budget"
)

func TestFromBudget(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		code   string
		retry  time.Duration
	}{
		{&budget.ExceededError{Budget: "tokens/day", RetryAfter: time.Hour}, 429, "budget_exceeded", time.Hour},
		{&budget.ExceededError{Budget: "tokens", Window: true, RetryAfter: time.Minute}, 429, "rate_limited", time.Minute},
		{&budget.ExceededError{Budget: "tokens", Window: true}, 429, "rate_limited", time.Second},
		{fmt.Errorf("%w: %w", budget.ErrExhausted, &budget.ExceededError{Budget: "usd/month", RetryAfter: time.Hour}), 429, "budget_exceeded", time.Hour},
		{errors.New("the store is down"), 503, "storage_unavailable", 0},
		{context.Canceled, 499, "cancelled", 0},
	} {
		got := FromBudget(fmt.Errorf("reserving: %w", tt.err))
		if got.Status != tt.status || got.Code != tt.code || got.RetryAfter != tt.retry || !errors.Is(got, tt.err) {
			t.Errorf("%v: got %+v", tt.err, got)
		}
	}
}
