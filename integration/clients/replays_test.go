package clients

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// replays is an upstream of any dialect. Each of its models replays one recording,
// so that many clients can ask at once.
type replays struct {
	t  testing.TB
	up *harness.Upstream

	mu    sync.Mutex
	plays map[string]*play
}

// play is how a model answers.
type play struct {
	t     testing.TB
	first *providertest.Replay
	then  *providertest.Replay // the answer to a tool's result, if not nil
	tool  string               // that the first answer calls, so that it must be offered
	ended chan struct{}        // gets a value when a call has ended
}

func newReplays(t testing.TB) *replays {
	t.Helper()
	r := &replays{t: t, plays: make(map[string]*play)}
	r.up = harness.NewUpstream(t, r.answer)
	return r
}

// play makes a recording the answer of a model, replayed in some manner.
func (r *replays) play(model string, rec providertest.Recording, manner providertest.Manner) *play {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &play{t: r.t, first: new(providertest.Replay), ended: make(chan struct{}, 1024)}
	p.first.Play(rec, manner)
	r.plays[model] = p
	return p
}

// thenPlay sets what the model answers to a request with a tool's result.
func (p *play) thenPlay(rec providertest.Recording) {
	p.then = new(providertest.Replay)
	p.then.Play(rec, providertest.Whole)
}

// inPath finds the model in the path, for dialects that have it there.
var inPath = regexp.MustCompile(`/models?/([^/:]+)`)

// answer replays the recording of the requested model. It has no list of them.
func (r *replays) answer(c *harness.Call) {
	if c.R.Method == http.MethodGet {
		harness.Document(http.StatusNotFound, "")(c)
		return
	}
	model := c.Model
	if m := inPath.FindStringSubmatch(c.Path); model == "" && m != nil {
		model = m[1]
	}
	r.mu.Lock()
	p := r.plays[model]
	r.mu.Unlock()
	if p == nil {
		r.t.Errorf("unexpected model %q: %s %s", model, c.Path, c.Body)
		harness.Document(http.StatusNotFound, "")(c)
		return
	}
	replay := p.first
	offered := p.tool == "" || strings.Contains(c.Body, `"name":"`+p.tool+`"`)
	if p.then != nil && (!offered || strings.Contains(c.Body, toolResult)) {
		replay = p.then
	}
	defer func() { p.ended <- struct{}{} }()
	harness.Serves(replay)(c)
}

// wantToldResult checks that the model got each tool call and its result once.
func (p *play) wantToldResult(t testing.TB, calls []providertest.ToolCall) {
	t.Helper()
	_, bodies := p.then.Requests()
	if len(bodies) == 0 {
		t.Error("the model did not get the tools' results")
	}
	for _, body := range bodies {
		if n := strings.Count(string(body), toolResult); n != len(calls) {
			t.Errorf("the model got %d results for %d calls: %s", n, len(calls), body)
		}
		for _, call := range calls {
			if !strings.Contains(string(body), call.ID) || strings.Count(string(body), call.Name) < 2 {
				t.Errorf("the call of %s is not among the messages: %s", call.Name, body)
			}
		}
	}
}

// wantEnded waits until a call has ended.
func (p *play) wantEnded(t testing.TB) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(harness.Patience):
		t.Error("the upstream call is still running")
	}
}
