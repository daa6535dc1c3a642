package sse

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHeartbeat(t *testing.T) {
	// start returns a heartbeat, and the seconds at which it beat.
	start := func(interval time.Duration) (*Heartbeat, *[]int) {
		begin := time.Now()
		beats := new([]int)
		h := NewHeartbeat(interval, func() error {
			*beats = append(*beats, int(time.Since(begin)/time.Second))
			return nil
		})
		return h, beats
	}
	nothing := func() error { return nil }
	do := func(t *testing.T, h *Heartbeat, write func() error) {
		t.Helper()
		if err := h.Do(write); err != nil {
			t.Error(err)
		}
	}
	check := func(t *testing.T, h *Heartbeat, beats *[]int, want ...int) {
		t.Helper()
		synctest.Wait()
		h.lock() // a Do would delay the next beat
		defer h.unlock()
		if !slices.Equal(*beats, want) {
			t.Errorf("beats at %v, want %v", *beats, want)
		}
	}

	t.Run("beats whenever the stream is silent for the interval", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, beats := start(15 * time.Second)
			defer h.Stop()
			time.Sleep(46 * time.Second)
			check(t, h, beats, 15, 30, 45)
		})
	})

	t.Run("a write puts the next beat off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, beats := start(15 * time.Second)
			defer h.Stop()
			for range 20 {
				time.Sleep(7 * time.Second)
				do(t, h, nothing)
			}
			check(t, h, beats)
			time.Sleep(31 * time.Second)
			check(t, h, beats, 155, 170)
		})
	})

	t.Run("a beat that became due during a write is not sent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, beats := start(15 * time.Second)
			defer h.Stop()
			time.Sleep(10 * time.Second)
			do(t, h, func() error {
				time.Sleep(20 * time.Second)
				if len(*beats) != 0 {
					t.Error("beat inside an event")
				}
				return nil
			})
			time.Sleep(14 * time.Second)
			check(t, h, beats)
			time.Sleep(2 * time.Second)
			check(t, h, beats, 45)
		})
	})

	t.Run("a write waits for the beat", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var out strings.Builder
			h := NewHeartbeat(time.Second, func() error {
				out.WriteString("be")
				time.Sleep(time.Second / 2)
				out.WriteString("at ")
				return nil
			})
			time.Sleep(1100 * time.Millisecond)
			do(t, h, func() error { out.WriteString("write"); return nil })
			h.Stop()
			if out.String() != "beat write" {
				t.Errorf("got %q", out.String())
			}
		})
	})

	t.Run("stop waits for the beat, and there is no other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			running, beats := false, 0
			h := NewHeartbeat(time.Second, func() error {
				running = true
				time.Sleep(time.Minute)
				running = false
				beats++
				return nil
			})
			time.Sleep(2 * time.Second)
			if h.Stop(); running {
				t.Error("stopped while it beat")
			}
			h.Stop()
			time.Sleep(time.Hour)
			if beats != 1 {
				t.Errorf("%d beats", beats)
			}
			if err := h.Do(nothing); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour)
			if beats != 1 {
				t.Errorf("%d beats after a write", beats)
			}
		})
	})

	t.Run("stop at the very moment of a beat", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for range 100 {
				stopped := false
				h := NewHeartbeat(time.Second, func() error {
					if stopped {
						t.Error("beat after stop")
					}
					return nil
				})
				time.Sleep(time.Second)
				h.Stop()
				stopped = true
			}
			time.Sleep(time.Hour)
		})
	})

	t.Run("a failed beat breaks the stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gone, beats := errors.New("client is gone"), 0
			h := NewHeartbeat(time.Second, func() error { beats++; return gone })
			defer h.Stop()
			time.Sleep(time.Minute)
			err := h.Do(func() error { t.Error("written to a broken stream"); return nil })
			if !errors.Is(err, gone) || beats != 1 {
				t.Errorf("%d beats, error %v", beats, err)
			}
		})
	})

	t.Run("a failed write is reported and the next one tried", func(t *testing.T) {
		h, _ := start(time.Hour)
		defer h.Stop()
		failed := errors.New("no")
		if err := h.Do(func() error { return failed }); !errors.Is(err, failed) {
			t.Error(err)
		}
		if err := h.Do(nothing); err != nil {
			t.Error(err)
		}
	})

	t.Run("no interval, no beats", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, interval := range []time.Duration{0, -1} {
				h, beats := start(interval)
				do(t, h, nothing)
				time.Sleep(time.Hour)
				check(t, h, beats)
				h.Stop()
			}
		})
	})
}

func BenchmarkHeartbeatDo(b *testing.B) {
	h := NewHeartbeat(15*time.Second, func() error { return nil })
	defer h.Stop()
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Do(func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
