package failover

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// faultRow is a way in which a target fails before its first content.
type faultRow struct {
	name string
	do   harness.Script
	both bool // for documents too, not only streams
}

// again are failures after which the same target is asked again.
var again = []faultRow{
	{"reset before the header", harness.Reset, true},
	{"end before the header", harness.TornOff, true},
	{"reset after the header", harness.Steps(harness.HeaderOnly, harness.Reset), false},
	{"end after the header", harness.Steps(harness.HeaderOnly, harness.EOF), false},
	{"end after the role", harness.Steps(harness.Begins(), harness.EOF), false},
	{"end within the first event", harness.Steps(harness.HeaderOnly, harness.HalfEvent), false},
	{"500", harness.Refuses(500, "server_error"), true},
	{"502", harness.Refuses(502, "server_error"), true},
	{"503", harness.Document(503, "<p>upstream-words</p>", "Content-Type", "text/html"), true},
	{"504", harness.Refuses(504, "server_error"), true},
	{"408", harness.Refuses(408, "timeout"), true},
	{"409", harness.Refuses(409, "conflict"), true},
	{"501", harness.Refuses(501, "not_implemented"), true},
	{"520 of Cloudflare", harness.Document(520, "<p>upstream-words</p>", "Content-Type", "text/html"), true},
	{"529 of Anthropic", harness.Document(529, `{"type":"error","error":{"type":"overloaded_error","message":"upstream-words"}}`), true},
	{"429", harness.Refuses(429, "rate_limit_exceeded"), true},
	{"429 with Retry-After", harness.Refuses(429, "rate_limit_exceeded", "Retry-After-Ms", "50"), true},
	{"429 with a Retry-After of an hour", harness.Refuses(429, "rate_limit_exceeded", "Retry-After", "3600"), true},
	{"200 that is not JSON", harness.Document(200, "<p>upstream-words</p>", "Content-Type", "text/html"), true},
	{"200 that is not a completion", harness.Document(200, `{"upstream-words":1}`), true},
	{"200 with an error", harness.Refuses(200, "server_error"), true},
	{"error in the first event", harness.Steps(harness.HeaderOnly, harness.ErrorFrame), false},
	{"error event first", harness.Steps(harness.HeaderOnly, harness.ErrorEvent), false},
	{"error after the role", harness.Steps(harness.Begins(), harness.ErrorFrame), false},
}

// atOnce are failures after which the next target is asked at once.
var atOnce = []faultRow{
	{"400 context length", harness.Refuses(400, "context_length_exceeded"), true},
	{"400 in xAI's words", told(400, `"This model's maximum prompt length is 131072 but the request contains 140000 tokens."`, ""), true},
	{"400 in Moonshot's words", told(400, `"Your request exceeded model token limit: 8192"`, ""), true},
	{"400 in Zhipu's words", told(400, `"Prompt exceeds max length"`, `,"code":"1261"`), true},
	{"422 in TGI's words", told(422, "\"`inputs` must have less than 4095 tokens\"", ""), true},
	{"413 in Anthropic's words", told(413, `"Request exceeds the maximum size"`, `,"type":"request_too_large"`), true},
	{"401", harness.Refuses(401, "invalid_api_key"), true},
	{"403", harness.Refuses(403, "permission_denied"), true},
	{"400 for a wrong key", harness.Document(400, `{"error":{"code":400,"message":"x","details":[{"reason":"API_KEY_INVALID"}]}}`), true},
	{"404", harness.Refuses(404, "model_not_found"), true},
	{"404 without words", harness.Document(404, "", "Content-Type", "text/plain"), true},
}

// told answers with a status and an error of this message, as JSON, and more
// members.
func told(status int, message, more string) harness.Script {
	return harness.Document(status, `{"error":{"message":`+message+more+`}}`)
}

// refusals are failures after which no further target is asked.
var refusals = []struct {
	faultRow
	code string // ours, in the log
	told string // the client's
}{
	{faultRow{"400 content filter", harness.Refuses(400, "content_filter"), true}, "content_filtered", "content_filtered"},
	{faultRow{"400 content policy", harness.Refuses(400, "content_policy_violation"), true}, "content_filtered", "content_filtered"},
	{faultRow{"400", harness.Refuses(400, "bad_value"), true}, "invalid_request", "bad_value"},
	{faultRow{"400 for an answer's length", told(400, `"upstream-words: max_tokens is too large: 100000. This model supports at most 16384 completion tokens"`, ""), true}, "invalid_request", "invalid_request"},
	{faultRow{"400 for a name's length", told(400, `"upstream-words: exceeds the maximum length of name, 64"`, ""), true}, "invalid_request", "invalid_request"},
	{faultRow{"402", harness.Refuses(402, "payment"), true}, "invalid_request", "payment"},
	{faultRow{"405", harness.Refuses(405, "bad_method"), true}, "invalid_request", "bad_method"},
	{faultRow{"410", harness.Refuses(410, "gone"), true}, "invalid_request", "gone"},
	{faultRow{"413", harness.Refuses(413, "too_large"), true}, "invalid_request", "too_large"},
	{faultRow{"415", harness.Refuses(415, "bad_type"), true}, "invalid_request", "bad_type"},
	{faultRow{"424", harness.Refuses(424, "bad_tool"), true}, "invalid_request", "bad_tool"},
	{faultRow{"451", harness.Refuses(451, "not_here"), true}, "invalid_request", "not_here"},
	{faultRow{"422", harness.Refuses(422, "bad_value"), true}, "invalid_request", "bad_value"},
}

// questions returns the requests that a row is tried with.
func (r faultRow) questions() map[string]harness.Question {
	m := map[string]harness.Question{"stream": harness.NewQuestion("fast").WithUsage()}
	if r.both {
		m["document"] = harness.NewQuestion("fast")
	}
	return m
}

func TestFailureTable(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	good := harness.Says(11, 5, "Hello ", "there")

	each := func(t *testing.T, r faultRow, do func(*testing.T, harness.Question)) {
		for name, q := range r.questions() {
			t.Run(r.name+"/"+name, func(t *testing.T) { do(t, q) })
		}
	}
	for _, r := range again {
		t.Run("retries the same target", func(t *testing.T) {
			each(t, r, func(t *testing.T, q harness.Question) {
				one.Plays(r.do, good)
				two.Plays(good)
				tr := s.try(t, q)
				tr.WantText(t, "Hello there")
				tr.wantCalls(t, 2, 0)
				tr.wantFrom(t, "one", 2, false)
				tr.wantBilled(t, "one", 11, 5)
			})
		})
		t.Run("falls back after the retries", func(t *testing.T) {
			each(t, r, func(t *testing.T, q harness.Question) {
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
		t.Run("falls back at once", func(t *testing.T) {
			each(t, r, func(t *testing.T, q harness.Question) {
				one.Plays(r.do)
				two.Plays(good)
				tr := s.try(t, q)
				tr.WantText(t, "Hello there")
				tr.wantCalls(t, 1, 1)
				tr.wantFrom(t, "two", 2, true)
				tr.wantBilled(t, "two", 11, 5)
			})
			t.Run(r.name+"/chat", func(t *testing.T) {
				tn := s.turn(t)
				tn.wantStored(t, s.Globex, "Hello there")
				tn.wantCalls(t, 1, 1)
			})
		})
	}
	for _, r := range refusals {
		t.Run("refuses", func(t *testing.T) {
			each(t, r.faultRow, func(t *testing.T, q harness.Question) {
				one.Plays(r.do)
				two.Plays(good)
				tr := s.try(t, q)
				tr.WantRefused(t, http.StatusBadRequest, r.told)
				harness.WantReason(t, tr.Error, r.code == "invalid_request")
				if tr.logged["error_code"] != r.code {
					t.Errorf("%v is logged, want %s", tr.logged["error_code"], r.code)
				}
				tr.wantCalls(t, 1, 0)
				tr.wantNothingBilled(t)
			})
			t.Run(r.name+"/chat", func(t *testing.T) {
				for _, stream := range []bool{false, true} {
					e := s.observe(func(traceID string) {
						ask := harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: &stream}
						harness.WantFailure(t, s.Globex.Do(http.MethodPost, "/chat", ask, "X-Trace-Id", traceID), http.StatusBadRequest, r.code)
					})
					e.wantCalls(t, 1, 0)
					e.wantNothingBilled(t)
				}
			})
		})
	}
}

// TestOutOfTargets has every target fail. The client gets the last error, in
// our shape and without the provider's message.
func TestOutOfTargets(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	for _, tc := range []struct {
		name       string
		one, two   harness.Script
		calls      []int
		status     int
		code       string
		retryAfter string
	}{
		{"500 and 503", harness.Refuses(500, "x"), harness.Refuses(503, "x"), []int{2, 2}, 502, "ai_error", ""},
		{"503 and 500", harness.Refuses(503, "x"), harness.Refuses(500, "x"), []int{2, 2}, 502, "ai_error", ""},
		{"401 and 503", harness.Refuses(401, "x"), harness.Refuses(503, "x"), []int{1, 2}, 502, "ai_error", ""},
		{"503 and 529", harness.Refuses(503, "x"), harness.Refuses(529, "x"), []int{2, 2}, 502, "ai_error", ""},
		{"529 and 503 with Retry-After", harness.Refuses(529, "x"), harness.Refuses(503, "x", "Retry-After", "7"), []int{2, 2}, 502, "ai_error", "7"},
		{"500 and 401", harness.Refuses(500, "x"), harness.Refuses(401, "x"), []int{2, 1}, 502, "ai_error", ""},
		{"429 and 500", harness.Refuses(429, "x"), harness.Refuses(500, "x"), []int{2, 2}, 502, "ai_error", ""},
		{"500 and 429", harness.Refuses(500, "x"), harness.Refuses(429, "x", "Retry-After", "3600"), []int{2, 2}, 429, "provider_rate_limited", "3600"},
		{"500 and 429 without more", harness.Refuses(500, "x"), harness.Refuses(429, "x"), []int{2, 2}, 429, "provider_rate_limited", "1"},
		{"429 and a content filter", harness.Refuses(429, "x"), harness.Refuses(400, "content_filter"), []int{2, 1}, 400, "content_filtered", ""},
		{"500 and a bad request", harness.Refuses(500, "x"), harness.Refuses(422, "x"), []int{2, 1}, 400, "x", ""},
		{"too long for both", harness.Refuses(400, "context_length_exceeded"), harness.Refuses(400, "context_length_exceeded"), []int{1, 1}, 400, "context_length_exceeded", ""},
		{"too long for both, without a code", harness.Document(400, `{"error":{"message":"upstream-words: prompt is too long"}}`), harness.Document(413, `{"error":{"message":"upstream-words: request is too large"}}`), []int{1, 1}, 400, "context_length_exceeded", ""},
		{"no such model at both", harness.Refuses(404, "x"), harness.Refuses(404, "x"), []int{1, 1}, 502, "ai_error", ""},
		{"reset and nonsense", harness.Reset, harness.Document(200, "upstream-words"), []int{2, 2}, 502, "ai_error", ""},
	} {
		for name, q := range (faultRow{both: true}).questions() {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				one.Plays(tc.one)
				two.Plays(tc.two)
				tr := s.try(t, q)
				tr.WantRefused(t, tc.status, tc.code)
				harness.WantHeader(t, tr.Header, map[string]string{"Retry-After": tc.retryAfter, "Content-Type": "application/json"})
				ours := tc.code
				if tc.code == "x" || tc.code == "context_length_exceeded" {
					ours = "invalid_request" // what the client gets is the provider's
				}
				harness.WantReason(t, tr.Error, ours == "invalid_request")
				tr.wantCalls(t, tc.calls...)
				tr.wantNothingBilled(t)
				if tr.logged["error_code"] != ours {
					t.Errorf("%v is logged", tr.logged["error_code"])
				}
			})
		}
	}
	t.Run("/chat", func(t *testing.T) {
		one.Plays(harness.Refuses(500, "x"))
		two.Plays(harness.Refuses(429, "x", "Retry-After", "3600"))
		for _, stream := range []bool{false, true} {
			e := s.observe(func(traceID string) {
				resp := s.Globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: &stream}, "X-Trace-Id", traceID)
				harness.WantHeader(t, resp.Header, map[string]string{"Retry-After": "3600"})
				harness.WantFailure(t, resp, http.StatusTooManyRequests, "provider_rate_limited")
			})
			e.wantCalls(t, 2, 2)
			e.wantNothingBilled(t)
		}
	})
}

// TestUnreachable has a target whose port is closed.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	one.Down()
	two.Plays(harness.Says(11, 5, "Hello"))
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	for name, q := range (faultRow{both: true}).questions() {
		t.Run(name, func(t *testing.T) {
			tr := s.try(t, q)
			tr.WantText(t, "Hello")
			harness.WantHeader(t, tr.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "3", "X-Ai-Fallback": "true"})
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

// TestRetries counts the calls to a target that always fails.
func TestRetries(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		option string
		calls  int
	}{{"retries 0", 1}, {"", 3}, {"retries 3", 4}} {
		t.Run(tc.option, func(t *testing.T) {
			targets := harness.NewTargets(t, "one")
			targets[0].Plays(harness.Refuses(500, "x"))
			s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "circuit_breaker 100000 1s\n" + tc.option})
			tr := s.try(t, harness.NewQuestion("fast"))
			tr.WantRefused(t, http.StatusBadGateway, "ai_error")
			tr.wantCalls(t, tc.calls)

			// the first wait is between 100 and 200 ms, and each next one doubles
			asked := targets[0].Requests()
			for i := 1; i < len(asked); i++ {
				least := 100 << (i - 1)
				if waited := asked[i].At.Sub(asked[i-1].At).Milliseconds(); waited < int64(least) {
					t.Errorf("call %d came %d ms after the last one, want at least %d", i+1, waited, least)
				}
				if asked[i].Body != asked[0].Body || asked[i].Path != asked[0].Path {
					t.Errorf("call %d differs from the first: %s", i+1, asked[i].Body)
				}
			}
		})
	}
}

// TestFallbackRequest checks that the second target gets the client's request
// with its own model name and key.
func TestFallbackRequest(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	targets[0].Plays(harness.Refuses(500, "x"))
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	const q = `{"model":"fast","messages":[{"role":"user","content":"h\u00e9"}],"seed":1.50,"x_custom":{"é":[1, 2 ]}}`
	tr := s.try(t, q)
	tr.WantText(t, "Hello")
	got := targets[1].Last()
	if want := strings.Replace(q, `"fast"`, `"up-two"`, 1); got.Body != want {
		t.Errorf("two got\n%s\nwant\n%s", got.Body, want)
	}
	harness.WantHeader(t, got.Header, map[string]string{"Authorization": "Bearer two-upstream-key", "X-Request-Id": tr.Header.Get("X-Trace-Id")})
	harness.WantHeader(t, targets[0].Last().Header, map[string]string{"Authorization": "Bearer one-upstream-key", "X-Request-Id": tr.Header.Get("X-Trace-Id")})
}

// TestEmbeddingsFail has targets fail a call for embeddings: the same rows hold.
func TestEmbeddingsFail(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	good := harness.Document(http.StatusOK, harness.OpenAIVectors)
	ask := func() (resp *http.Response, e effects) {
		e = s.observe(func(traceID string) {
			resp = s.Globex.Do(http.MethodPost, "/v1/embeddings", map[string]string{"model": "fast", "input": "hi"}, "X-Trace-Id", traceID)
		})
		return resp, e
	}
	for _, tc := range []struct {
		rows  []faultRow
		calls int
	}{{again, 2}, {atOnce, 1}} {
		for _, r := range tc.rows {
			if !r.both {
				continue
			}
			t.Run(r.name, func(t *testing.T) {
				one.Plays(r.do)
				two.Plays(good)
				resp, e := ask()
				if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Ai-Provider") != "two" {
					t.Errorf("status %d, from %s", resp.StatusCode, resp.Header.Get("X-Ai-Provider"))
				}
				harness.ReadAll(t, resp)
				e.wantCalls(t, tc.calls, 1)
			})
		}
	}
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			one.Plays(r.do)
			two.Plays(good)
			resp, e := ask()
			harness.WantFailure(t, resp, http.StatusBadRequest, r.told)
			e.wantCalls(t, 1, 0)
		})
	}
}
