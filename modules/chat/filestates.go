package chat

import "github.com/prometheus/client_golang/prometheus"

// fileStates counts the tenant files of the running configuration when metrics
// are read. It shows nothing where there is no tenants option.
type fileStates struct{ desc *prometheus.Desc }

func newFileStates(name, help string) *fileStates {
	return &fileStates{prometheus.NewDesc(name, help, []string{"state"}, nil)}
}

// Describe implements prometheus.Collector.
func (s *fileStates) Describe(ch chan<- *prometheus.Desc) { ch <- s.desc }

// Collect implements prometheus.Collector.
func (s *fileStates) Collect(ch chan<- prometheus.Metric) {
	trackers.Range(func(_, value any) bool {
		app := value.(*tracker).current()
		if app == nil || app.files == nil {
			return true
		}
		for state, n := range map[string]int64{"loaded": app.files.loaded.Load(), "broken": app.files.broken.Load()} {
			ch <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(n), state)
		}
		return true
	})
}

// Interface guard
var _ prometheus.Collector = (*fileStates)(nil)
