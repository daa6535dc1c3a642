package route

import (
	"sync"
	"testing"
	"time"
)

func fail(t *testing.T, b *Breaker, now time.Time, times int) {
	t.Helper()
	for range times {
		p, _ := b.Enter(now)
		if p == nil {
			t.Fatal("the circuit is open already")
		}
		p.Failed(now)
		p.Ended()
	}
}

func TestBreaker(t *testing.T) {
	now := time.Now()
	const pause = 30 * time.Second
	t.Run("opens_after_failures_in_a_row", func(t *testing.T) {
		b := newBreaker(3, pause)
		fail(t, b, now, 2)
		p, _ := b.Enter(now)
		p.Succeeded()
		fail(t, b, now, 3)
		if b.State(now) != Open {
			t.Errorf("it is %s", b.State(now))
		}
		if p, wait := b.Enter(now.Add(time.Second)); p != nil || wait != pause-time.Second {
			t.Errorf("let through %v, wait %v", p, wait)
		}
	})
	t.Run("lets_one_probe_through", func(t *testing.T) {
		b := newBreaker(1, pause)
		fail(t, b, now, 1)
		later := now.Add(pause)
		var mu sync.Mutex
		var passes []*Pass
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if p, _ := b.Enter(later); p != nil {
					mu.Lock()
					defer mu.Unlock()
					passes = append(passes, p)
				}
			})
		}
		wg.Wait()
		if len(passes) != 1 || b.State(later) != HalfOpen {
			t.Fatalf("%d probes, %s", len(passes), b.State(later))
		}
		passes[0].Answering()
		if p, _ := b.Enter(later); p == nil || b.State(later) != Closed {
			t.Errorf("closed by an answer: %v, %s", p, b.State(later))
		}
	})
	t.Run("a_failed_probe_opens_it_again", func(t *testing.T) {
		b := newBreaker(1, pause)
		fail(t, b, now, 1)
		fail(t, b, now.Add(pause), 1)
		if b.State(now.Add(pause)) != Open || b.State(now.Add(2*pause)) != HalfOpen {
			t.Errorf("it is %s, then %s", b.State(now.Add(pause)), b.State(now.Add(2*pause)))
		}
	})
	t.Run("a_probe_that_tells_nothing_makes_room_for_another", func(t *testing.T) {
		b := newBreaker(1, pause)
		fail(t, b, now, 1)
		later := now.Add(pause)
		p, _ := b.Enter(later)
		p.Ended()
		if p, _ := b.Enter(later); p == nil {
			t.Error("no more probes are let through")
		}
	})
	t.Run("calls_from_before_do_not_count", func(t *testing.T) {
		b := newBreaker(1, pause)
		early, _ := b.Enter(now)
		late, _ := b.Enter(now)
		fail(t, b, now, 1)
		early.Succeeded()
		early.Ended()
		late.Failed(now.Add(pause / 2))
		if b.State(now) != Open || b.State(now.Add(pause)) != HalfOpen {
			t.Errorf("it is %s, then %s", b.State(now), b.State(now.Add(pause)))
		}
	})
	t.Run("an_answer_that_is_cut_counts_once", func(t *testing.T) {
		b := newBreaker(2, pause)
		for range 2 {
			p, _ := b.Enter(now)
			p.Answering()
			p.Failed(now)
			p.Ended()
		}
		if b.State(now) != Open {
			t.Errorf("it is %s", b.State(now))
		}
	})
	t.Run("without_a_number_it_never_opens", func(t *testing.T) {
		b := newBreaker(0, pause)
		fail(t, b, now, 100)
		if b.State(now) != Closed {
			t.Errorf("it is %s", b.State(now))
		}
	})
}
