package chat

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-chat/caddy-chat/modules/record"
)

// metrics are the collectors. They live as long as the process, so that
// counters survive a reload, and are registered anew with the registry that
// each configuration brings. Labels come from the configuration only, never
// from a request.
type metrics struct {
	requests     *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	openStreams  *prometheus.GaugeVec
	storeErrors  *prometheus.CounterVec
	storeBytes   prometheus.GaugeFunc
	storeWaiting prometheus.GaugeFunc
	tenantFiles  *fileStates

	calls         *prometheus.CounterVec
	attempts      *prometheus.CounterVec
	duration      *prometheus.HistogramVec
	firstToken    *prometheus.HistogramVec
	tokens        *prometheus.CounterVec
	cost          *prometheus.CounterVec
	skippedChunks *prometheus.CounterVec
	circuits      *circuits
	cache         *prometheus.CounterVec

	unpriced        *prometheus.CounterVec
	budgetUsed      *budgetRatios
	budgetWarnings  *prometheus.CounterVec
	budgetExhausted *prometheus.CounterVec

	byStatus *series[statusLabels, prometheus.Counter]
	byReason *series[reasonLabels, prometheus.Counter]
	byTenant *series[string, *streamSeries]
	byResult *series[attemptLabels, prometheus.Counter]
	byCode   *series[codeLabels, prometheus.Counter]
	byCall   *series[callLabels, *callSeries]
}

// latencyBuckets reach from a cached answer to a long one, in seconds.
var latencyBuckets = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160}

var collectors = newCollectors()

func newCollectors() *metrics {
	m := &metrics{
		requests:    counter("caddy_chat_requests_total", "Requests of a tenant that were answered, by HTTP status.", "tenant", "code"),
		rejected:    counter("caddy_chat_rejected_total", "Requests refused before any model was called, by error code.", "tenant", "reason"),
		openStreams: gauge("caddy_chat_open_streams", "Answers that are being streamed now.", "tenant"),
		storeErrors: counter("caddy_chat_store_errors_total", "Operations of the store that failed.", "op"),
		storeBytes: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "caddy_chat_store_bytes",
			Help: "Bytes that the open stores take.",
		}, openStoreBytes),
		storeWaiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "caddy_chat_store_waiting",
			Help: "Writes that wait until the store's server answers again.",
		}, openStoreWaiting),
		tenantFiles: newFileStates("caddy_chat_tenant_files", "Files of the tenants option, by whether the tenants are what they say."),

		calls:         counter("caddy_ai_requests_total", "Model calls answered to clients, by HTTP status.", "tenant", "model", "provider", "code"),
		attempts:      counter("caddy_ai_attempts_total", "Calls made to providers, by how they ended.", "provider", "model", "result"),
		duration:      histogram("caddy_ai_request_duration_seconds", "Time until a model's answer was complete.", "tenant", "model", "provider"),
		firstToken:    histogram("caddy_ai_time_to_first_token_seconds", "Time until a model's first content.", "tenant", "model", "provider"),
		tokens:        counter("caddy_ai_tokens_total", "Tokens used.", "tenant", "model", "provider", "type"),
		cost:          counter("caddy_ai_cost_usd_total", "US dollars that the tokens cost, where the price is known.", "tenant", "model", "provider"),
		skippedChunks: counter("caddy_ai_skipped_chunks_total", "Events of provider streams that were no JSON and were left out.", "provider"),
		circuits:      newCircuits("caddy_ai_circuit_open", "Whether the circuit breaker of one of the model's targets is not closed, so that it is left alone."),
		cache:         counter("caddy_ai_cache_total", "Requests of gateways with a cache, by what came of it.", "tenant", "result"),

		unpriced:        counter("caddy_ai_unpriced_requests_total", "Answers of models without a known price.", "tenant", "model", "provider"),
		budgetUsed:      newBudgetRatios("caddy_ai_budget_used_ratio", "The used part of a tenant's tightest budget of a period.", "tenant", "period"),
		budgetWarnings:  counter("caddy_ai_budget_warnings_total", "Warnings that a budget was used to a fraction of it.", "tenant", "period", "fraction"),
		budgetExhausted: counter("caddy_ai_budget_exhausted_total", "Answers that were ended because a budget was used up.", "tenant", "period"),
	}
	m.addSeries()
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: latencyBuckets}, labels)
}

func openStoreBytes() float64 {
	var total int64
	stores.Range(func(_, value any) bool {
		total += value.(*pooledStore).Size()
		return true
	})
	return float64(total)
}

func openStoreWaiting() float64 {
	total := 0
	stores.Range(func(_, value any) bool {
		total += value.(*pooledStore).Waiting()
		return true
	})
	return float64(total)
}

// newMetrics registers the collectors with a configuration's registry.
func newMetrics(reg *prometheus.Registry) (*metrics, error) {
	m := collectors
	for _, c := range []prometheus.Collector{
		m.requests, m.rejected, m.openStreams, m.storeErrors, m.storeBytes, m.storeWaiting, m.tenantFiles,
		m.calls, m.attempts, m.duration, m.firstToken, m.tokens, m.cost, m.skippedChunks, m.circuits, m.cache,
		m.unpriced, m.budgetUsed, m.budgetWarnings, m.budgetExhausted,
	} {
		err := reg.Register(c)
		if err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return nil, err
		}
	}
	return m, nil
}

// OpenStream counts an answer that is being streamed, until done is called.
func (a *App) OpenStream(tenant string) (done func()) {
	s := a.metrics.byTenant.of(tenant)
	s.open.Inc()
	return s.close
}

// The results of an attempt.
const (
	AttemptOK      = "ok"
	AttemptError   = "error"
	AttemptTimeout = "timeout"
	AttemptAborted = "aborted"

	AttemptRateLimited = "rate_limited"
)

// Attempted counts one call to a provider. model is the alias, or
// "passthrough".
func (a *App) Attempted(provider, model, result string) {
	a.metrics.byResult.of(attemptLabels{provider, model, result}).Inc()
}

// What comes of a request where there is a cache.
const (
	CacheHit    = "hit"
	CacheMiss   = "miss"
	CacheBypass = "bypass"
)

// Cached counts a request that may be answered from a cache.
func (a *App) Cached(tenant, result string) {
	a.metrics.cache.WithLabelValues(tenant, result).Inc()
}

// Unpriced counts an answer whose cost is not known. model is the alias, or
// "passthrough".
func (a *App) Unpriced(tenant, model, provider string) {
	a.metrics.unpriced.WithLabelValues(tenant, model, provider).Inc()
}

// SkippedChunks counts events of a provider's stream that were left out.
func (a *App) SkippedChunks(provider string, n int) {
	if n > 0 {
		a.metrics.skippedChunks.WithLabelValues(provider).Add(float64(n))
	}
}

// Called counts one answered model call. model is the alias, or
// "passthrough"; code is the HTTP status that the client got.
func (a *App) Called(tenant, model, code string, c record.Call, took time.Duration) {
	m, l := a.metrics, callLabels{tenant, model, c.Provider}
	m.byCode.of(codeLabels{l, code}).Inc()
	s := m.byCall.of(l)
	s.duration.Observe(took.Seconds())
	if c.TTFT > 0 {
		s.firstToken.get(func() prometheus.Observer {
			return m.firstToken.WithLabelValues(tenant, model, c.Provider)
		}).Observe(c.TTFT.Seconds())
	}
	for i, n := range [...]int64{c.Usage.Input, c.Usage.Output, c.Usage.Cached, c.Usage.Written, c.Usage.Reasoning} {
		if n > 0 {
			s.tokens[i].get(func() prometheus.Counter {
				return m.tokens.WithLabelValues(tenant, model, c.Provider, tokenTypes[i])
			}).Add(float64(n))
		}
	}
	if c.CostUSD > 0 {
		s.cost.get(func() prometheus.Counter {
			return m.cost.WithLabelValues(tenant, model, c.Provider)
		}).Add(c.CostUSD)
	}
}
