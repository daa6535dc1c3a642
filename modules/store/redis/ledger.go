package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// errAnswer says that a script answered with something else than it should.
var errAnswer = errors.New("redis answered in another form")

// Reserve implements store.Ledger.
func (d *db) Reserve(ctx context.Context, tenant, id string, lease time.Duration, budgets []store.Budget) ([]store.Balance, error) {
	args := append([]string{id, micros(lease)}, budgetArgs(budgets)...)
	code, list, err := d.ledger(ctx, reserveScript, tenant, args, budgets)
	if err != nil {
		return nil, fmt.Errorf("reserving a budget: %w", err)
	}
	if code == "exceeded" {
		return list, store.ErrExceeded
	}
	return list, nil
}

// Settle implements store.Ledger.
func (d *db) Settle(ctx context.Context, tenant, id string, budgets []store.Budget) ([]store.Balance, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.leave()
	var now atomic.Pointer[[]store.Balance]
	settle := func(ctx context.Context) error {
		_, list, err := d.runLedger(ctx, settleScript, tenant, append([]string{id}, budgetArgs(budgets)...), budgets)
		now.Store(&list)
		return err
	}
	if err := d.orLater(ctx, ofHold(tenant, id), &write{what: "settling a budget", bytes: holdCost, do: settle}); err != nil {
		return nil, fmt.Errorf("settling a budget: %w", err)
	}
	if list := now.Load(); list != nil {
		return *list, nil
	}
	return nil, nil
}

// ofHold is where the end of a hold waits for the server: no user has this name.
func ofHold(tenant, id string) turnKey {
	return turnKey{tenant, store.SessionKey{User: "\x00hold", ID: id}}
}

// holdCost is about what the end of a hold takes while it waits.
const holdCost = 512

// ReleaseHold implements store.Ledger.
func (d *db) ReleaseHold(ctx context.Context, tenant, id string) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	if err := d.run(ctx, releaseHoldScript, tenant, id).Error(); err != nil {
		return fmt.Errorf("releasing a hold: %w", err)
	}
	return nil
}

// Balances implements store.Ledger.
func (d *db) Balances(ctx context.Context, tenant string, budgets []store.Budget) ([]store.Balance, error) {
	_, list, err := d.ledger(ctx, balancesScript, tenant, budgetArgs(budgets), budgets)
	if err != nil {
		return nil, fmt.Errorf("reading budgets: %w", err)
	}
	return list, nil
}

func (d *db) ledger(ctx context.Context, s *rueidis.Lua, tenant string, args []string, budgets []store.Budget) (code string, list []store.Balance, err error) {
	if err := d.enter(ctx); err != nil {
		return "", nil, err
	}
	defer d.leave()
	return d.runLedger(ctx, s, tenant, args, budgets)
}

func (d *db) runLedger(ctx context.Context, s *rueidis.Lua, tenant string, args []string, budgets []store.Budget) (code string, list []store.Balance, err error) {
	answer, err := d.run(ctx, s, tenant, args...).ToArray()
	if err != nil {
		return "", nil, err
	}
	if len(answer) != 1+balanceSize*len(budgets) {
		return "", nil, errAnswer
	}
	if code, err = answer[0].ToString(); err != nil {
		return "", nil, err
	}
	numbers, err := integers(answer[1:])
	if err != nil {
		return "", nil, err
	}
	return code, readBalances(numbers, budgets), nil
}

// balanceSize is how many integers a balance is.
const balanceSize = 4

func readBalances(n []int64, budgets []store.Budget) []store.Balance {
	var list []store.Balance
	for _, b := range budgets {
		bal := store.Balance{Used: store.Amount(n[0]), Held: store.Amount(n[1])}
		if b.Window > 0 {
			bal.Wait, bal.Reset = time.Duration(n[2])*time.Microsecond, time.UnixMicro(n[3])
		}
		list, n = append(list, bal), n[balanceSize:]
	}
	return list
}

// budgetArgs writes budgets as the scripts read them.
func budgetArgs(budgets []store.Budget) []string {
	args := make([]string, 0, 5*len(budgets))
	for _, b := range budgets {
		until := "0"
		if !b.Until.IsZero() {
			until = number(b.Until.UnixMicro())
		}
		args = append(args, b.Key, number(b.Limit), number(b.Want), until, micros(b.Window))
	}
	return args
}

// integers reads what a script answers as texts or integers.
func integers(values []rueidis.RedisMessage) ([]int64, error) {
	list := make([]int64, len(values))
	for i := range values {
		var err error
		if list[i], err = values[i].AsInt64(); err != nil {
			return nil, err
		}
	}
	return list, nil
}
