package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Follow implements store.Turns. The followers of one turn on this node share a
// feed, so that an event is read once for all of them.
func (d *db) Follow(ctx context.Context, tenant string, s store.SessionKey, since string, n int) (string, []store.Event, error) {
	k := turnKey{tenant, s}
	if f := d.feeds.get(k, since, n); f != nil {
		evs, err := f.wait(ctx, d, n)
		if len(evs) > 0 || err != nil {
			return since, evs, err
		}
	}
	if err := d.sendOwn(ctx, k); err != nil {
		return "", nil, err
	}
	r, err := d.readTurn(ctx, k, since, n, false)
	for n > 0 && unreachable(err) && ctx.Err() == nil {
		// one who has read a part waits for the rest, as the followers of a feed do
		d.pause(retryTime)
		r, err = d.readTurn(ctx, k, since, n, false)
	}
	if err != nil {
		return "", nil, err
	}
	if r.turn != since {
		n = 0
	}
	if len(r.events) > 0 || r.state != turnRunning {
		return r.turn, r.events, r.err()
	}
	f, err := d.feed(ctx, k, r.turn, n)
	if err != nil {
		return "", nil, err
	}
	evs, err := f.wait(ctx, d, n)
	return r.turn, evs, err
}

// feed returns a feed with all events after n. A closed store begins none, which
// Close would not wait for.
func (d *db) feed(ctx context.Context, k turnKey, turn string, n int) (*feed, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.leave()
	return d.feeds.begin(d, k, turn, n), nil
}

// sendOwn sends the events of a turn that this node runs, so that a follower here
// sees all that was published here.
func (d *db) sendOwn(ctx context.Context, k turnKey) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	if t := d.owned.of(k); t != nil {
		t.flush(d)
	}
	return nil
}

// States of a turn.
const (
	turnRunning  = "running"
	turnFinished = "finished"
	turnLost     = "lost" // its node is gone
)

// reading is what a turn had when it was read.
type reading struct {
	turn, state string
	events      []store.Event
}

func (r *reading) err() error {
	if r.state == turnLost && len(r.events) == 0 {
		return store.ErrLost
	}
	return nil
}

func (d *db) readTurn(ctx context.Context, k turnKey, since string, n int, only bool) (*reading, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.leave()
	pinned := "0"
	if only {
		pinned = "1"
	}
	answer, err := d.run(ctx, followScript, k.tenant, session(k.s), since, number(max(n, 0)), pinned).ToArray()
	if rueidis.IsRedisNil(err) {
		return nil, store.ErrNotFound
	}
	var r *reading
	if err == nil {
		r, err = parseReading(answer)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a turn: %w", err)
	}
	if r.state == turnLost && !d.renewed() {
		r.state = turnRunning
	}
	return r, nil
}

func parseReading(answer []rueidis.RedisMessage) (*reading, error) {
	if len(answer)%3 != 2 {
		return nil, errAnswer
	}
	turn, err1 := answer[0].ToString()
	state, err2 := answer[1].ToString()
	r := &reading{turn: turn, state: state}
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for item := range slices.Chunk(answer[2:], 3) {
		n, err1 := item[0].AsInt64()
		kind, err2 := item[1].ToString()
		data, err3 := item[2].ToString()
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, err
		}
		if len(kind) != 1 {
			return nil, errAnswer
		}
		r.events = append(r.events, store.Event{N: int(n), Kind: kind[0], Data: []byte(data)})
	}
	return r, nil
}

// feedIdle is how long a feed goes on without followers.
const feedIdle = 10 * time.Second

// pollTime is how long a feed waits at most before it reads again: should it not have
// been told of an event, or should the turn's node be gone.
const pollTime = 5 * time.Second

// feeds are the turns that clients of this node follow.
type feeds struct {
	mu      sync.Mutex
	byTurn  map[turnKey]*feed
	running sync.WaitGroup
}

func (fs *feeds) init() { fs.byTurn = make(map[turnKey]*feed) }

// get returns the feed of a turn, if it has all events after n and is still running.
func (fs *feeds) get(k turnKey, turn string, n int) *feed {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.byTurn[k]; f != nil && f.turn == turn && n >= f.from {
		return f
	}
	return nil
}

// begin returns a feed with all events after n.
func (fs *feeds) begin(d *db, k turnKey, turn string, n int) *feed {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.byTurn[k]; f != nil && f.turn == turn && n >= f.from {
		return f
	}
	f := &feed{key: k, turn: turn, from: n, wake: make(chan struct{}), used: time.Now()}
	fs.byTurn[k] = f
	fs.running.Go(func() { f.run(d) })
	return f
}

func (fs *feeds) drop(f *feed) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.byTurn[f.key] == f {
		delete(fs.byTurn, f.key)
	}
}

// stop waits for all feeds to end, which the closed store makes them do.
func (fs *feeds) stop() { fs.running.Wait() }

// feed reads the events of one turn for all of its followers on this node.
type feed struct {
	key  turnKey
	turn string
	from int // it has the events after this number

	mu        sync.Mutex
	events    []store.Event
	ended     bool
	err       error
	wake      chan struct{} // closed at the next change
	followers int
	used      time.Time // when the last follower left
}

// wait returns the events after n, once there are any. Without any, the turn is
// finished, or the feed is.
func (f *feed) wait(ctx context.Context, d *db, n int) ([]store.Event, error) {
	f.join(1)
	defer f.join(-1)
	for {
		f.mu.Lock()
		i := sort.Search(len(f.events), func(i int) bool { return f.events[i].N > n })
		evs, ended, err, wake := f.events[i:len(f.events):len(f.events)], f.ended, f.err, f.wake
		f.mu.Unlock()
		if len(evs) > 0 {
			return evs, nil
		}
		if ended {
			return nil, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-d.done:
			return nil, store.ErrClosed
		}
	}
}

func (f *feed) join(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followers += n
	f.used = time.Now()
}

// idle reports whether the feed has had no followers for a while.
func (f *feed) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.followers == 0 && time.Since(f.used) > feedIdle
}

// add takes what was read. It reports whether the turn goes on.
func (f *feed) add(r *reading, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.events = append(f.events, r.events...)
		err = r.err()
	}
	f.err = err
	f.ended = err != nil || r.state == turnFinished
	if f.ended || len(r.events) > 0 {
		close(f.wake)
		f.wake = make(chan struct{})
	}
	return !f.ended
}

func (f *feed) newest() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) == 0 {
		return f.from
	}
	return f.events[len(f.events)-1].N
}

// run reads whenever it is woken, until the turn ends or has no followers.
func (f *feed) run(d *db) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	woken := make(chan struct{}, 1)
	notify := func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()
	listening.Go(func() { f.listen(ctx, d, notify) })
	defer d.feeds.drop(f)

	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	for {
		select {
		case <-d.done:
			return
		case <-poll.C:
			if f.idle() {
				return
			}
		case <-woken:
		}
		r, err := d.readTurn(ctx, f.key, f.turn, f.newest(), true)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrClosed) {
			d.log.Warn("reading the events of a turn", zap.String("turn", f.turn), zap.Error(err))
			continue // the next poll tries again
		}
		if !f.add(r, err) {
			return
		}
	}
}

// listen calls notify when there is something to read, until ctx ends.
func (f *feed) listen(ctx context.Context, d *db, notify func()) {
	channel := d.keys.tenant(f.key.tenant) + "t:" + session(f.key.s)
	// what came before the subscription is there to be read
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) { notify() })
	for ctx.Err() == nil {
		err := d.client.Receive(hooked, d.client.B().Ssubscribe().Channel(channel).Build(), func(rueidis.PubSubMessage) { notify() })
		if ctx.Err() != nil {
			return
		}
		d.log.Warn("listening for the events of a turn", zap.Error(err))
		d.pause(retryTime)
	}
}
