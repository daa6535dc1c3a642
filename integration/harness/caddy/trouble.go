package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/badger"
)

func init() {
	caddy.RegisterModule(trouble{})
}

// trouble is a Badger store whose operations a test can make fail: an operation
// fails while the process's directory holds a file named after it.
type trouble struct {
	badger.Badger
}

func (trouble) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.stores.trouble",
		New: func() caddy.Module { return new(trouble) },
	}
}

func (b *trouble) Open(log *zap.Logger) (store.Store, error) {
	s, err := b.Badger.Open(log)
	return troubled{s}, err
}

type troubled struct{ store.Store }

// errTrouble contains text that no client may see.
var errTrouble = errors.New("goroutine 1 [running]: /var/lib/secret: trouble")

func troubles(op string) bool {
	_, err := os.Stat("trouble-" + op)
	return err == nil
}

func (s troubled) Take(ctx context.Context, tenant string, takes []store.Take) ([]store.Taken, bool, error) {
	if troubles("take") {
		return nil, false, errTrouble
	}
	return s.Store.Take(ctx, tenant, takes)
}

func (s troubled) TakeWithin(ctx context.Context, tenant string, takes []store.Take, budgets []store.Budget) ([]store.Taken, []store.Balance, bool, error) {
	if troubles("take") || troubles("balances") {
		return nil, nil, false, errTrouble
	}
	return s.Store.TakeWithin(ctx, tenant, takes, budgets)
}

func (s troubled) Append(ctx context.Context, tenant string, k store.SessionKey, opts store.AppendOptions, msgs ...*store.Message) error {
	if troubles("append") {
		return errTrouble
	}
	return s.Store.Append(ctx, tenant, k, opts, msgs...)
}

func (s troubled) History(ctx context.Context, tenant string, k store.SessionKey, r store.Range) ([]store.Message, bool, error) {
	if troubles("history") {
		return nil, false, errTrouble
	}
	return s.Store.History(ctx, tenant, k, r)
}

func (s troubled) Claim(ctx context.Context, tenant string, k store.SessionKey, turn string, lease time.Duration) (<-chan struct{}, error) {
	if troubles("claim") {
		return nil, errTrouble
	}
	return s.Store.Claim(ctx, tenant, k, turn, lease)
}

func (s troubled) ClaimKey(ctx context.Context, tenant string, c store.KeyClaim, over bool, takes []store.Take) ([]byte, <-chan struct{}, error) {
	if troubles("claim") {
		return nil, nil, errTrouble
	}
	return s.Store.ClaimKey(ctx, tenant, c, over, takes)
}

func (s troubled) Begin(ctx context.Context, tenant string, k store.SessionKey, b store.Beginning, msgs ...*store.Message) (store.Begun, error) {
	if slices.ContainsFunc([]string{"claim", "history", "append"}, troubles) {
		return store.Begun{}, errTrouble
	}
	return s.Store.Begin(ctx, tenant, k, b, msgs...)
}

func (s troubled) Sessions(ctx context.Context, tenant, user string, after *store.Cursor, limit int) ([]store.Session, bool, error) {
	if troubles("sessions") {
		return nil, false, errTrouble
	}
	return s.Store.Sessions(ctx, tenant, user, after, limit)
}

// FinishTurn is slow, as it may be over a network.
func (s troubled) FinishTurn(ctx context.Context, tenant string, k store.SessionKey, turn string, keep time.Duration, last ...store.Event) error {
	if troubles("finish") {
		<-time.After(200 * time.Millisecond)
	}
	return s.Store.FinishTurn(ctx, tenant, k, turn, keep, last...)
}

// CancelTurn waits for the end of its trouble, and a file says that it does.
func (s troubled) CancelTurn(ctx context.Context, tenant string, k store.SessionKey, turn string) (bool, error) {
	for troubles("cancel") && ctx.Err() == nil {
		_ = os.WriteFile("cancel-waits", nil, 0o600)
		<-time.After(10 * time.Millisecond)
	}
	return s.Store.CancelTurn(ctx, tenant, k, turn)
}

func (s troubled) Reserve(ctx context.Context, tenant, id string, lease time.Duration, budgets []store.Budget) ([]store.Balance, error) {
	if troubles("reserve") {
		return nil, errTrouble
	}
	return s.Store.Reserve(ctx, tenant, id, lease, budgets)
}

func (s troubled) Settle(ctx context.Context, tenant, id string, budgets []store.Budget) ([]store.Balance, error) {
	if troubles("settle") {
		return nil, errTrouble
	}
	return s.Store.Settle(ctx, tenant, id, budgets)
}

func (s troubled) Balances(ctx context.Context, tenant string, budgets []store.Budget) ([]store.Balance, error) {
	if troubles("balances") {
		return nil, errTrouble
	}
	return s.Store.Balances(ctx, tenant, budgets)
}
