package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var turnTests = []test{
	{"a_session_has_one_running_turn", turnBusy},
	{"claiming_again_is_the_same_claim", turnClaimAgain},
	{"one_of_many_claims_wins", turnRace},
	{"finishing_frees_the_session", turnFinish},
	{"only_the_running_turn_publishes", turnPublishOther},
	{"follow_begins_after_a_number", turnFollow},
	{"follow_from_another_turn_begins_at_the_start", turnFollowOther},
	{"follow_waits_for_the_next_event", turnFollowWaits},
	{"follow_ends_with_its_context", turnFollowContext},
	{"many_followers_read_everything_once", turnFollowers},
	{"a_batch_is_seen_in_order_and_whole", turnBatch},
	{"a_batch_is_for_the_running_turn_only", turnBatchOther},
	{"an_event_is_kept_as_it_was_published", turnEventCopied},
	{"cancel_reaches_the_running_turn", turnCancel},
	{"a_finished_turn_is_read_until_its_time_is_over", turnExpires},
	{"a_new_turn_replaces_the_finished_one", turnReplaced},
	{"keeping_a_turn_needs_its_claim", turnKeep},
	{"a_turn_begins_with_what_was_said_before", turnBegins},
	{"a_turn_that_cannot_begin_appends_nothing", turnCannotBegin},
	{"a_turn_begins_with_slots", turnBeginsWithSlots},
	{"a_turn_begins_without_messages", turnBeginsWithoutMessages},
	{"a_turn_begins_after_a_message", turnBeginsAfter},
	{"a_turn_begins_in_a_session_that_goes_on", turnBeginsFurther},
	{"a_key_is_claimed_with_its_first_event", turnClaimKey},
	{"a_key_with_a_value_is_not_claimed", turnClaimKeyKept},
	{"one_of_many_claims_of_a_key_makes_its_value", turnClaimKeyOnce},
	{"a_key_is_claimed_with_slots", turnClaimKeyWithSlots},
	{"a_turn_begins_with_a_key", turnBeginsWithKey},
	{"a_turn_that_cannot_begin_claims_no_key", turnBeginsNotWithKey},
	{"one_of_many_turns_with_a_key_begins", turnBeginsOnceWithKey},
	{"a_lost_turn_ends_together_with_its_answer", turnEndLost},
	{"a_turn_is_found_by_its_id_and_user", turnFound},
	{"a_turn_is_found_as_long_as_it_is_followed", turnFoundFollowed},
}

func (x *subject) claim(s store.SessionKey, turn string) <-chan struct{} {
	x.Helper()
	cancelled, err := x.Claim(x.ctx, tenantA, s, turn, time.Minute)
	if err != nil {
		x.Fatalf("claim: %v", err)
	}
	return cancelled
}

// publish publishes events with the numbers from..., whose data tells them.
func (x *subject) publish(s store.SessionKey, turn string, numbers ...int) {
	x.Helper()
	for _, n := range numbers {
		ev := store.Event{N: n, Kind: 'd', Data: fmt.Appendf(nil, "%s:%d", turn, n)}
		if err := x.Publish(x.ctx, tenantA, s, turn, ev); err != nil {
			x.Fatalf("publish: %v", err)
		}
	}
}

func (x *subject) finish(s store.SessionKey, turn string) {
	x.Helper()
	x.ok(x.FinishTurn(x.ctx, tenantA, s, turn, time.Minute))
}

func (x *subject) wantFollow(s store.SessionKey, since string, n int, turn string, events ...string) {
	x.Helper()
	got, evs, err := x.Follow(x.ctx, tenantA, s, since, n)
	x.ok(err)
	if got != turn {
		x.Fatalf("turn is %q, want %q", got, turn)
	}
	x.equal("events", eventData(evs), events)
}

func (x *subject) wantNothingToFollow(s store.SessionKey) {
	x.Helper()
	_, _, err := x.Follow(x.ctx, tenantA, s, "", 0)
	x.wantErr(err, store.ErrNotFound)
}

func (x *subject) wantCancelled(c <-chan struct{}) {
	x.Helper()
	select {
	case <-c:
	case <-x.ctx.Done():
		x.Fatal("the turn was not told that it is cancelled")
	}
}

func eventData(evs []store.Event) []string {
	list := make([]string, len(evs))
	for i, ev := range evs {
		list[i] = string(ev.Data)
	}
	return list
}

func turnBusy(x *subject) {
	x.wantNothingToFollow(key(1))
	x.claim(key(1), "t1")
	_, err := x.Claim(x.ctx, tenantA, key(1), "t2", time.Minute)
	x.wantErr(err, store.ErrBusy)
	x.claim(key(2), "t2") // another session
}

func turnClaimAgain(x *subject) {
	first := x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1)
	second := x.claim(key(1), "t1")
	x.wantFollow(key(1), "t1", 0, "t1", "t1:1")
	_, err := x.CancelTurn(x.ctx, tenantA, key(1), "")
	x.ok(err)
	x.wantCancelled(first)
	x.wantCancelled(second)
}

func turnRace(x *subject) {
	const n = 50
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			_, errs[i] = x.Claim(x.ctx, tenantA, key(1), fmt.Sprint("t", i), time.Minute)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		x.wantErr(err, store.ErrBusy)
	}
	if won != 1 {
		x.Fatalf("%d claims won", won)
	}
}

func turnFinish(x *subject) {
	x.claim(key(1), "t1")
	x.finish(key(1), "t0") // not the running one
	_, err := x.Claim(x.ctx, tenantA, key(1), "t2", time.Minute)
	x.wantErr(err, store.ErrBusy)
	x.finish(key(1), "t1")
	x.finish(key(1), "t1")
	x.claim(key(1), "t2")
	x.finish(key(1), "t1") // late: the session is t2's
	_, err = x.Claim(x.ctx, tenantA, key(1), "t3", time.Minute)
	x.wantErr(err, store.ErrBusy)
	x.ok(x.FinishTurn(x.ctx, tenantA, key(9), "t1", time.Minute)) // never was
}

func turnPublishOther(x *subject) {
	x.wantErr(x.Publish(x.ctx, tenantA, key(1), "t1", store.Event{N: 1}), store.ErrNotFound)
	x.claim(key(1), "t1")
	x.wantErr(x.Publish(x.ctx, tenantA, key(1), "t2", store.Event{N: 1}), store.ErrNotFound)
	x.publish(key(1), "t1", 1)
	x.finish(key(1), "t1")
	x.wantErr(x.Publish(x.ctx, tenantA, key(1), "t1", store.Event{N: 2}), store.ErrNotFound)
	x.wantFollow(key(1), "t1", 0, "t1", "t1:1")
}

func turnFollow(x *subject) {
	x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1, 2, 3)
	x.wantFollow(key(1), "t1", 0, "t1", "t1:1", "t1:2", "t1:3")
	x.wantFollow(key(1), "t1", 2, "t1", "t1:3")
	x.finish(key(1), "t1")
	x.wantFollow(key(1), "t1", 2, "t1", "t1:3")
	x.wantFollow(key(1), "t1", 3, "t1")
	x.wantFollow(key(1), "t1", 99, "t1")
}

func turnFollowOther(x *subject) {
	x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1, 2)
	x.finish(key(1), "t1")
	x.claim(key(1), "t2")
	x.publish(key(1), "t2", 1)
	x.wantFollow(key(1), "t1", 2, "t2", "t2:1")
	x.wantFollow(key(1), "", 7, "t2", "t2:1")
}

// following reads a turn to its end, in its own goroutine.
func (x *subject) following(wg *sync.WaitGroup, s store.SessionKey, turn string, result *[]string, failed *error) {
	wg.Go(func() {
		n := 0
		for {
			_, evs, err := x.Follow(x.ctx, tenantA, s, turn, n)
			if err != nil {
				*failed = err
				return
			}
			if len(evs) == 0 {
				return
			}
			*result = append(*result, eventData(evs)...)
			n = evs[len(evs)-1].N
		}
	})
}

func turnFollowWaits(x *subject) {
	// Either side may be first; over many events both happen.
	const n = 200
	x.claim(key(1), "t1")
	var wg sync.WaitGroup
	defer wg.Wait()
	answered := make(chan int)
	wg.Go(func() {
		defer close(answered)
		for i := range n {
			_, evs, err := x.Follow(x.ctx, tenantA, key(1), "t1", i)
			if err != nil || len(evs) != 1 {
				x.Errorf("follow after %d: %v, %v", i, eventData(evs), err)
				return
			}
			answered <- evs[0].N
		}
		_, evs, err := x.Follow(x.ctx, tenantA, key(1), "t1", n)
		if len(evs) != 0 || err != nil {
			x.Errorf("at the end: %v, %v", eventData(evs), err)
		}
	})
	for i := 1; i <= n; i++ {
		x.publish(key(1), "t1", i)
		if got, ok := <-answered; !ok || got != i {
			x.Fatalf("follower answered %d, want %d", got, i)
		}
	}
	x.finish(key(1), "t1")
}

func turnFollowContext(x *subject) {
	x.claim(key(1), "t1")
	ctx, cancel := context.WithCancel(x.ctx)
	failed := make(chan error)
	go func() {
		_, _, err := x.Follow(ctx, tenantA, key(1), "t1", 0)
		failed <- err
	}()
	cancel()
	x.wantErr(<-failed, context.Canceled)
}

func turnFollowers(x *subject) {
	const n, followers = 100, 20
	x.claim(key(1), "t1")
	var wg sync.WaitGroup
	got := make([][]string, followers)
	errs := make([]error, followers)
	for i := range followers {
		x.following(&wg, key(1), "t1", &got[i], &errs[i])
	}
	var want []string
	for i := 1; i <= n; i++ {
		x.publish(key(1), "t1", i)
		want = append(want, fmt.Sprint("t1:", i))
	}
	x.finish(key(1), "t1")
	wg.Wait()
	for i := range followers {
		x.ok(errs[i])
		x.equal("events", got[i], want)
	}
}

// batch makes events with the numbers first to last.
func batch(turn string, first, last int) (evs []store.Event, data []string) {
	for n := first; n <= last; n++ {
		text := fmt.Sprint(turn, ":", n)
		evs = append(evs, store.Event{N: n, Kind: 'd', Data: []byte(text)})
		data = append(data, text)
	}
	return evs, data
}

func turnBatch(x *subject) {
	// The follower may come before or after a batch; over many of them both
	// happen, and it never sees a part of one.
	const batches, size = 100, 8
	x.claim(key(1), "t1")
	var wg sync.WaitGroup
	defer wg.Wait()
	seen := make(chan []string)
	wg.Go(func() {
		defer close(seen)
		for i := range batches {
			_, evs, err := x.Follow(x.ctx, tenantA, key(1), "t1", i*size)
			if err != nil {
				x.Errorf("follow after %d: %v", i*size, err)
				return
			}
			seen <- eventData(evs)
		}
	})
	var all []string
	for i := range batches {
		evs, want := batch("t1", i*size+1, (i+1)*size)
		x.ok(x.Publish(x.ctx, tenantA, key(1), "t1", evs...))
		x.equal("batch", <-seen, want)
		all = append(all, want...)
	}
	x.ok(x.Publish(x.ctx, tenantA, key(1), "t1")) // nothing
	x.wantFollow(key(1), "t1", 0, "t1", all...)
	x.wantFollow(key(1), "t1", 3, "t1", all[3:]...) // from inside one
}

func turnBatchOther(x *subject) {
	evs, want := batch("t1", 1, 3)
	x.wantErr(x.Publish(x.ctx, tenantA, key(1), "t1", evs...), store.ErrNotFound)
	x.claim(key(1), "t1")
	x.wantErr(x.Publish(x.ctx, tenantA, key(1), "t2", evs...), store.ErrNotFound)
	x.ok(x.Publish(x.ctx, tenantA, key(1), "t1", evs...))
	x.finish(key(1), "t1")
	late, _ := batch("t1", 4, 5)
	x.wantErr(x.Publish(x.ctx, tenantA, key(1), "t1", late...), store.ErrNotFound)
	x.wantFollow(key(1), "t1", 0, "t1", want...)
}

func turnEventCopied(x *subject) {
	x.claim(key(1), "t1")
	data := []byte("first\x00\xff")
	x.ok(x.Publish(x.ctx, tenantA, key(1), "t1", store.Event{N: 1, Kind: 0xFE, Data: data}))
	copy(data, "xxxxx")
	large := []byte(strings.Repeat("x", 1<<20))
	x.ok(x.Publish(x.ctx, tenantA, key(1), "t1",
		store.Event{N: 2, Kind: 0, Data: large},
		store.Event{N: 3, Kind: 1}))
	copy(large, "yyyyy")
	_, evs, err := x.Follow(x.ctx, tenantA, key(1), "t1", 0)
	x.ok(err)
	if len(evs) != 3 || string(evs[0].Data) != "first\x00\xff" || evs[0].Kind != 0xFE || evs[0].N != 1 ||
		string(evs[1].Data) != strings.Repeat("x", 1<<20) || len(evs[2].Data) != 0 {
		x.Fatal("events came back changed")
	}
}

func turnCancel(x *subject) {
	running, err := x.CancelTurn(x.ctx, tenantA, key(1), "")
	x.ok(err)
	if running {
		x.Error("cancelled a turn that never was")
	}
	cancelled := x.claim(key(1), "t1")
	select {
	case <-cancelled:
		x.Fatal("a new turn is cancelled")
	default:
	}
	running, err = x.CancelTurn(x.ctx, tenantA, key(1), "t0")
	x.ok(err)
	select {
	case <-cancelled:
		x.Fatal("another turn is cancelled")
	default:
	}
	if running {
		x.Error("a turn of before counts as running")
	}
	for range 2 { // twice is as good as once
		running, err = x.CancelTurn(x.ctx, tenantA, key(1), "t1")
		x.ok(err)
		if !running {
			x.Error("the running turn was not found")
		}
	}
	x.wantCancelled(cancelled)
	// It is for the turn itself to end.
	_, err = x.Claim(x.ctx, tenantA, key(1), "t2", time.Minute)
	x.wantErr(err, store.ErrBusy)
	x.publish(key(1), "t1", 1)
	x.finish(key(1), "t1")
	running, err = x.CancelTurn(x.ctx, tenantA, key(1), "")
	x.ok(err)
	if running {
		x.Error("a finished turn counts as running")
	}
}

func turnExpires(x *subject) {
	x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1)
	x.finish(key(1), "t1") // kept for a minute
	x.clock.advance(time.Minute - time.Millisecond)
	x.wantFollow(key(1), "t1", 0, "t1", "t1:1")
	x.clock.advance(time.Millisecond)
	x.wantNothingToFollow(key(1))
	x.claim(key(1), "t2")
}

func turnReplaced(x *subject) {
	x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1, 2)
	x.finish(key(1), "t1")
	x.claim(key(1), "t2")
	x.finish(key(1), "t2")
	x.wantFollow(key(1), "t1", 1, "t2")
}

func turnKeep(x *subject) {
	x.wantErr(x.KeepTurn(x.ctx, tenantA, key(1), "t1", time.Minute), store.ErrNotFound)
	x.claim(key(1), "t1")
	x.ok(x.KeepTurn(x.ctx, tenantA, key(1), "t1", time.Minute))
	x.wantErr(x.KeepTurn(x.ctx, tenantA, key(1), "t2", time.Minute), store.ErrNotFound)
	x.finish(key(1), "t1")
	x.wantErr(x.KeepTurn(x.ctx, tenantA, key(1), "t1", time.Minute), store.ErrNotFound)
}
