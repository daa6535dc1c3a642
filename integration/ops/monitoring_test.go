package ops

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// monitoringDir holds the files that docs/monitoring.md describes.
const monitoringDir = "../../docs/monitoring"

// dashboard is the part of Grafana's dashboard that the tests read.
type dashboard struct {
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []dashboardPanel `json:"panels"`
}

type dashboardPanel struct {
	ID         int                      `json:"id"`
	Type       string                   `json:"type"`
	Title      string                   `json:"title"`
	Datasource datasource               `json:"datasource"`
	Grid       struct{ X, Y, W, H int } `json:"gridPos"`
	Targets    []struct {
		RefID      string     `json:"refId"`
		Expr       string     `json:"expr"`
		Datasource datasource `json:"datasource"`
	} `json:"targets"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

func readDashboard(t testing.TB) dashboard {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(monitoringDir, "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func readMonitoring(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(monitoringDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	t.Run("Grafana can import it", func(t *testing.T) {
		// the user chooses the data source when importing
		own := datasource{"prometheus", "${datasource}"}
		ids, at := make(map[int]bool), make(map[[2]int]string)
		for _, p := range d.Panels {
			if p.ID == 0 || ids[p.ID] || p.Title == "" {
				t.Errorf("panel %d %q: want a unique id and a title", p.ID, p.Title)
			}
			ids[p.ID] = true
			if p.Grid.W < 1 || p.Grid.H < 1 || p.Grid.X < 0 || p.Grid.X+p.Grid.W > 24 {
				t.Errorf("%s: %+v is not in the grid", p.Title, p.Grid)
			}
			for x := range p.Grid.W {
				for y := range p.Grid.H {
					cell := [2]int{p.Grid.X + x, p.Grid.Y + y}
					if other, taken := at[cell]; taken {
						t.Fatalf("%s overlaps %s", p.Title, other)
					}
					at[cell] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			refs := make(map[string]bool)
			for _, target := range p.Targets {
				if refs[target.RefID] || target.Datasource != own || p.Datasource != own {
					t.Errorf("%s: query %s: want a unique refId and the data source %+v", p.Title, target.RefID, own)
				}
				refs[target.RefID] = true
			}
			if len(refs) == 0 {
				t.Errorf("%s has no query", p.Title)
			}
		}
	})
	t.Run("every metric is on it", func(t *testing.T) {
		code := harness.Found(t, "modules/chat/metrics.go", `"(caddy_(?:ai|chat)_\w+)"`)
		shown := metricsIn(readMonitoring(t, "grafana-dashboard.json"))
		for _, name := range code {
			if !slices.Contains(shown, name) {
				t.Errorf("%s is not shown", name)
			}
		}
		for _, name := range slices.Concat(shown, metricsIn(readMonitoring(t, "alerts.yml")), metricsIn(readMonitoring(t, "alerts_test.yml"))) {
			if !slices.Contains(code, name) {
				t.Errorf("%s is not a metric", name)
			}
		}
	})
}

// metricsIn returns the names of this project's metrics in a text, those of
// histograms without their suffix.
func metricsIn(text string) []string {
	var names []string
	for _, name := range regexp.MustCompile(`\bcaddy_(?:ai|chat)_\w+`).FindAllString(text, -1) {
		names = append(names, strings.TrimSuffix(name, "_bucket"))
	}
	return names
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	t.Run("promtool accepts them", func(t *testing.T) {
		promtool(t, "check", "rules", "alerts.yml")
		promtool(t, "check", "config", "prometheus.yml")
	})
	t.Run("they fire when they should", func(t *testing.T) {
		promtool(t, "test", "rules", "alerts_test.yml")
	})
	alerts := harness.Found(t, "docs/monitoring/alerts.yml", `- alert: (\w+)`)
	t.Run("each is tested", func(t *testing.T) {
		tests := readMonitoring(t, "alerts_test.yml")
		for _, name := range alerts {
			if !strings.Contains(tests, fmt.Sprintf("labels: ALERTS{alertname=%q,alertstate=\"firing\"", name)) {
				t.Errorf("alerts_test.yml does not let %s fire", name)
			}
		}
	})
	t.Run("each has a section on the page", func(t *testing.T) {
		if got := harness.Found(t, "docs/monitoring.md", `(?m)^### (\w+)$`); !slices.Equal(got, alerts) {
			t.Errorf("monitoring.md has %v, want %v", got, alerts)
		}
	})
}

// monitoredSite has a cause for every metric: a provider that is down, one that
// sends broken chunks and has no price, a cache and a small budget.
func monitoredSite(down, odd *harness.Upstream) (options, site string) {
	options = `
	chat {
		tenant acme {
		}
		tenant globex {
			budget 1000000 tokens/day
		}
		tenant initech {
			budget 500 tokens/day
		}
		tenants tenants/*.json
	}
`
	site = fmt.Sprintf(`
	tenant_resolve
	chat_ratelimit {
		requests 1000000 1h
		burst 1000000 1h
	}
	chat_session
	ai_gateway {
		provider demo echo {
			delay 0s
		}
		provider down openai {
			base_url %s
		}
		provider odd openai {
			base_url %s
		}
		model fast {
			to demo/echo
			price 1 2
		}
		model steady {
			to down/up-steady
			to demo/echo
			price 1 2
		}
		model broken {
			to down/up-broken
		}
		model strange {
			to odd/up-strange
		}
		default_model fast
		retries 0
		circuit_breaker 3 100ms
		cache 10m
	}
`, down.URL, odd.URL)
	return options, site
}

// wave makes more than a hundred requests of every kind. n makes its questions
// new.
func wave(t testing.TB, c *harness.Caddy, n int) {
	t.Helper()
	const rounds = 10
	var wg sync.WaitGroup
	for _, tenant := range []string{"acme", "globex"} {
		wg.Go(func() {
			cl := harness.NewClient(c, tenant, "ann")
			for i := range rounds {
				fresh := func(model string) harness.Question {
					return harness.Question{Model: model, Messages: []harness.Message{{Role: "user", Content: fmt.Sprintf("question %d of wave %d", i, n)}}}
				}
				for _, q := range []harness.Question{
					fresh("fast"), fresh("fast"), fresh("fast").Streamed(), harness.NewQuestion("fast"),
					fresh("steady").Streamed(), fresh("broken"), fresh("strange").Streamed(), fresh("unknown"),
				} {
					send(cl, harness.CompletionsPath, q)
				}
				send(cl, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"})
			}
		})
	}
	wg.Go(func() {
		long := harness.Question{Model: "fast", Messages: []harness.Message{{Role: "user", Content: fmt.Sprint(n, strings.Repeat(" a", 400))}}}
		send(harness.NewClient(c, "initech", "ann"), harness.CompletionsPath, long.Streamed())
		send(harness.NewClient(c, "unknown", "ann"), harness.CompletionsPath, harness.NewQuestion("fast"))
	})
	wg.Wait()
}

// send makes a request and reads the answer, whatever it is. It may be called
// from any goroutine.
func send(c *harness.Client, path string, body any) {
	resp, err := c.HTTP.Do(c.Request(http.MethodPost, path, body))
	if err != nil {
		c.T.Errorf("%s: %v", path, err)
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		c.T.Errorf("%s: %v", path, err)
	}
}

// TestMonitoring has a real Prometheus scrape a loaded server, and runs the queries
// of the dashboard and the alerts.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	prometheusTool(t, "prometheus")
	down := harness.NewUpstream(t, harness.Document(http.StatusInternalServerError, "{}"))
	odd := harness.NewUpstream(t, harness.Sends(harness.Role, "data: no JSON\n\n", harness.Content("Hello"), harness.Finished, detailed, harness.EndMark))
	options, site := monitoredSite(down, odd)
	c := harness.Start(t, options, site)
	p := startPrometheus(t, c)

	// Rates need two scrapes with requests in between, so send waves until every
	// query has data.
	waiting := p.dashboardQueries(readDashboard(t))
	active := []string{"ModelFailing", "ModelErrors", "ProviderDown", "ProviderFailing", "CircuitOpen", "BudgetUsedUp", "UnpricedModel"}
	deadline := time.Now().Add(harness.Patience)
	for n := 0; len(waiting)+len(active) > 0; n++ {
		if time.Now().After(deadline) {
			t.Errorf("no data: %q", waiting)
			t.Fatalf("not active: %q", active)
		}
		wave(t, c, n)
		p.nextScrape()
		waiting = slices.DeleteFunc(waiting, func(expr string) bool {
			values, err := p.query(expr)
			if err != nil {
				t.Fatalf("%s: %v", expr, err)
			}
			return len(values) > 0
		})
		rules := p.rules()
		active = slices.DeleteFunc(active, func(name string) bool {
			return rules[name].State == "pending" || rules[name].State == "firing"
		})
	}
	p.checkRules()
}

// dashboardQueries returns the dashboard's expressions, with all values selected
// and with each selected by name. Those that cannot have data here are only run.
func (p *prometheusProcess) dashboardQueries(d dashboard) []string {
	p.t.Helper()
	variables := map[string]string{"$__rate_interval": "1m", "$__range": "1m"}
	chosen := map[string]string{"tenant": "(acme|globex|initech)", "model": "(broken|fast|steady|strange)", "provider": "(demo|down|odd)"}
	var queries []string
	for _, all := range []bool{true, false} {
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			variables["$"+v.Name] = ".*"
			if !all {
				variables["$"+v.Name] = chosen[v.Name]
			}
			m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
			if m == nil {
				p.t.Fatalf("$%s: %q is not a label_values query", v.Name, v.Definition)
			}
			queries = append(queries, fmt.Sprintf(`count by (%s) (%s{%[1]s!=""})`, m[2], m[1]))
		}
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				expr := regexp.MustCompile(`\$\w+`).ReplaceAllStringFunc(target.Expr, func(name string) string {
					value, ok := variables[name]
					if !ok {
						p.t.Fatalf("%s: there is no variable %s", panel.Title, name)
					}
					return value
				})
				if strings.Contains(expr, "caddy_chat_store_errors_total") {
					if _, err := p.query(expr); err != nil { // the store does not fail here
						p.t.Errorf("%s: %v", panel.Title, err)
					}
					continue
				}
				queries = append(queries, expr)
			}
		}
	}
	return queries
}

// checkRules checks that Prometheus can evaluate every alert, and that the texts of
// active alerts are complete.
func (p *prometheusProcess) checkRules() {
	p.t.Helper()
	rules := p.rules()
	if want := len(harness.Found(p.t, "docs/monitoring/alerts.yml", `- alert: (\w+)`)); len(rules) != want {
		p.t.Errorf("%d alerts are loaded, want %d", len(rules), want)
	}
	by := regexp.MustCompile(`\bby ?\(([^)]*)\)`)
	for name, rule := range rules {
		if _, err := p.query(rule.Query); err != nil || rule.Health != "ok" {
			p.t.Errorf("%s: %v, health %s %s", name, err, rule.Health, rule.LastError)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) {
			p.t.Errorf("%s: severity %q", name, rule.Labels["severity"])
		}
		const pages = "https://github.com/caddy-chat/caddy-chat/blob/main/docs/monitoring.md#"
		if rule.Annotations["runbook_url"] != pages+strings.ToLower(name) {
			p.t.Errorf("%s: runbook_url %q", name, rule.Annotations["runbook_url"])
		}
		labels := "instance"
		if m := by.FindStringSubmatch(rule.Query); m != nil {
			labels = m[1]
		}
		for _, part := range []string{"summary", "description"} {
			text := rule.Annotations[part]
			if text == "" {
				p.t.Errorf("%s has no %s", name, part)
			}
			for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
				if !slices.Contains(strings.Split(labels, ", "), m[1]) {
					p.t.Errorf("%s: %s names the label %s, the expression has %s", name, part, m[1], labels)
				}
			}
			for _, a := range rule.Alerts {
				if text := a.Annotations[part]; strings.Contains(text, "{{") || strings.Contains(text, "<no value>") || strings.Contains(text, "error expanding") {
					p.t.Errorf("%s: %s reads %q", name, part, text)
				}
			}
		}
	}
}
