package failover

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// patientBut is harness.Patient with another value for one of its options.
func patientBut(option, value string) string {
	lines := strings.Split(harness.Patient, "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), option+" ") })
	return strings.Join(append(lines, option+" "+value), "\n")
}

// faultSite is a TargetSite that observes the effects of each request.
type faultSite struct {
	*harness.TargetSite
	seen int // requests observed
}

func newFaultSite(t testing.TB, cfg harness.TargetConfig) *faultSite {
	t.Helper()
	return &faultSite{TargetSite: harness.NewTargetSite(t, cfg)}
}

// effects are what a request caused, apart from the client's answer.
type effects struct {
	saw     []int              // how many calls each target saw
	counted map[string]float64 // the increase of each series
	logged  map[string]any     // the access log's entry
}

// observe makes a request with a trace id and waits until it is logged. A site
// can observe only one request at a time.
func (s *faultSite) observe(do func(traceID string)) effects {
	s.T.Helper()
	s.seen++
	id := fmt.Sprintf("trace-%d", s.seen)
	calls, series := s.counts(), s.C.Metrics()
	do(id)
	e := effects{logged: s.C.AccessLog(id), counted: make(map[string]float64)}
	for i, n := range s.counts() {
		e.saw = append(e.saw, n-calls[i])
	}
	for name, value := range s.C.Metrics() {
		if rise := value - series[name]; rise != 0 && strings.HasPrefix(name, "caddy_ai_") {
			e.counted[name] = rise
		}
	}
	return e
}

func (s *faultSite) counts() []int {
	var list []int
	for _, f := range s.Targets {
		list = append(list, f.Count())
	}
	return list
}

// trial is a request under /v1 with its answer and effects.
type trial struct {
	harness.Completion
	effects
}

// try asks for a completion and observes its effects.
func (s *faultSite) try(t testing.TB, q any) trial {
	t.Helper()
	var tr trial
	tr.effects = s.observe(func(traceID string) {
		tr.Completion = s.Globex.Complete(q, "X-Trace-Id", traceID)
	})
	return tr
}

// turn is a message under /chat with its answer and effects.
type turn struct {
	harness.Answered
	effects
	session string
}

func (s *faultSite) turn(t testing.TB) turn {
	t.Helper()
	tn := turn{session: harness.NewSession()}
	tn.effects = s.observe(func(traceID string) {
		resp := s.Globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: tn.session, Message: "hi"}, "X-Trace-Id", traceID)
		tn.Answered = harness.ReadEvents(t, resp).Rest()
	})
	return tn
}

// wantCalls checks how many calls each target saw, and that metrics and log
// agree.
func (e *effects) wantCalls(t testing.TB, want ...int) {
	t.Helper()
	if !slices.Equal(e.saw, want) {
		t.Errorf("the targets saw %v calls, want %v", e.saw, want)
	}
	var total, counted float64
	for _, n := range e.saw {
		total += float64(n)
	}
	for name, n := range e.counted {
		if strings.HasPrefix(name, "caddy_ai_attempts_total{") {
			counted += n
		}
	}
	if counted != total {
		t.Errorf("%v attempts are counted, but the targets saw %v", counted, total)
	}
	if e.logged["attempts"] != total {
		t.Errorf("%v attempts are logged, but the targets saw %v", e.logged["attempts"], total)
	}
}

// attempts returns how many attempts of a provider are counted with a result.
// The result "failed" stands for all but ok.
func (e *effects) attempts(provider, result string) float64 {
	var n float64
	for name, rise := range e.counted {
		if !strings.HasPrefix(name, "caddy_ai_attempts_total{") || harness.Label(name, "provider") != provider {
			continue
		}
		if got := harness.Label(name, "result"); got == result || result == "failed" && got != "ok" {
			n += rise
		}
	}
	return n
}

// estimatedInput is the estimate for NewQuestion's messages when a provider
// reports no usage.
func estimatedInput(t testing.TB) float64 {
	t.Helper()
	doc, err := json.Marshal(harness.NewQuestion("").Messages)
	if err != nil {
		t.Fatal(err)
	}
	return float64(provider.EstimateTokens(len(doc)))
}

// wantBilled checks that exactly these tokens of this provider are counted and
// logged, with their cost.
func (e *effects) wantBilled(t testing.TB, provider string, in, out float64) {
	t.Helper()
	series := fmt.Sprintf(`{model="fast",provider=%q,tenant="globex"`, provider)
	want := map[string]float64{
		`caddy_ai_tokens_total` + series + `,type="input"}`:  in,
		`caddy_ai_tokens_total` + series + `,type="output"}`: out,
		`caddy_ai_cost_usd_total` + series + `}`:             in + 2*out,
	}
	if got := e.bill(); !maps.Equal(got, want) {
		t.Errorf("billed %v, want %v", got, want)
	}
	e.wantLogged(t, in, out)
}

// wantNothingBilled checks that no tokens are counted at all.
func (e *effects) wantNothingBilled(t testing.TB) {
	t.Helper()
	if got := e.bill(); len(got) > 0 {
		t.Errorf("billed %v, want nothing", got)
	}
	e.wantLogged(t, 0, 0)
}

func (e *effects) wantLogged(t testing.TB, in, out float64) {
	t.Helper()
	for name, want := range map[string]float64{"tokens_in": in, "tokens_out": out, "cost_usd": in + 2*out} {
		if e.logged[name] != want {
			t.Errorf("%s: %v is logged, want %v", name, e.logged[name], want)
		}
	}
}

func (e *effects) bill() map[string]float64 {
	bill := maps.Clone(e.counted)
	maps.DeleteFunc(bill, func(name string, _ float64) bool {
		return !strings.HasPrefix(name, "caddy_ai_tokens_total{") && !strings.HasPrefix(name, "caddy_ai_cost_usd_total{")
	})
	return bill
}

// wantFrom checks which provider answered, and after how many attempts.
func (tr *trial) wantFrom(t testing.TB, provider string, attempts int, fallback bool) {
	t.Helper()
	want := map[string]string{
		"X-Model-Id": "fast", "X-Ai-Provider": provider, "X-Ai-Attempts": fmt.Sprint(attempts), "X-Ai-Fallback": "",
	}
	if fallback {
		want["X-Ai-Fallback"] = "true"
	}
	harness.WantHeader(t, tr.Header, want)
	if tr.logged["provider"] != provider {
		t.Errorf("provider %v is logged, want %s", tr.logged["provider"], provider)
	}
	if ok := tr.attempts(provider, "ok"); ok != 1 {
		t.Errorf("%v attempts of %s are counted as ok, want 1: %v", ok, provider, tr.counted)
	}
	if failed := tr.attempts(provider, "failed"); !fallback && failed != float64(attempts-1) {
		t.Errorf("%v attempts of %s are counted as failed, want %d: %v", failed, provider, attempts-1, tr.counted)
	}
	for _, frame := range tr.Frames {
		if frame != "[DONE]" && gjson.Get(frame, "model").Str != "up-"+provider {
			t.Errorf("not the upstream's model: %s", frame)
		}
	}
}
