package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Claim implements store.Turns.
func (d *db) Claim(ctx context.Context, tenant string, s store.SessionKey, id string, lease time.Duration) (<-chan struct{}, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.leave()
	t, err := d.claim(turnKey{tenant, s}, id, lease, func() error {
		code, err := d.run(ctx, claimScript, tenant, session(s), id, d.node, micros(lease)).AsInt64()
		if err != nil {
			return fmt.Errorf("claiming a session: %w", err)
		}
		return d.claimError(code)
	})
	if err != nil {
		return nil, err
	}
	return t.cancelled, nil
}

// claim calls do, which claims a session for a turn. If its answer got lost, the
// session may be claimed all the same, and is freed later.
func (d *db) claim(k turnKey, id string, lease time.Duration, do func() error) (*ownedTurn, error) {
	t, err := d.owned.claim(k, id, lease, do)
	if err == nil || isUnclaimed(err) {
		return t, err
	}
	free := func(ctx context.Context) error { return d.send(ctx, t, lease, 0, nil) }
	return t, errors.Join(err, d.later.put(k, &write{what: "freeing a session", bytes: eventCost, do: free}))
}

// isUnclaimed reports whether an error says that nothing was claimed.
func isUnclaimed(err error) bool {
	for _, is := range []error{store.ErrBusy, store.ErrNoSlot, store.ErrLost, store.ErrKeyTaken, store.ErrGoneOn, store.ErrNotFound, errAway} {
		if errors.Is(err, is) {
			return true
		}
	}
	return refusedForNow(err)
}

// claimError returns the error that the answer of a claim stands for.
func (d *db) claimError(code int64) error {
	switch {
	case code == 3 && d.renewed():
		return store.ErrLost
	case code == 0, code == 3:
		return store.ErrBusy
	case code == 2, code == 5:
		return store.ErrKeyTaken
	case code == 4:
		return store.ErrNoSlot
	case code == 6:
		return store.ErrGoneOn
	case code == 7:
		return store.ErrNotFound
	}
	return nil
}

// KeepTurn implements store.Turns.
func (d *db) KeepTurn(ctx context.Context, tenant string, s store.SessionKey, id string, lease time.Duration) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	t := d.owned.get(turnKey{tenant, s}, id)
	if t == nil {
		return store.ErrNotFound
	}
	return d.send(ctx, t, lease, -1, nil)
}

// Publish implements store.Turns. Events are sent in the background, those of some
// milliseconds together.
func (d *db) Publish(ctx context.Context, tenant string, s store.SessionKey, id string, evs ...store.Event) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	t := d.owned.get(turnKey{tenant, s}, id)
	if t == nil {
		return store.ErrNotFound
	}
	return t.add(d, evs)
}

// FinishTurn implements store.Turns.
func (d *db) FinishTurn(ctx context.Context, tenant string, s store.SessionKey, id string, keep time.Duration, last ...store.Event) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	t := d.owned.get(turnKey{tenant, s}, id)
	if t == nil {
		return nil
	}
	t.sending.Lock()
	defer t.sending.Unlock()
	evs := append(t.take(), last...)
	size := 0
	for i := range evs {
		evs[i].Data = slices.Clone(evs[i].Data)
		size += eventCost + len(evs[i].Data)
	}
	d.owned.drop(t)
	err := d.orLater(ctx, t.key, &write{what: "finishing a turn", bytes: size, do: func(ctx context.Context) error {
		return d.send(ctx, t, t.lease, max(keep, 0), evs)
	}})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("finishing a turn: %w", err)
	}
	return nil
}

// Lost implements store.Turns.
func (d *db) Lost(ctx context.Context, tenant string, s store.SessionKey) (bool, error) {
	if err := d.enter(ctx); err != nil {
		return false, err
	}
	defer d.leave()
	n, err := d.run(ctx, lostScript, tenant, session(s)).AsInt64()
	if err != nil {
		return false, fmt.Errorf("asking for a turn's node: %w", err)
	}
	return n == 1 && d.renewed(), nil
}

// EndLost implements store.Turns.
func (d *db) EndLost(ctx context.Context, tenant string, s store.SessionKey, e store.Ending, msgs ...*store.Message) (bool, error) {
	if err := d.enter(ctx); err != nil {
		return false, err
	}
	defer d.leave()
	if !d.renewed() {
		return false, nil // its node may be about to renew the lease
	}
	newest := ""
	if len(msgs) > 0 {
		newest = msgs[len(msgs)-1].ID
	}
	args := []string{session(s), s.User, s.ID, e.Turn, micros(max(e.Keep, 0)), number(len(e.Last)), number(e.MaxMessages), newest}
	args, err := appendMessages(appendEvents(args, e.Last), e.Retention, msgs)
	if err != nil {
		return false, err
	}
	code, err := d.run(ctx, endLostScript, tenant, args...).AsInt64()
	if err != nil {
		return false, fmt.Errorf("ending a turn whose node is gone: %w", err)
	}
	return code == 1, nil
}

// CancelTurn implements store.Turns.
func (d *db) CancelTurn(ctx context.Context, tenant string, s store.SessionKey, id string) (bool, error) {
	if err := d.enter(ctx); err != nil {
		return false, err
	}
	defer d.leave()
	n, err := d.run(ctx, cancelScript, tenant, session(s), d.cancelChannel(""), id).AsInt64()
	if err != nil {
		return false, fmt.Errorf("cancelling a turn: %w", err)
	}
	return n == 1, nil
}

// FindTurn implements store.Turns.
func (d *db) FindTurn(ctx context.Context, tenant, user, id string) (store.SessionKey, error) {
	if err := d.enter(ctx); err != nil {
		return store.SessionKey{}, err
	}
	defer d.leave()
	found, err := d.run(ctx, findTurnScript, tenant, user, id).ToString()
	if rueidis.IsRedisNil(err) {
		return store.SessionKey{}, store.ErrNotFound
	}
	if err != nil {
		return store.SessionKey{}, fmt.Errorf("finding a turn: %w", err)
	}
	return store.SessionKey{User: user, ID: found}, nil
}

// errClaimLost says that the server does not know a turn that this node runs: it has lost
// its data, or another node has ended the turn.
var errClaimLost = fmt.Errorf("%w: %w", store.ErrNotFound, store.ErrLost)

// send sends events of a turn, and ends it if keep is not negative.
func (d *db) send(ctx context.Context, t *ownedTurn, lease, keep time.Duration, evs []store.Event) error {
	args := publishArgs(t.key.s, t.id, lease, keep, evs)
	code, err := d.run(ctx, publishScript, t.key.tenant, args...).AsInt64()
	switch {
	case err != nil:
		return err
	case code == 0:
		return t.end(errClaimLost)
	case code == 3:
		return t.end(store.ErrNotFound)
	case code == 2:
		t.stop()
	}
	return nil
}

// publishArgs are the arguments of the script that appends events to a turn.
func publishArgs(s store.SessionKey, id string, lease, keep time.Duration, evs []store.Event) []string {
	keepFor := "-1"
	if keep >= 0 {
		keepFor = micros(keep)
	}
	args := append(make([]string, 0, 4+3*len(evs)), session(s), id, micros(lease), keepFor)
	return appendEvents(args, evs)
}

// appendEvents adds events to the arguments of a script.
func appendEvents(args []string, evs []store.Event) []string {
	for _, ev := range evs {
		args = append(args, number(ev.N), string([]byte{ev.Kind}), rueidis.BinaryString(ev.Data))
	}
	return args
}

// cancelChannel is where a node hears which of its turns are to stop.
func (d *db) cancelChannel(node string) string { return string(d.keys) + "cancel:" + node }

// hearCancels stops the turns that are cancelled on other nodes. What came before the
// subscription, or while the connection was down, is asked for.
func (d *db) hearCancels() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-d.done
		cancel()
	}()
	subscribed := make(chan struct{}, 1)
	var checking sync.WaitGroup
	checking.Go(func() { d.checkOnSubscribe(ctx, subscribed) })
	defer checking.Wait()
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) {
		select {
		case subscribed <- struct{}{}:
		default:
		}
	})
	for ctx.Err() == nil {
		err := d.client.Receive(hooked, d.client.B().Subscribe().Channel(d.cancelChannel(d.node)).Build(), func(m rueidis.PubSubMessage) {
			d.owned.cancel(m.Message)
		})
		if ctx.Err() != nil {
			return
		}
		d.log.Warn("listening for cancelled turns", zap.Error(err))
		d.pause(retryTime)
	}
}

// checkOnSubscribe checks this node's turns after every subscription, until ctx ends.
func (d *db) checkOnSubscribe(ctx context.Context, subscribed <-chan struct{}) {
	var once sync.Once
	for {
		select {
		case <-ctx.Done():
			return
		case <-subscribed:
		}
		d.checkOwned(ctx)
		once.Do(func() { close(d.hears) })
	}
}

// checkOwned stops those of this node's turns that were cancelled.
func (d *db) checkOwned(ctx context.Context) {
	for _, t := range d.owned.all() {
		if err := d.send(ctx, t, t.lease, -1, nil); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
			d.log.Warn("asking whether a turn was cancelled", zap.String("turn", t.id), zap.Error(err))
		}
	}
}

// pause waits, or until the store is closed.
func (d *db) pause(t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-d.done:
	case <-timer.C:
	}
}
