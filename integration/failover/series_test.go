package failover

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// invented matches the words that TestSeriesStayConstant puts into requests.
var invented = regexp.MustCompile(`(?i)w[0-9a-f]{8}-`)

// TestSeriesStayConstant makes thousands of requests with invented names. Some
// succeed, some fail and some are refused. None may add a series.
func TestSeriesStayConstant(t *testing.T) {
	t.Parallel()
	const requests, workers = 10_000, 16
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	one.Plays(func(c *harness.Call) {
		// models that end in 7 fail
		if strings.HasSuffix(c.Model, "7") {
			harness.Refuses(500, c.Model)(c)
			return
		}
		harness.Says(7, 3, "Hello")(c)
	})
	two.Plays(harness.Refuses(404, "model_not_found"))
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "passthrough\nretries 0\ncircuit_breaker 3 1s"})

	// ask makes a request with an invented word wherever a name can go
	ask := func(i int) error {
		word := fmt.Sprintf("w%08x-%d", uint32(i)*2654435761, i)
		method, path, body := http.MethodPost, harness.CompletionsPath, fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}],"user":%[1]q}`, word)
		header := map[string]string{
			"X-Tenant-Id": "globex", "X-User-Id": word, "X-Trace-Id": word, "X-Session-Id": uuid.NewString(), "User-Agent": word,
		}
		switch i % 10 {
		case 0: // a tenant
			header["X-Tenant-Id"] = word
		case 1: // a key
			delete(header, "X-Tenant-Id")
			header["Authorization"] = "Bearer " + word
		case 2, 3: // a model of an existing provider
			body = strings.Replace(body, word, "one/"+word, 1)
		case 4:
			body = strings.Replace(body, word, "two/"+word, 1)
		case 5: // a provider
			body = strings.Replace(body, word, word+"/m", 1)
		case 6: // a session
			method, path, body = http.MethodGet, "/chat/"+uuid.NewString()+"/history", ""
		case 7:
			path, body = "/chat", fmt.Sprintf(`{"sessionId":%q,"message":"hi","modelId":%q,"stream":false,"userId":%[2]q}`, uuid.NewString(), word)
		case 8: // a path and a method
			method, path, body = "X"+strings.ToUpper(word[1:9]), "/v1/models", ""
		}
		req, err := http.NewRequestWithContext(t.Context(), method, s.C.URL+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		for name, value := range header {
			req.Header.Set(name, value)
		}
		resp, err := s.Globex.HTTP.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	// askMany makes the requests of a range concurrently
	askMany := func(from, to int) {
		next := make(chan int)
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for i := range next {
					if err := ask(i); err != nil {
						t.Errorf("request %d: %v", i, err)
					}
				}
			})
		}
		for i := from; i < to; i++ {
			next <- i
		}
		close(next)
		wg.Wait()
	}
	counted := func(want float64) []string {
		var series map[string]float64
		harness.Eventually(t, "all requests are counted", func() bool {
			series = s.C.Metrics()
			return harness.RequestsIn(series) >= want
		})
		return harness.OurMetrics(series)
	}

	const warmUp = 400
	askMany(0, warmUp)
	s.Globex.Complete(harness.NewQuestion("fast"))
	before := counted(warmUp + 1)
	askMany(warmUp, requests)
	after := counted(requests + 1)
	if !slices.Equal(before, after) {
		t.Errorf("%d series before, %d now", len(before), len(after))
		for _, name := range after {
			if !slices.Contains(before, name) {
				t.Logf("new: %s", name)
			}
		}
	}
	for _, name := range after {
		if invented.MatchString(name) {
			t.Errorf("a request made the series %s", name)
		}
	}
	if n := one.Count(); n == 0 || two.Count() == 0 {
		t.Errorf("the targets saw %v calls", s.counts())
	}
}
