package chat

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// series are the children of metrics, found by their labels as a struct. A
// metric finds its children too, but has to hash and compare the labels one by
// one. Children live as long as the metric does: labels come from the
// configuration only.
type series[K comparable, V any] struct {
	add func(K) V

	mu    sync.RWMutex
	known map[K]V
}

func newSeries[K comparable, V any](add func(K) V) *series[K, V] {
	return &series[K, V]{add: add, known: make(map[K]V)}
}

func (s *series[K, V]) of(labels K) V {
	s.mu.RLock()
	v, ok := s.known[labels]
	s.mu.RUnlock()
	if ok {
		return v
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.known[labels]; ok {
		return v
	}
	v = s.add(labels)
	s.known[labels] = v
	return v
}

// lazy is a child that is added when there is something to count: until then
// it is not shown.
type lazy[V any] struct {
	once  sync.Once
	child V
}

func (l *lazy[V]) get(add func() V) V {
	l.once.Do(func() { l.child = add() })
	return l.child
}

// What the children of requests are found by.
type (
	statusLabels struct {
		tenant string
		status int
	}
	reasonLabels  struct{ tenant, reason string }
	attemptLabels struct{ provider, model, result string }
	callLabels    struct{ tenant, model, provider string }
	codeLabels    struct {
		callLabels
		code string
	}
)

// streamSeries counts the open streams of a tenant.
type streamSeries struct {
	open  prometheus.Gauge
	close func()
}

// callSeries are what is counted of a tenant's calls of a model. The tokens are
// in the order of tokenTypes.
type callSeries struct {
	duration   prometheus.Observer
	firstToken lazy[prometheus.Observer]
	tokens     [len(tokenTypes)]lazy[prometheus.Counter]
	cost       lazy[prometheus.Counter]
}

var tokenTypes = [...]string{"input", "output", "cached", "written", "reasoning"}

// addSeries sets up the children of what every request counts.
func (m *metrics) addSeries() {
	m.byStatus = newSeries(func(l statusLabels) prometheus.Counter {
		return m.requests.WithLabelValues(l.tenant, strconv.Itoa(l.status))
	})
	m.byReason = newSeries(func(l reasonLabels) prometheus.Counter {
		return m.rejected.WithLabelValues(l.tenant, l.reason)
	})
	m.byTenant = newSeries(func(tenant string) *streamSeries {
		g := m.openStreams.WithLabelValues(tenant)
		return &streamSeries{g, g.Dec}
	})
	m.byResult = newSeries(func(l attemptLabels) prometheus.Counter {
		return m.attempts.WithLabelValues(l.provider, l.model, l.result)
	})
	m.byCode = newSeries(func(l codeLabels) prometheus.Counter {
		return m.calls.WithLabelValues(l.tenant, l.model, l.provider, l.code)
	})
	m.byCall = newSeries(func(l callLabels) *callSeries {
		return &callSeries{duration: m.duration.WithLabelValues(l.tenant, l.model, l.provider)}
	})
}
