package route

import (
	"math"
	"sync"
	"time"
)

// latencyDecay is the time constant by which old latencies lose weight. A
// target that was five times slower than another is tried again after about a
// minute and a half.
const latencyDecay = time.Minute

// latency is a peak-sensitive moving average of the time to the first token,
// after the peak EWMA of Twitter's Finagle: a latency above the average
// replaces it at once, one below pulls it down over time, and without new
// measurements it fades away.
type latency struct {
	mu      sync.Mutex
	average float64 // seconds
	at      time.Time
}

func (l *latency) observe(now time.Time, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seconds := took.Seconds()
	if seconds >= l.average || l.at.IsZero() {
		l.average = seconds
	} else {
		w := l.weight(now)
		l.average = l.average*w + seconds*(1-w)
	}
	l.at = now
}

// now returns the faded average, 0 if nothing was measured.
func (l *latency) now(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		return 0
	}
	return l.average * l.weight(now)
}

func (l *latency) weight(now time.Time) float64 {
	return math.Exp(-max(now.Sub(l.at), 0).Seconds() / latencyDecay.Seconds())
}
