package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// faultRow is a row of the contract's table of what happens when a target
// fails before its first content.
type faultRow struct {
	name string
	do   Behaviour
	both bool // also where no stream was asked for
}

// again are the failures after which the same target is asked again.
var again = []faultRow{
	{"reset before the header", Reset, true},
	{"end before the header", TornOff, true},
	{"reset behind the header", Steps(HeaderOnly, Reset), false},
	{"end behind the header", Steps(HeaderOnly, EOF), false},
	{"end behind the role", Steps(Begins(), EOF), false},
	{"end within the first event", Steps(HeaderOnly, HalfEvent), false},
	{"500", Refuses(500, "server_error"), true},
	{"502", Refuses(502, "server_error"), true},
	{"503", AnswersWith(503, "<p>upstream-words</p>", "Content-Type", "text/html"), true},
	{"504", Refuses(504, "server_error"), true},
	{"408", Refuses(408, "timeout"), true},
	{"409", Refuses(409, "conflict"), true},
	{"429", Refuses(429, "rate_limit_exceeded"), true},
	{"429 with Retry-After", Refuses(429, "rate_limit_exceeded", "Retry-After-Ms", "50"), true},
	{"429 with a Retry-After of an hour", Refuses(429, "rate_limit_exceeded", "Retry-After", "3600"), true},
	{"200 that is no JSON", AnswersWith(200, "<p>upstream-words</p>", "Content-Type", "text/html"), true},
	{"200 that is no completion", AnswersWith(200, `{"upstream-words":1}`), true},
	{"200 with an error", Refuses(200, "server_error"), true},
	{"error in the first event", Steps(HeaderOnly, ErrorFrame), false},
	{"error event first", Steps(HeaderOnly, ErrorEvent), false},
	{"error behind the role", Steps(Begins(), ErrorFrame), false},
}

// atOnce are those after which the next target is asked.
var atOnce = []faultRow{
	{"400 context length", Refuses(400, "context_length_exceeded"), true},
	{"401", Refuses(401, "invalid_api_key"), true},
	{"403", Refuses(403, "permission_denied"), true},
	{"404", Refuses(404, "model_not_found"), true},
}

// refusals are those after which nobody is asked.
var refusals = []struct {
	faultRow
	code string
}{
	{faultRow{"400 content filter", Refuses(400, "content_filter"), true}, "content_filtered"},
	{faultRow{"400 content policy", Refuses(400, "content_policy_violation"), true}, "content_filtered"},
	{faultRow{"400", Refuses(400, "bad_value"), true}, "invalid_request"},
	{faultRow{"402", Refuses(402, "payment"), true}, "invalid_request"},
	{faultRow{"422", Refuses(422, "bad_value"), true}, "invalid_request"},
}

// questions are the ways to ask that a row is tried with.
func (r faultRow) questions() map[string]Question {
	m := map[string]Question{"stream": NewQuestion("fast").WithUsage()}
	if r.both {
		m["document"] = NewQuestion("fast")
	}
	return m
}

func TestFailureTable(t *testing.T) {
	t.Parallel()
	targets := NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, TargetConfig{Targets: targets, Gateway: Patient})
	good := Says(11, 5, "Hello ", "there")

	each := func(t *testing.T, r faultRow, do func(*testing.T, Question)) {
		for name, q := range r.questions() {
			t.Run(r.name+"/"+name, func(t *testing.T) { do(t, q) })
		}
	}
	for _, r := range again {
		t.Run("the same target again", func(t *testing.T) {
			each(t, r, func(t *testing.T, q Question) {
				one.Plays(r.do, good)
				two.Plays(good)
				tr := s.try(t, q)
				tr.WantText(t, "Hello there")
				tr.wantCalls(t, 2, 0)
				tr.wantFrom(t, "one", 2, false)
				tr.wantBilled(t, "one", 11, 5)
			})
		})
		t.Run("then the next one", func(t *testing.T) {
			each(t, r, func(t *testing.T, q Question) {
				one.Plays(r.do)
				two.Plays(good)
				tr := s.try(t, q)
				tr.WantText(t, "Hello there")
				tr.wantCalls(t, 2, 1)
				tr.wantFrom(t, "two", 3, true)
				tr.wantBilled(t, "two", 11, 5)
				if n := tr.attempts("one", "failed"); n != 2 {
					t.Errorf("%v failed attempts of one are counted, want 2: %v", n, tr.counted)
				}
			})
		})
	}
	for _, r := range atOnce {
		t.Run("the next one at once", func(t *testing.T) {
			each(t, r, func(t *testing.T, q Question) {
				one.Plays(r.do)
				two.Plays(good)
				tr := s.try(t, q)
				tr.WantText(t, "Hello there")
				tr.wantCalls(t, 1, 1)
				tr.wantFrom(t, "two", 2, true)
				tr.wantBilled(t, "two", 11, 5)
			})
		})
	}
	for _, r := range refusals {
		t.Run("nobody", func(t *testing.T) {
			each(t, r.faultRow, func(t *testing.T, q Question) {
				one.Plays(r.do)
				two.Plays(good)
				tr := s.try(t, q)
				tr.WantRefused(t, http.StatusBadRequest, r.code)
				WantReason(t, tr.Error, r.code == "invalid_request")
				tr.wantCalls(t, 1, 0)
				tr.wantNothingBilled(t)
			})
		})
	}
}

// TestOutOfTargets has nobody left to ask. The last error counts, in our
// shape and with none of the provider's words.
func TestOutOfTargets(t *testing.T) {
	t.Parallel()
	targets := NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, TargetConfig{Targets: targets, Gateway: Patient})
	for _, tc := range []struct {
		name       string
		one, two   Behaviour
		calls      []int
		status     int
		code       string
		retryAfter string
	}{
		{"500 and 503", Refuses(500, "x"), Refuses(503, "x"), []int{2, 2}, 502, "ai_error", ""},
		{"500 and 401", Refuses(500, "x"), Refuses(401, "x"), []int{2, 1}, 502, "ai_error", ""},
		{"429 and 500", Refuses(429, "x"), Refuses(500, "x"), []int{2, 2}, 502, "ai_error", ""},
		{"500 and 429", Refuses(500, "x"), Refuses(429, "x", "Retry-After", "3600"), []int{2, 2}, 429, "provider_rate_limited", "3600"},
		{"500 and 429 without more", Refuses(500, "x"), Refuses(429, "x"), []int{2, 2}, 429, "provider_rate_limited", "1"},
		{"429 and a content filter", Refuses(429, "x"), Refuses(400, "content_filter"), []int{2, 1}, 400, "content_filtered", ""},
		{"500 and a bad request", Refuses(500, "x"), Refuses(422, "x"), []int{2, 1}, 400, "invalid_request", ""},
		{"too long for both", Refuses(400, "context_length_exceeded"), Refuses(400, "context_length_exceeded"), []int{1, 1}, 400, "invalid_request", ""},
		{"no such model at both", Refuses(404, "x"), Refuses(404, "x"), []int{1, 1}, 502, "ai_error", ""},
		{"reset and nonsense", Reset, AnswersWith(200, "upstream-words"), []int{2, 2}, 502, "ai_error", ""},
	} {
		for name, q := range (faultRow{both: true}).questions() {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				one.Plays(tc.one)
				two.Plays(tc.two)
				tr := s.try(t, q)
				tr.WantRefused(t, tc.status, tc.code)
				WantHeader(t, tr.Header, map[string]string{"Retry-After": tc.retryAfter, "Content-Type": "application/json"})
				WantReason(t, tr.Error, tc.code == "invalid_request")
				tr.wantCalls(t, tc.calls...)
				tr.wantNothingBilled(t)
				if tr.logged["error_code"] != tc.code {
					t.Errorf("%v is logged", tr.logged["error_code"])
				}
			})
		}
	}
	t.Run("/chat", func(t *testing.T) {
		one.Plays(Refuses(500, "x"))
		two.Plays(Refuses(429, "x", "Retry-After", "3600"))
		for _, stream := range []bool{false, true} {
			e := s.observe(func(traceID string) {
				resp := s.Globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi", Stream: &stream}, "X-Trace-Id", traceID)
				WantHeader(t, resp.Header, map[string]string{"Retry-After": "3600"})
				WantFailure(t, resp, http.StatusTooManyRequests, "provider_rate_limited")
			})
			e.wantCalls(t, 2, 2)
			e.wantNothingBilled(t)
		}
	})
}

// TestUnreachable has a target whose port is closed.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	targets := NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	one.Down()
	two.Plays(Says(11, 5, "Hello"))
	s := newFaultSite(t, TargetConfig{Targets: targets, Gateway: Patient})
	for name, q := range (faultRow{both: true}).questions() {
		t.Run(name, func(t *testing.T) {
			tr := s.try(t, q)
			tr.WantText(t, "Hello")
			WantHeader(t, tr.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "3", "X-Ai-Fallback": "true"})
			if got := []float64{tr.attempts("one", "failed"), tr.attempts("two", "ok")}; got[0] != 2 || got[1] != 1 {
				t.Errorf("%v attempts are counted, want 2 that failed and 1 that did not", got)
			}
			if fmt.Sprint(tr.saw) != "[0 1]" || tr.logged["attempts"] != 3.0 {
				t.Errorf("the targets saw %v calls, %v attempts are logged", tr.saw, tr.logged["attempts"])
			}
			tr.wantBilled(t, "two", 11, 5)
		})
	}
}

// TestRetries counts the calls that a target gets which never answers.
func TestRetries(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		option string
		calls  int
	}{{"retries 0", 1}, {"", 3}, {"retries 3", 4}} {
		t.Run(tc.option, func(t *testing.T) {
			targets := NewTargets(t, "one")
			targets[0].Plays(Refuses(500, "x"))
			s := newFaultSite(t, TargetConfig{Targets: targets, Gateway: "circuit_breaker 100000 1s\n" + tc.option})
			tr := s.try(t, NewQuestion("fast"))
			tr.WantRefused(t, http.StatusBadGateway, "ai_error")
			tr.wantCalls(t, tc.calls)

			// the first wait is 200 ms, half of it at least, and it doubles
			asked := targets[0].Requests()
			for i := 1; i < len(asked); i++ {
				least := 100 << (i - 1)
				if waited := asked[i].At.Sub(asked[i-1].At).Milliseconds(); waited < int64(least) {
					t.Errorf("call %d came %d ms after the one before it, want at least %d", i+1, waited, least)
				}
				if asked[i].Body != asked[0].Body || asked[i].Path != asked[0].Path {
					t.Errorf("call %d differs from the first: %s", i+1, asked[i].Body)
				}
			}
		})
	}
}

// TestFallbackRequest checks what the second target is asked: the client's
// own request, with that target's name and key.
func TestFallbackRequest(t *testing.T) {
	t.Parallel()
	targets := NewTargets(t, "one", "two")
	targets[0].Plays(Refuses(500, "x"))
	s := newFaultSite(t, TargetConfig{Targets: targets, Gateway: Patient})
	const q = `{"model":"fast","messages":[{"role":"user","content":"h\u00e9"}],"seed":1.50,"x_custom":{"é":[1, 2 ]}}`
	tr := s.try(t, q)
	tr.WantText(t, "Hello")
	got := targets[1].Last()
	if want := strings.Replace(q, `"fast"`, `"up-two"`, 1); got.Body != want {
		t.Errorf("two got\n%s\nwant\n%s", got.Body, want)
	}
	WantHeader(t, got.Header, map[string]string{"Authorization": "Bearer two-upstream-key", "X-Request-Id": tr.Header.Get("X-Trace-Id")})
	WantHeader(t, targets[0].Last().Header, map[string]string{"Authorization": "Bearer one-upstream-key", "X-Request-Id": tr.Header.Get("X-Trace-Id")})
}
