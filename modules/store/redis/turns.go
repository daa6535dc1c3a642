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

// turnKey names a session's turns.
type turnKey struct {
	tenant string
	s      store.SessionKey
}

// owned are the running turns of this node.
type owned struct {
	mu       sync.Mutex
	turns    map[turnKey]*ownedTurn
	claiming map[*ownedTurn]struct{} // those whose claim is on its way
}

func (o *owned) init() {
	o.turns, o.claiming = make(map[turnKey]*ownedTurn), make(map[*ownedTurn]struct{})
}

func (o *owned) get(k turnKey, id string) *ownedTurn {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.turns[k]; t != nil && t.id == id {
		return t
	}
	return nil
}

// of returns the turn of a session that this node runs, or nil.
func (o *owned) of(k turnKey) *ownedTurn {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.turns[k]
}

// claim calls do for a turn, and adds it if that succeeds. A turn may be cancelled as
// soon as the server knows it.
func (o *owned) claim(k turnKey, id string, lease time.Duration, do func() error) (*ownedTurn, error) {
	t := o.get(k, id)
	if t != nil {
		return t, do()
	}
	t = &ownedTurn{key: k, id: id, lease: lease, cancelled: make(chan struct{})}
	o.mu.Lock()
	o.claiming[t] = struct{}{}
	o.mu.Unlock()
	err := do()
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.claiming, t)
	if err == nil {
		o.turns[k] = t
	}
	return t, err
}

// drop removes a turn, if it is still this one.
func (o *owned) drop(t *ownedTurn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.turns[t.key] == t {
		delete(o.turns, t.key)
	}
}

func (o *owned) all() []*ownedTurn {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*ownedTurn, 0, len(o.turns))
	for _, t := range o.turns {
		list = append(list, t)
	}
	return list
}

// cancel stops the turn with an id.
func (o *owned) cancel(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for t := range o.claiming {
		if t.id == id {
			t.stop()
		}
	}
	for _, t := range o.turns {
		if t.id == id {
			t.stop()
		}
	}
}

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
		return claimError(code)
	})
	if err != nil {
		return nil, err
	}
	return t.cancelled, nil
}

// Begin implements store.Turns.
func (d *db) Begin(ctx context.Context, tenant string, s store.SessionKey, b store.Beginning, msgs ...*store.Message) (begun store.Begun, err error) {
	if err := d.enter(ctx); err != nil {
		return begun, err
	}
	defer d.leave()
	k := turnKey{tenant, s}
	d.writeSession(ctx, k) // what came before
	args := []string{
		session(s), s.User, s.ID, b.Turn, d.node, micros(b.Lease), number(b.Past.Limit), number(b.Past.Bytes),
		b.Title, number(b.MaxMessages), msgs[len(msgs)-1].ID,
	}
	if args, err = appendMessages(args, b.Retention, msgs); err != nil {
		return begun, err
	}
	var answer []rueidis.RedisMessage
	t, err := d.claim(k, b.Turn, b.Lease, func() error {
		var err error
		if answer, err = d.run(ctx, beginScript, tenant, args...).ToArray(); err != nil {
			return err
		}
		if len(answer) == 0 {
			return errAnswer
		}
		code, err := answer[0].AsInt64()
		return errors.Join(claimError(code), err)
	})
	if err != nil {
		return store.Begun{}, fmt.Errorf("beginning a turn: %w", err)
	}
	if len(answer) < 3 {
		return store.Begun{}, fmt.Errorf("beginning a turn: %w", errAnswer)
	}
	first, err := answer[1].AsInt64()
	if err == nil {
		begun.Past, begun.More, err = readHistory(answer[2:])
	}
	if err != nil {
		return store.Begun{}, fmt.Errorf("beginning a turn: %w", err)
	}
	for i, m := range msgs {
		m.Seq = uint64(first) + uint64(i)
	}
	slices.Reverse(begun.Past)
	begun.Cancelled = t.cancelled
	return begun, nil
}

// claim calls do, which claims a session for a turn. If its answer got lost, the
// session may be claimed all the same, and is freed later.
func (d *db) claim(k turnKey, id string, lease time.Duration, do func() error) (*ownedTurn, error) {
	t, err := d.owned.claim(k, id, lease, do)
	if err == nil || errors.Is(err, store.ErrBusy) || errors.Is(err, store.ErrLost) {
		return t, err
	}
	free := func(ctx context.Context) error { return d.send(ctx, t, lease, 0, nil) }
	return t, errors.Join(err, d.later.put(k, &write{what: "freeing a session", bytes: eventCost, do: free}))
}

// claimError returns the error that the answer of a claim stands for.
func claimError(code int64) error {
	switch code {
	case 0:
		return store.ErrBusy
	case 3:
		return store.ErrLost
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

// EndLost implements store.Turns.
func (d *db) EndLost(ctx context.Context, tenant string, s store.SessionKey, id string, keep time.Duration, last ...store.Event) (bool, error) {
	if err := d.enter(ctx); err != nil {
		return false, err
	}
	defer d.leave()
	code, err := d.run(ctx, endLostScript, tenant, publishArgs(s, id, 0, keep, last)...).AsInt64()
	if err != nil {
		return false, fmt.Errorf("ending a turn whose node is gone: %w", err)
	}
	return code == 1, nil
}

// CancelTurn implements store.Turns.
func (d *db) CancelTurn(ctx context.Context, tenant string, s store.SessionKey) (bool, error) {
	if err := d.enter(ctx); err != nil {
		return false, err
	}
	defer d.leave()
	n, err := d.run(ctx, cancelScript, tenant, session(s), d.cancelChannel("")).AsInt64()
	if err != nil {
		return false, fmt.Errorf("cancelling a turn: %w", err)
	}
	return n == 1, nil
}

const (
	// batchTime is how long events gather after others were sent.
	batchTime = 25 * time.Millisecond

	// maxUnsent is how many bytes of events a turn may gather while the server does
	// not answer.
	maxUnsent = 8 << 20

	// eventCost is about what an event takes besides its data.
	eventCost = 64
)

// ownedTurn is a running turn of this node.
type ownedTurn struct {
	key   turnKey
	id    string
	lease time.Duration

	sending sync.Mutex // held while events are sent, so that they stay in order

	mu        sync.Mutex
	unsent    []store.Event
	size      int
	scheduled bool      // a call of flush is on its way
	sent      time.Time // when events were last sent
	lost      error     // why nothing is accepted any more

	once      sync.Once
	cancelled chan struct{}
}

func (t *ownedTurn) stop() { t.once.Do(func() { close(t.cancelled) }) }

// add takes events, whose data the caller may use again, and has them sent.
func (t *ownedTurn) add(d *db, evs []store.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost != nil {
		return t.lost
	}
	for _, ev := range evs {
		ev.Data = slices.Clone(ev.Data)
		t.unsent = append(t.unsent, ev)
		t.size += eventCost + len(ev.Data)
	}
	if t.size > maxUnsent {
		t.lost = errors.New("publishing events: redis does not answer, and too many are waiting")
		return t.lost
	}
	if !t.scheduled && len(t.unsent) > 0 {
		t.scheduled = true
		time.AfterFunc(max(batchTime-time.Since(t.sent), 0), func() { t.flush(d) })
	}
	return nil
}

// take returns the events that wait to be sent.
func (t *ownedTurn) take() []store.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	evs := t.unsent
	t.unsent, t.size = nil, 0
	return evs
}

// putBack has events sent once more, before those that came meanwhile.
func (t *ownedTurn) putBack(evs []store.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ev := range evs {
		t.size += eventCost + len(ev.Data)
	}
	t.unsent = append(evs, t.unsent...)
}

// retryTime is the pause after a server did not answer.
const retryTime = 500 * time.Millisecond

// flush sends what waits. If the server does not answer, it is tried again.
func (t *ownedTurn) flush(d *db) {
	t.sending.Lock()
	defer t.sending.Unlock()
	t.mu.Lock()
	t.scheduled = false
	t.sent = time.Now() // and not after it: events that come meanwhile are the next batch
	t.mu.Unlock()
	evs := t.take()
	if len(evs) == 0 {
		return
	}
	err := d.send(context.Background(), t, t.lease, -1, evs)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return
	}
	t.putBack(evs)
	select {
	case <-d.done:
		return
	default:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.scheduled {
		t.scheduled = true
		time.AfterFunc(retryTime, func() { t.flush(d) })
	}
}

// flushAll sends what waits, before the store is closed.
func (o *owned) flushAll(d *db) {
	for _, t := range o.all() {
		t.flush(d)
		t.stop()
	}
}

// send sends events of a turn, and ends it if keep is not negative.
func (d *db) send(ctx context.Context, t *ownedTurn, lease, keep time.Duration, evs []store.Event) error {
	args := publishArgs(t.key.s, t.id, lease, keep, evs)
	code, err := d.run(ctx, publishScript, t.key.tenant, args...).AsInt64()
	switch {
	case err != nil:
		return err
	case code == 0:
		t.mu.Lock()
		t.lost = store.ErrNotFound
		t.mu.Unlock()
		t.stop()
		return store.ErrNotFound
	case code == 2:
		t.stop()
	}
	return nil
}

// publishArgs are the arguments of the scripts that append events to a turn.
func publishArgs(s store.SessionKey, id string, lease, keep time.Duration, evs []store.Event) []string {
	keepFor := "-1"
	if keep >= 0 {
		keepFor = micros(keep)
	}
	args := append(make([]string, 0, 4+3*len(evs)), session(s), id, micros(lease), keepFor)
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
	var checking sync.WaitGroup
	defer checking.Wait()
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) {
		checking.Go(func() { d.checkOwned(ctx) })
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
