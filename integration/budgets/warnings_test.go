package budgets

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// note is the data of a chat.budget_warning.
type note struct {
	Tenant   string  `json:"tenant"`
	Budget   string  `json:"budget"`
	Period   string  `json:"period"`
	Fraction float64 `json:"fraction"`
	Used     float64 `json:"used"`
	Limit    float64 `json:"limit"`
}

// notes returns the warnings so far, sorted.
func notes(c *harness.Caddy) []note {
	c.T.Helper()
	text, err := os.ReadFile(filepath.Join(c.Dir, "notes.jsonl"))
	if err != nil && !os.IsNotExist(err) {
		c.T.Fatal(err)
	}
	var list []note
	for line := range strings.Lines(string(text)) {
		var n note
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			c.T.Fatalf("%s: %v", line, err)
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b note) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return list
}

func wantNotes(c *harness.Caddy, want []note) {
	c.T.Helper()
	harness.Eventually(c.T, fmt.Sprint("the events are ", want), func() bool { return len(notes(c)) >= len(want) })
	if got := notes(c); !slices.Equal(got, want) {
		c.T.Errorf("events %+v, want %+v", got, want)
	}
}

// together runs do n times at once.
func together(n int, do func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(do)
	}
	wg.Wait()
}

// TestBudgetWarnings crosses the thresholds with many calls at once.
func TestBudgetWarnings(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := harness.NewTarget(t, "up", harness.Says(5, 5, tokenText))
	options := func(globex int) string {
		return fmt.Sprintf(`
	events {
		on chat.budget_warning noted notes.jsonl
	}
	chat {
		tenant acme {
			budget 1000 tokens/day 3000 tokens/month
			budget 1 usd/month
		}
		tenant globex {
			budget %d tokens/day
		}
		budget_warnings 0.9 0.5
	}
`, globex)
	}
	site := fmt.Sprintf(`
	tenant_resolve
	ai_gateway {
		provider openai {
			base_url %s
		}
		model fast {
			to openai/up
			price 0.1 0.1
		}
		%s
	}
`, up.URL, harness.Patient)
	c := harness.Start(t, options(100), site)
	acme, globex := harness.NewClient(c, "acme", "ann"), harness.NewClient(c, "globex", "ann")
	stream := budgetQuestion("fast", 1, true)
	// a connection that was dialled but never used would delay the shutdown
	own := harness.Transport.Clone()
	defer own.CloseIdleConnections()
	acme.HTTP = &http.Client{Transport: own}
	together(95, func() {
		a := acme.Complete(stream)
		a.WantText(t, tokenText)
	})
	for range 6 {
		globex.Complete(budgetQuestion("fast", 1, false))
	}
	wantUsed(c, "acme", "day", 950, 1000)
	wantUsed(c, "globex", "day", 60, 100)
	own.CloseIdleConnections()
	want := []note{
		{"acme", "tokens/day", "day", 0.5, 500, 1000},
		{"acme", "tokens/day", "day", 0.9, 900, 1000},
		{"globex", "tokens/day", "day", 0.5, 50, 100},
	}
	wantNotes(c, want)
	for _, n := range want {
		c.WantMetrics(map[string]float64{
			fmt.Sprintf(`caddy_ai_budget_warnings_total{fraction="%g",period=%q,tenant=%q}`, n.Fraction, n.Period, n.Tenant): 1,
		})
	}
	const line = "a budget nears its end or has reached it"
	harness.Eventually(t, "the log warns", func() bool { return strings.Count(c.Log.String(), line) == len(want) })

	// a restart repeats no warning
	c.Stop()
	c.Restart()
	acme.Complete(stream)
	globex.Complete(stream)
	wantUsed(c, "acme", "day", 960, 1000)
	wantUsed(c, "acme", "month", 960, 3000)
	wantUsed(c, "globex", "day", 70, 100)
	wantNotes(c, want)
	if strings.Contains(c.Log.String(), line) {
		t.Error("the log warns again")
	}

	// a raised budget has thresholds of its own
	c.WriteConfig(options(150), site)
	c.Reload()
	globex.Complete(stream)
	wantUsed(c, "globex", "day", 80, 150)
	wantNotes(c, append(want, note{"globex", "tokens/day", "day", 0.5, 80, 150}))
}
