package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// beginning reads up to three messages.
func beginning(turn string) store.Beginning {
	return store.Beginning{Turn: turn, Lease: time.Minute, Past: store.Range{Limit: 3}, AppendOptions: store.AppendOptions{Title: turn}}
}

func turnBegins(x *subject) {
	for i, want := range [][]string{nil, {"1"}, {"1", "2"}, {"1", "2", "3"}, {"2", "3", "4"}} {
		m := x.message(fmt.Sprint(i + 1))
		turn := fmt.Sprint("t", i)
		begun, err := x.Begin(x.ctx, tenantA, key(1), beginning(turn), m)
		x.ok(err)
		x.equal("past", contents(begun.Past), want)
		if begun.More != (i == 4) || m.Seq != uint64(i+1) {
			x.Errorf("turn %d: more %v, seq %d", i, begun.More, m.Seq)
		}
		x.wantErr(x.FinishTurn(x.ctx, tenantA, key(1), turn, time.Minute), nil)
	}
	x.wantContents(tenantA, key(1), "1", "2", "3", "4", "5")
	list, _ := x.list(tenantA, user, nil, 1)
	if list[0].Title != "t0" {
		x.Errorf("title is %q", list[0].Title)
	}
	b := beginning("large")
	b.Past = store.Range{Limit: 10, Bytes: 1}
	begun, err := x.Begin(x.ctx, tenantA, key(1), b, x.message("6"))
	x.ok(err)
	x.equal("past", contents(begun.Past), []string{"5"})
	if !begun.More {
		x.Error("no more where there is")
	}
	_, err = x.CancelTurn(x.ctx, tenantA, key(1), "")
	x.ok(err)
	x.wantCancelled(begun.Cancelled)
}

func turnCannotBegin(x *subject) {
	x.append(tenantA, key(1), create, "1")
	x.claim(key(1), "t1")
	_, err := x.Begin(x.ctx, tenantA, key(1), beginning("t2"), x.message("2"))
	x.wantErr(err, store.ErrBusy)
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	_, err = x.Begin(ctx, tenantA, key(2), beginning("t3"), x.message("2"))
	x.wantErr(err, context.Canceled)
	x.wantContents(tenantA, key(1), "1")
	x.wantNoSession(tenantA, key(2))
	x.claim(key(2), "t4")
}

// slotOf is a take of a slot of a key that has this many.
func slotOf(slots int64) []store.Take { return []store.Take{{Key: "user:ann", Slots: slots}} }

func turnBeginsWithSlots(x *subject) {
	with := func(turn string, slots int64) store.Beginning {
		b := beginning(turn)
		b.Takes = slotOf(slots)
		return b
	}
	_, err := x.Begin(x.ctx, tenantA, key(1), with("t1", 2), x.message("1"))
	x.ok(err)
	_, err = x.Begin(x.ctx, tenantA, key(1), with("t2", 2), x.message("2"))
	x.wantErr(err, store.ErrBusy) // and takes none
	_, err = x.Begin(x.ctx, tenantA, key(2), with("t3", 2), x.message("1"))
	x.ok(err)
	_, err = x.Begin(x.ctx, tenantA, key(3), with("t4", 2), x.message("1"))
	x.wantErr(err, store.ErrNoSlot)
	x.wantNoSession(tenantA, key(3))
	x.wantContents(tenantA, key(1), "1")
	if x.take(tenantA, slotOf(2)) {
		x.Error("a turn's slots count for it alone")
	}
	x.ok(x.Release(x.ctx, tenantA, slotOf(2)))
	_, err = x.Begin(x.ctx, tenantA, key(3), with("t5", 2), x.message("1"))
	x.ok(err)
	_, err = x.Begin(x.ctx, tenantB, key(3), with("t6", 1), x.message("1"))
	x.ok(err)
}

func turnBeginsWithoutMessages(x *subject) {
	_, err := x.Begin(x.ctx, tenantA, key(1), beginning("t1"))
	x.ok(err)
	x.wantNoSession(tenantA, key(1))
	_, err = x.Begin(x.ctx, tenantA, key(1), beginning("t2"))
	x.wantErr(err, store.ErrBusy)
	x.numbers(key(2), create, 5)
	begun, err := x.Begin(x.ctx, tenantA, key(2), beginning("t3"))
	x.ok(err)
	x.equal("past", contents(begun.Past), []string{"3", "4", "5"})
	if !begun.More {
		x.Error("no more where there is")
	}
	x.wantContents(tenantA, key(2), "1", "2", "3", "4", "5")
}

func turnBeginsAfter(x *subject) {
	after := func(turn string, seq uint64) store.Beginning {
		b := beginning(turn)
		b.After = seq
		return b
	}
	_, err := x.Begin(x.ctx, tenantA, key(1), after("t1", 1), x.message("1"))
	x.wantErr(err, store.ErrNotFound)
	x.wantNoSession(tenantA, key(1))
	x.numbers(key(1), create, 2)
	_, err = x.Begin(x.ctx, tenantA, key(1), after("t2", 1), x.message("3"))
	x.wantErr(err, store.ErrGoneOn)
	x.wantContents(tenantA, key(1), "1", "2")
	begun, err := x.Begin(x.ctx, tenantA, key(1), after("t3", 2), x.message("3"))
	x.ok(err)
	x.equal("past", contents(begun.Past), []string{"1", "2"})
	_, err = x.Begin(x.ctx, tenantA, key(1), after("t4", 2), x.message("3"))
	x.wantErr(err, store.ErrGoneOn) // and not that it is busy
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t3", 0))
	_, err = x.Begin(x.ctx, tenantA, key(1), after("t5", 9), x.message("4"))
	x.ok(err)
}

func turnBeginsFurther(x *subject) {
	b := beginning("t1")
	b.Further = true
	m := x.message("1")
	_, err := x.Begin(x.ctx, tenantA, key(1), b, m)
	x.ok(err)
	x.wantNoSession(tenantA, key(1))
	if m.Seq != 0 {
		x.Errorf("what was not appended has the number %d", m.Seq)
	}
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t1", 0))
	x.append(tenantA, key(1), create, "1")
	b.Turn = "t2"
	more := []*store.Message{x.message("2"), x.message("3")}
	begun, err := x.Begin(x.ctx, tenantA, key(1), b, more...)
	x.ok(err)
	x.equal("past", contents(begun.Past), []string{"1"})
	x.wantContents(tenantA, key(1), "1", "2", "3")
	if more[0].Seq != 2 || more[1].Seq != 3 {
		x.Errorf("they have the numbers %d and %d", more[0].Seq, more[1].Seq)
	}
}

// withKey claims a key, too.
func withKey(turn string) store.Beginning {
	b := beginning(turn)
	c := keyClaim("of " + turn)
	c.Session = key(9)
	b.Key = &c
	return b
}

func turnBeginsWithKey(x *subject) {
	begun, err := x.Begin(x.ctx, tenantA, key(1), withKey("t1"), x.message("1"))
	x.ok(err)
	turn, evs, err := x.Follow(x.ctx, tenantA, key(9), "", 0)
	x.ok(err)
	if turn != "of t1" || len(evs) != 1 || string(evs[0].Data) != "of t1" {
		x.Errorf("the key's turn is %s and begins with %v", turn, evs)
	}
	taken := withKey("t2")
	taken.Takes = slotOf(1)
	_, err = x.Begin(x.ctx, tenantA, key(2), taken, x.message("1"))
	x.wantErr(err, store.ErrKeyTaken)
	x.wantNoSession(tenantA, key(2))
	_, err = x.Begin(x.ctx, tenantB, key(2), withKey("t3"), x.message("1"))
	x.ok(err)
	if _, err = x.CancelTurn(x.ctx, tenantA, key(9), ""); err != nil {
		x.Fatal(err)
	}
	x.wantCancelled(begun.KeyLeft)
	x.ok(x.CachePut(x.ctx, tenantA, "k", nil, time.Minute))
	x.ok(x.FinishTurn(x.ctx, tenantA, key(9), "of t1", 0))
	_, err = x.Begin(x.ctx, tenantA, key(2), taken, x.message("1"))
	x.wantErr(err, store.ErrKeyTaken) // it has a value, if an empty one

	x.clock.advance(time.Minute)
	_, err = x.Begin(x.ctx, tenantA, key(2), taken, x.message("1"))
	x.ok(err)
}

func turnBeginsNotWithKey(x *subject) {
	x.claim(key(1), "t1")
	_, err := x.Begin(x.ctx, tenantA, key(1), withKey("t2"), x.message("1"))
	x.wantErr(err, store.ErrBusy)
	full := withKey("t3")
	full.Takes = slotOf(1)
	if !x.take(tenantA, slotOf(1)) {
		x.Fatal("no slot is free")
	}
	_, err = x.Begin(x.ctx, tenantA, key(2), full, x.message("1"))
	x.wantErr(err, store.ErrNoSlot)
	_, err = x.Begin(x.ctx, tenantA, key(2), withKey("t4"), x.message("1"))
	x.ok(err) // the others have not claimed the key
}

// turnBeginsOnceWithKey has many requests with one key, each in a session of its own.
func turnBeginsOnceWithKey(x *subject) {
	var begun atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		m := x.message("1")
		all.Go(func() {
			_, err := x.Begin(x.ctx, tenantA, key(10+i), withKey(fmt.Sprint("t", i)), m)
			if err == nil {
				begun.Add(1)
			} else if !errors.Is(err, store.ErrKeyTaken) {
				x.Error(err)
			}
		})
	}
	all.Wait()
	if n := begun.Load(); n != 1 {
		x.Errorf("%d began, want 1", n)
	}
	list, _ := x.list(tenantA, user, nil, 30)
	if len(list) != 1 {
		x.Errorf("%d sessions, want 1", len(list))
	}
}
