package redis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

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

// end has the turn stop and accept nothing any more, for a reason, which it returns.
func (t *ownedTurn) end(err error) error {
	t.mu.Lock()
	t.lost = err
	t.mu.Unlock()
	t.stop()
	return err
}

// flushAll sends what waits, before the store is closed.
func (o *owned) flushAll(d *db) {
	for _, t := range o.all() {
		t.flush(d)
		t.stop()
	}
}
