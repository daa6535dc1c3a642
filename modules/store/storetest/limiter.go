package storetest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var limiterTests = []test{
	{"a_window_lets_its_limit_through", limiterWindow},
	{"windows_slide_exactly", limiterSlides},
	{"a_refused_request_uses_up_nothing", limiterRefused},
	{"all_takes_are_granted_or_none", limiterAllOrNone},
	{"a_window_of_nothing_shows_the_others", limiterShows},
	{"slots_are_held_until_release", limiterSlots},
	{"a_slot_for_later_is_not_taken", limiterLater},
	{"concurrent_takes_never_pass_the_limit", limiterConcurrent},
}

func oneTake(key string, limit int64) []store.Take {
	return []store.Take{{Key: key, Windows: []store.Window{{Limit: limit, Length: time.Minute}}}}
}

func (x *subject) take(tenant string, takes []store.Take) bool {
	x.Helper()
	results, granted, err := x.Take(x.ctx, tenant, takes)
	x.ok(err)
	if len(results) != len(takes) {
		x.Fatalf("%d results for %d takes", len(results), len(takes))
	}
	return granted
}

func limiterWindow(x *subject) {
	for i := range 3 {
		results, granted, err := x.Take(x.ctx, tenantA, oneTake("k", 3))
		x.ok(err)
		w := results[0].Windows[0]
		if !granted || w.Remaining != int64(2-i) || !results[0].SlotFree {
			x.Fatalf("take %d: granted %v, %+v", i, granted, results[0])
		}
		if want := x.clock.Now().Add(time.Minute); w.Reset.Sub(want).Abs() > time.Millisecond {
			x.Errorf("take %d: reset at %v, want %v", i, w.Reset, want)
		}
		x.clock.advance(time.Second)
	}
	results, granted, err := x.Take(x.ctx, tenantA, oneTake("k", 3))
	x.ok(err)
	w := results[0].Windows[0]
	if granted || w.Remaining != 0 || (w.Wait-57*time.Second).Abs() > time.Millisecond {
		x.Fatalf("fourth take: granted %v, %+v", granted, w)
	}
}

func limiterSlides(x *subject) {
	// At 0 s, 20 s and 40 s; each frees its place exactly a minute later.
	for range 3 {
		if !x.take(tenantA, oneTake("k", 3)) {
			x.Fatal("refused below the limit")
		}
		x.clock.advance(20 * time.Second)
	}
	for range 6 {
		if !x.take(tenantA, oneTake("k", 3)) {
			x.Fatal("refused where the oldest had left the window")
		}
		if x.take(tenantA, oneTake("k", 3)) {
			x.Fatal("granted two where one had left the window")
		}
		x.clock.advance(20*time.Second - time.Millisecond)
		if x.take(tenantA, oneTake("k", 3)) {
			x.Fatal("granted before the oldest had left the window")
		}
		x.clock.advance(time.Millisecond)
	}
}

func limiterRefused(x *subject) {
	x.take(tenantA, oneTake("k", 1))
	for range 10 {
		if x.take(tenantA, oneTake("k", 1)) {
			x.Fatal("granted above the limit")
		}
		x.clock.advance(time.Second)
	}
	x.clock.advance(50 * time.Second)
	if !x.take(tenantA, oneTake("k", 1)) {
		x.Fatal("refused requests were counted")
	}
}

func limiterAllOrNone(x *subject) {
	x.take(tenantA, oneTake("full", 1))
	both := append(oneTake("free", 1), oneTake("full", 1)...)
	if x.take(tenantA, both) {
		x.Fatal("granted with one key full")
	}
	if !x.take(tenantA, oneTake("free", 1)) {
		x.Fatal("the refused request was counted at the other key")
	}
	two := []store.Take{{Key: "k", Windows: []store.Window{
		{Limit: 10, Length: time.Minute}, {Limit: 1, Length: time.Second},
	}}}
	if !x.take(tenantA, two) || x.take(tenantA, two) {
		x.Fatal("the tightest window does not decide")
	}
	x.clock.advance(time.Second)
	if !x.take(tenantA, two) {
		x.Fatal("refused after the short window")
	}
}

func limiterShows(x *subject) {
	x.take(tenantA, oneTake("k", 3))
	results, granted, err := x.Take(x.ctx, tenantA, append(oneTake("k", 3), oneTake("closed", 0)...))
	x.ok(err)
	if w := results[0].Windows[0]; granted || w.Remaining != 2 || w.Wait != 0 {
		x.Fatalf("granted %v, %+v", granted, w)
	}
	for range 2 {
		if !x.take(tenantA, oneTake("k", 3)) {
			x.Fatal("what was only shown was counted")
		}
	}
}

func limiterSlots(x *subject) {
	takes := []store.Take{{Key: "k", Slots: 2}}
	for i := range 2 {
		results, granted, err := x.Take(x.ctx, tenantA, takes)
		x.ok(err)
		if !granted || results[0].InUse != int64(i+1) || !results[0].SlotFree {
			x.Fatalf("slot %d: granted %v, %+v", i+1, granted, results[0])
		}
	}
	results, granted, err := x.Take(x.ctx, tenantA, takes)
	x.ok(err)
	if granted || results[0].SlotFree || results[0].InUse != 2 {
		x.Fatalf("third of two slots: granted %v, %+v", granted, results[0])
	}
	x.ok(x.Release(x.ctx, tenantB, takes)) // another tenant's
	if x.take(tenantA, takes) {
		x.Fatal("another tenant released a slot")
	}
	x.ok(x.Release(x.ctx, tenantA, takes))
	if !x.take(tenantA, takes) {
		x.Fatal("a released slot is not free")
	}
}

func limiterLater(x *subject) {
	windows := []store.Window{{Limit: 10, Length: time.Minute}}
	now, later := []store.Take{{Key: "k", Windows: windows, Slots: 2}}, []store.Take{{Key: "k", Windows: windows, Slots: 2, Later: true}}
	if !x.take(tenantA, now) {
		x.Fatal("refused the first slot")
	}
	for range 3 {
		results, granted, err := x.Take(x.ctx, tenantA, later)
		x.ok(err)
		if !granted || results[0].InUse != 2 || !results[0].SlotFree {
			x.Fatalf("with a free slot: granted %v, %+v", granted, results[0])
		}
	}
	x.ok(x.Release(x.ctx, tenantA, later)) // it has none
	if !x.take(tenantA, now) {
		x.Fatal("a slot for later was taken")
	}
	results, granted, err := x.Take(x.ctx, tenantA, later)
	x.ok(err)
	if granted || results[0].InUse != 2 || results[0].SlotFree || results[0].Windows[0].Remaining != 5 {
		x.Fatalf("without a free slot: granted %v, %+v", granted, results[0])
	}
}

func limiterConcurrent(x *subject) {
	const limit, requests = 30, 200
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			_, ok, err := x.Take(x.ctx, tenantA, oneTake("k", limit))
			if err != nil {
				x.Error(err)
			}
			if ok {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if granted.Load() != limit {
		x.Fatalf("%d of %d were granted, want %d", granted.Load(), requests, limit)
	}
}
