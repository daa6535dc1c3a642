package badger

import (
	"container/list"
	"context"
	"sort"
	"sync"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// maxFinished is how many bytes the events of finished turns may take.
const maxFinished = 64 << 20

// eventCost is about what an event takes besides its data.
const eventCost = 64

// turns keeps the newest turn of every session in memory: a claim that dies
// with its process needs no lease.
type turns struct {
	now  func() time.Time
	done <-chan struct{} // closed with the store

	mu       sync.Mutex
	newest   map[turnKey]*turn
	byID     map[turnID]*turn // of the newest ones
	finished list.List        // of *turn, in the order in which they finished
	bytes    int              // of the finished ones
}

type turnKey struct{ tenant, user, id string }

// turnID names a turn of a user.
type turnID struct{ tenant, user, turn string }

type turn struct {
	key     turnKey
	id      string
	events  []store.Event // only appended to, so that readers may keep a part
	size    int
	running bool

	// gone is set when the session is deleted under a running turn. The turn
	// can no longer be followed, but has to finish before another one begins,
	// or its last message would land in a new session of this name.
	gone bool

	cancel    chan struct{}
	cancelled bool
	wake      chan struct{} // closed at the next event, nil while no follower waits
	until     time.Time     // when finished: how long it can be read
	place     *list.Element // when finished
}

func newTurns(now func() time.Time, done <-chan struct{}) *turns {
	return &turns{now: now, done: done, newest: make(map[turnKey]*turn), byID: make(map[turnID]*turn)}
}

// check says whether a call may go on.
func (ts *turns) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-ts.done:
		return store.ErrClosed
	default:
		return nil
	}
}

// get returns the newest turn of a session, or nil.
func (ts *turns) get(k turnKey) *turn {
	t := ts.newest[k]
	if t != nil && !t.running && !ts.now().Before(t.until) {
		ts.forget(t)
		return nil
	}
	return t
}

// getRunning returns a turn that runs and whose session is still there.
func (ts *turns) getRunning(k turnKey, id string) *turn {
	if t := ts.newest[k]; t != nil && t.running && !t.gone && t.id == id {
		return t
	}
	return nil
}

func (ts *turns) forget(t *turn) {
	delete(ts.newest, t.key)
	if ts.byID[t.name()] == t {
		delete(ts.byID, t.name())
	}
	if t.place != nil {
		ts.finished.Remove(t.place)
		ts.bytes -= t.size
	}
}

func (t *turn) name() turnID { return turnID{t.key.tenant, t.key.user, t.id} }

func (t *turn) stop() {
	if !t.cancelled {
		t.cancelled = true
		close(t.cancel)
	}
}

func (t *turn) notify() {
	if t.wake != nil {
		close(t.wake)
		t.wake = nil
	}
}

// drop forgets what belongs to a session that was deleted.
func (ts *turns) drop(tenant string, s store.SessionKey) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.newest[turnKey{tenant, s.User, s.ID}]; t != nil {
		ts.dropTurn(t)
	}
}

// dropTenant does so for all sessions of a tenant.
func (ts *turns) dropTenant(tenant string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for k, t := range ts.newest {
		if k.tenant == tenant {
			ts.dropTurn(t)
		}
	}
}

func (ts *turns) dropTurn(t *turn) {
	if !t.running {
		ts.forget(t)
		return
	}
	t.gone = true
	t.events, t.size = nil, 0
	t.stop()
	t.notify()
}

// expire frees finished turns whose time is over and that no call has met.
func (ts *turns) expire() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.now()
	for e := ts.finished.Front(); e != nil; {
		t := e.Value.(*turn)
		e = e.Next()
		if !now.Before(t.until) {
			ts.forget(t)
		}
	}
}

// Claim implements store.Turns. The lease does not count: the claim lasts
// until FinishTurn.
func (d *db) Claim(ctx context.Context, tenant string, s store.SessionKey, id string, _ time.Duration) (<-chan struct{}, error) {
	ts := d.turns
	if err := ts.check(ctx); err != nil {
		return nil, err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()

	k := turnKey{tenant, s.User, s.ID}
	if t := ts.getRunning(k, id); t != nil {
		return t.cancel, nil
	}
	if t := ts.get(k); t != nil {
		if t.running {
			return nil, store.ErrBusy
		}
		ts.forget(t)
	}
	t := &turn{key: k, id: id, running: true, size: 256, cancel: make(chan struct{})}
	ts.newest[k], ts.byID[t.name()] = t, t
	return t.cancel, nil
}

// KeepTurn implements store.Turns.
func (d *db) KeepTurn(ctx context.Context, tenant string, s store.SessionKey, id string, _ time.Duration) error {
	ts := d.turns
	if err := ts.check(ctx); err != nil {
		return err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.getRunning(turnKey{tenant, s.User, s.ID}, id) == nil {
		return store.ErrNotFound
	}
	return nil
}

// Publish implements store.Turns.
func (d *db) Publish(ctx context.Context, tenant string, s store.SessionKey, id string, evs ...store.Event) error {
	ts := d.turns
	if err := ts.check(ctx); err != nil {
		return err
	}
	data := copyData(evs)

	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.getRunning(turnKey{tenant, s.User, s.ID}, id)
	if t == nil {
		return store.ErrNotFound
	}
	t.add(evs, data)
	if len(evs) > 0 {
		t.notify()
	}
	return nil
}

// copyData copies the data of all events into one buffer: the caller may use
// its own again.
func copyData(evs []store.Event) []byte {
	n := 0
	for _, ev := range evs {
		n += len(ev.Data)
	}
	data := make([]byte, 0, n)
	for _, ev := range evs {
		data = append(data, ev.Data...)
	}
	return data
}

// add appends events, whose data stands one after the other in data.
func (t *turn) add(evs []store.Event, data []byte) {
	t.size += eventCost*len(evs) + len(data)
	for _, ev := range evs {
		n := len(ev.Data)
		ev.Data, data = data[:n:n], data[n:]
		t.events = append(t.events, ev)
	}
}

// FinishTurn implements store.Turns. If finished turns take more than 64 MiB,
// the oldest are forgotten early.
func (d *db) FinishTurn(ctx context.Context, tenant string, s store.SessionKey, id string, keep time.Duration, last ...store.Event) error {
	ts := d.turns
	if err := ts.check(ctx); err != nil {
		return err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()

	t := ts.newest[turnKey{tenant, s.User, s.ID}]
	if t == nil || t.id != id || !t.running {
		return nil
	}
	t.add(last, copyData(last))
	t.running = false
	t.notify()
	if t.gone || keep <= 0 {
		ts.forget(t)
		return nil
	}
	t.until = ts.now().Add(keep)
	t.place = ts.finished.PushBack(t)
	ts.bytes += t.size
	for ts.bytes > maxFinished {
		ts.forget(ts.finished.Front().Value.(*turn))
	}
	return nil
}

// Lost implements store.Turns. No turn outlives the process that runs it.
func (d *db) Lost(ctx context.Context, _ string, _ store.SessionKey) (bool, error) {
	return false, d.turns.check(ctx)
}

// EndLost implements store.Turns: Lost finds none.
func (d *db) EndLost(ctx context.Context, _ string, _ store.SessionKey, _ store.Ending, _ ...*store.Message) (bool, error) {
	return false, d.turns.check(ctx)
}

// CancelTurn implements store.Turns.
func (d *db) CancelTurn(ctx context.Context, tenant string, s store.SessionKey, id string) (bool, error) {
	ts := d.turns
	if err := ts.check(ctx); err != nil {
		return false, err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()

	t := ts.newest[turnKey{tenant, s.User, s.ID}]
	if t == nil || !t.running || t.gone || id != "" && id != t.id {
		return false, nil
	}
	t.stop()
	return true, nil
}

// Follow implements store.Turns. A follower that waits reads its turn to the
// end, even if another one begins meanwhile.
func (d *db) Follow(ctx context.Context, tenant string, s store.SessionKey, since string, n int) (string, []store.Event, error) {
	ts := d.turns
	if err := ts.check(ctx); err != nil {
		return "", nil, err
	}
	ts.mu.Lock()
	t := ts.get(turnKey{tenant, s.User, s.ID})
	ts.mu.Unlock()
	if t == nil {
		return "", nil, store.ErrNotFound
	}
	if t.id != since {
		n = 0
	}

	for {
		evs, wake, err := ts.after(t, n)
		if err != nil || wake == nil {
			return t.id, evs, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return t.id, nil, ctx.Err()
		case <-ts.done:
			return "", nil, store.ErrClosed
		}
	}
}

// FindTurn implements store.Turns.
func (d *db) FindTurn(ctx context.Context, tenant, user, id string) (store.SessionKey, error) {
	ts := d.turns
	if err := ts.check(ctx); err != nil {
		return store.SessionKey{}, err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byID[turnID{tenant, user, id}]
	if t == nil || t.gone || ts.get(t.key) != t {
		return store.SessionKey{}, store.ErrNotFound
	}
	return store.SessionKey{User: user, ID: t.key.id}, nil
}

// after returns the events after a number. Without any, it returns a channel
// that is closed at the next one, or nil when the turn is finished.
func (ts *turns) after(t *turn, n int) ([]store.Event, <-chan struct{}, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()

	if t.gone {
		return nil, nil, store.ErrNotFound
	}
	i := sort.Search(len(t.events), func(i int) bool { return t.events[i].N > n })
	if i < len(t.events) {
		return t.events[i:len(t.events):len(t.events)], nil, nil
	}
	if !t.running {
		return nil, nil, nil
	}
	if t.wake == nil {
		t.wake = make(chan struct{})
	}
	return nil, t.wake, nil
}
