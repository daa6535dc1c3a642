package chat

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// CircuitReport calls tell for each provider and model, the alias, and says
// whether a circuit between them is open.
type CircuitReport func(tell func(provider, model string, open bool))

// circuits are asked for the state of their breakers when metrics are read:
// an open circuit closes by itself, so a state that was kept would be wrong.
type circuits struct {
	desc    *prometheus.Desc
	reports sync.Map // *CircuitReport to itself
}

func newCircuits(name, help string) *circuits {
	return &circuits{desc: prometheus.NewDesc(name, help, []string{"provider", "model"}, nil)}
}

// ReportCircuits has the circuits of a gateway shown in the metrics until
// stop is called.
func (a *App) ReportCircuits(report CircuitReport) (stop func()) {
	reports := &a.metrics.circuits.reports
	reports.Store(&report, &report)
	return func() { reports.Delete(&report) }
}

// Describe implements prometheus.Collector.
func (c *circuits) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector. Gateways may share names, those of
// two configurations during a reload among them: then the worst counts.
func (c *circuits) Collect(ch chan<- prometheus.Metric) {
	type labels struct{ provider, model string }
	worst := make(map[labels]float64)
	c.reports.Range(func(_, value any) bool {
		(*value.(*CircuitReport))(func(provider, model string, open bool) {
			state := 0.0
			if open {
				state = 1
			}
			l := labels{provider, model}
			worst[l] = max(worst[l], state)
		})
		return true
	})
	for l, state := range worst {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, state, l.provider, l.model)
	}
}

// Interface guard
var _ prometheus.Collector = (*circuits)(nil)
