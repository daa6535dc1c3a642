package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// prometheusTool finds prometheus or promtool. It skips the test if they are not
// installed, and fails it in CI.
func prometheusTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", name)
	}
	if err != nil {
		t.Skipf("%s is not installed: apt-get install prometheus", name)
	}
	return path
}

// promtool runs promtool in the folder of the monitoring files.
func promtool(t testing.TB, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, prometheusTool(t, "promtool"), args...)
	cmd.Dir = monitoringDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// prometheusProcess is a running Prometheus.
type prometheusProcess struct {
	t   testing.TB
	url string
}

// startPrometheus runs Prometheus with the configuration from the docs, except that
// it scrapes Caddy's admin endpoint, and more often. It stops with the test.
func startPrometheus(t testing.TB, c *harness.Caddy) *prometheusProcess {
	t.Helper()
	dir := t.TempDir()
	copyEdited(t, dir, "alerts.yml")
	copyEdited(t, dir, "prometheus.yml",
		"127.0.0.1:9180", strings.TrimPrefix(c.Admin, "http://"),
		"scrape_interval: 15s", "scrape_interval: 1s",
		"evaluation_interval: 15s", "evaluation_interval: 1s")
	listen := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	log := new(harness.LogBuffer)
	cmd := exec.CommandContext(context.Background(), prometheusTool(t, "prometheus"),
		"--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+listen)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it was killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(harness.Patience):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("Prometheus did not exit:\n%s", log)
		}
	})
	p := &prometheusProcess{t: t, url: "http://" + listen}
	harness.Eventually(t, "Prometheus is ready", func() bool {
		select {
		case <-ended:
			t.Fatalf("Prometheus exited:\n%s", log)
		default:
		}
		resp, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// copyEdited copies a monitoring file into a folder. edits are pairs of text that
// occurs once and its replacement.
func copyEdited(t testing.TB, dir, name string, edits ...string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(monitoringDir, name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i+1 < len(edits); i += 2 {
		if strings.Count(text, edits[i]) != 1 {
			t.Fatalf("%s: want %q in it once", name, edits[i])
		}
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// api calls Prometheus' HTTP API and decodes the data of its answer into v.
func (p *prometheusProcess) api(path string, form url.Values, v any) error {
	p.t.Helper()
	resp, err := http.Get(p.url + "/api/v1/" + path + "?" + form.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	harness.Decode(p.t, resp, &answer)
	if answer.Status != "success" {
		return fmt.Errorf("prometheus: %s", answer.Error)
	}
	return json.Unmarshal(answer.Data, v)
}

// query evaluates an expression now, and returns the numeric values.
func (p *prometheusProcess) query(expr string) ([]float64, error) {
	p.t.Helper()
	var data struct {
		Result []struct {
			Value []any `json:"value"` // a time and a number as text
		} `json:"result"`
	}
	if err := p.api("query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	var values []float64
	for _, r := range data.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, err
		}
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			values = append(values, v)
		}
	}
	return values, nil
}

// nextScrape waits for the next scrape of Caddy's metrics.
func (p *prometheusProcess) nextScrape() {
	p.t.Helper()
	scrapes := func() float64 {
		values, err := p.query(`count_over_time(up{job="caddy"}[1h])`)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(values) == 0 {
			return 0
		}
		return values[0]
	}
	before := scrapes()
	harness.Eventually(p.t, "Prometheus scrapes the metrics", func() bool { return scrapes() > before })
}

// alertRule is a rule as Prometheus reports it.
type alertRule struct {
	Name        string            `json:"name"`
	Query       string            `json:"query"`
	State       string            `json:"state"` // inactive, pending or firing
	Health      string            `json:"health"`
	LastError   string            `json:"lastError"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Alerts      []struct {
		Annotations map[string]string `json:"annotations"`
	} `json:"alerts"`
}

// rules returns the alerts by name.
func (p *prometheusProcess) rules() map[string]alertRule {
	p.t.Helper()
	var data struct {
		Groups []struct {
			Rules []alertRule `json:"rules"`
		} `json:"groups"`
	}
	if err := p.api("rules", nil, &data); err != nil {
		p.t.Fatal(err)
	}
	rules := make(map[string]alertRule)
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			rules[r.Name] = r
		}
	}
	return rules
}
