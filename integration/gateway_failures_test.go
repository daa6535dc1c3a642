package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// WantCutTurn checks that a turn of /chat broke off after some text, which is
// kept.
func WantCutTurn(t testing.TB, cl *Client, session string, a Answered, text, code string) {
	t.Helper()
	if a.Text != text || a.Failed == nil || a.Failed.Code != code || a.Failed.TraceID == "" || a.Done == nil || a.Done.FinishReason != "error" {
		t.Errorf("/chat: text %q, error %+v, done %+v; want %q and %s", a.Text, a.Failed, a.Done, text, code)
	}
	if n := len(a.Events); n < 2 || a.Events[n-2].Type != "error" || a.Events[n-1].Type != "done" {
		t.Errorf("/chat: the events do not end with error and done: %+v", a.Events)
	}
	msgs := cl.History(session)
	if len(msgs) != 2 || msgs[1].Content != text || msgs[1].Status != "partial" {
		t.Errorf("stored are %+v, want a partial %q", msgs, text)
	}
}

func TestStreamEnd(t *testing.T) {
	up := NewFakeProvider(t, Silent)
	c := Start(t, GatewayTenants, GatewaySite(up))
	globex := NewClient(c, "globex", "ann")

	t.Run("a finish reason is complete without an end mark", func(t *testing.T) {
		up.Answers(Sends(Role, Content("Hello"), Finished))
		a := globex.Complete(NewQuestion("fast").Streamed())
		a.WantWhole(t, "Hello")
		if got := globex.Say(NewSession(), "hi"); got.Text != "Hello" || got.Failed != nil || got.Done == nil || got.Done.FinishReason != "stop" {
			t.Errorf("/chat: %+v", got)
		}
	})
	t.Run("what follows the end mark is nothing", func(t *testing.T) {
		up.Answers(Sends(Content("Hello"), Finished, EndMark, Content(" again")))
		a := globex.Complete(NewQuestion("fast").Streamed())
		a.WantWhole(t, "Hello")
	})

	reset := func(w http.ResponseWriter, _ *http.Request) {
		SendEvents(w, []string{Role, Content("Hel"), Content("lo")})
		panic(http.ErrAbortHandler)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"an end without either is cut":   Sends(Role, Content("Hel"), Content("lo")),
		"a broken connection is cut":     reset,
		"an end within an event is cut":  Sends(Content("Hel"), Content("lo"), Content(" there")[:30]),
		"an error in the stream is cut":  Sends(Content("Hel"), Content("lo"), "data: {\"error\":{\"message\":\"upstream-words\",\"code\":500}}\n\n"),
		"an error's event type suffices": Sends(Content("Hello"), "event: error\ndata: {\"message\":\"upstream-words\"}\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			up.Answers(answer)
			a := globex.Complete(NewQuestion("fast").WithUsage())
			a.WantCut(t, "Hello", "ai_error")
			session := NewSession()
			got := globex.Say(session, "hi")
			WantCutTurn(t, globex, session, got, "Hello", "ai_error")
			if all := fmt.Sprint(a.Frames, got.Failed); strings.Contains(all, "upstream-words") {
				t.Errorf("the provider's words reach the client: %s", all)
			}
		})
	}
	t.Run("before any content it is an error with a status", func(t *testing.T) {
		for _, answer := range []http.HandlerFunc{Sends(), Sends(Role), Sends(Role, ": comment\n\n")} {
			up.Answers(answer)
			a := globex.Complete(NewQuestion("fast").Streamed())
			a.WantRefused(t, http.StatusBadGateway, "ai_error")
			WantFailure(t, globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi"}), http.StatusBadGateway, "ai_error")
		}
	})
	t.Run("chunks that are no JSON are skipped and counted", func(t *testing.T) {
		const skipped = `caddy_ai_skipped_chunks_total{provider="openai"}`
		before := c.Metrics()[skipped]
		up.Answers(Sends(Content("Hel"), "data: {\"choices\":[{\"delta\":{\"content\":\"x\"\n\n", "data: garbage\n\n", Content("lo"), Finished, EndMark))
		a := globex.Complete(NewQuestion("fast").Streamed())
		a.WantWhole(t, "Hello")
		if got := c.Metrics()[skipped] - before; got != 2 {
			t.Errorf("%v chunks were counted, want 2", got)
		}
	})
}

// TestSilence has timeouts that are short, and upstreams that are silent for
// good.
func TestSilence(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, option string
		answer       http.HandlerFunc
	}{
		{"no header within response_timeout", "response_timeout 100ms", Silent},
		{"no token within first_token_timeout", "first_token_timeout 100ms", SendsAndStalls()},
		{"only the role within first_token_timeout", "first_token_timeout 100ms", SendsAndStalls(Role, Role)},
		{"only comments within first_token_timeout", "first_token_timeout 100ms", SendsAndStalls(": comment\n\n")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := NewFakeProvider(t, tc.answer)
			c := Start(t, GatewayTenants, GatewaySite(up, tc.option))
			globex := NewClient(c, "globex", "ann")
			a := globex.Complete(NewQuestion("fast").Streamed())
			a.WantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
			WantFailure(t, globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi"}), http.StatusGatewayTimeout, "ai_timeout")
			if got := c.Metrics()[`caddy_ai_attempts_total{model="fast",provider="openai",result="timeout"}`]; got != 2 {
				t.Errorf("%v attempts timed out, want 2", got)
			}
		})
	}
	t.Run("no whole answer within response_timeout", func(t *testing.T) {
		up := NewFakeProvider(t, Silent)
		c := Start(t, GatewayTenants, GatewaySite(up, "response_timeout 100ms"))
		globex := NewClient(c, "globex", "ann")
		a := globex.Complete(NewQuestion("fast"))
		a.WantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
		WantFailure(t, globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi", Stream: new(false)}), http.StatusGatewayTimeout, "ai_timeout")
	})
	t.Run("nothing more within stall_timeout", func(t *testing.T) {
		up := NewFakeProvider(t, SendsAndStalls(Role, Content("Hello")))
		c := Start(t, GatewayTenants, GatewaySite(up, "stall_timeout 100ms"))
		globex := NewClient(c, "globex", "ann")
		a := globex.Complete(NewQuestion("fast").WithUsage())
		a.WantCut(t, "Hello", "ai_timeout")
		session := NewSession()
		WantCutTurn(t, globex, session, globex.Say(session, "hi"), "Hello", "ai_timeout")
	})
}

// TestUpstreamStatus goes through the statuses of a provider, and what a
// client gets for each.
func TestUpstreamStatus(t *testing.T) {
	up := NewFakeProvider(t, Silent)
	c := Start(t, GatewayTenants, GatewaySite(up, "passthrough"))
	globex := NewClient(c, "globex", "ann")

	failure := func(code string) string {
		return fmt.Sprintf(`{"error":{"message":"upstream-words about sk-live-0123456789abcdef at https://internal.example.com/x","type":"some_error","param":null,"code":%q}}`, code)
	}
	type want struct {
		status     int
		code       string
		retryAfter string
	}
	aiError := want{http.StatusBadGateway, "ai_error", ""}
	invalid := want{http.StatusBadRequest, "invalid_request", ""}
	filtered := want{http.StatusBadRequest, "content_filtered", ""}
	limited := func(after string) want { return want{http.StatusTooManyRequests, "provider_rate_limited", after} }

	for _, tc := range []struct {
		name, model string
		answer      http.HandlerFunc
		want        want
	}{
		{"401", "fast", Document(401, failure("invalid_api_key")), aiError},
		{"403", "fast", Document(403, failure("permission_denied")), aiError},
		{"404", "fast", Document(404, failure("model_not_found")), aiError},
		{"404 of a passthrough name", "openai/up-7", Document(404, failure("model_not_found")), want{http.StatusNotFound, "model_unknown", ""}},
		{"429 with Retry-After", "fast", Document(429, failure("rate_limit_exceeded"), "Retry-After", "7"), limited("7")},
		{"429 with Retry-After in milliseconds", "fast", Document(429, failure("rate_limit_exceeded"), "Retry-After-Ms", "1500"), limited("2")},
		{"429 without Retry-After", "fast", Document(429, failure("rate_limit_exceeded")), limited("1")},
		{"400 content filter", "fast", Document(400, failure("content_filter")), filtered},
		{"400 content policy", "fast", Document(400, failure("content_policy_violation")), filtered},
		{"400", "fast", Document(400, failure("bad_value")), invalid},
		{"400 context length", "fast", Document(400, failure("context_length_exceeded")), invalid},
		{"402", "fast", Document(402, failure("payment")), invalid},
		{"413", "fast", Document(413, failure("too_large")), invalid},
		{"422", "fast", Document(422, failure("bad_value")), invalid},
		{"408", "fast", Document(408, failure("slow")), aiError},
		{"409", "fast", Document(409, failure("conflict")), aiError},
		{"500", "fast", Document(500, failure("server_error")), aiError},
		{"502", "fast", Document(502, failure("server_error")), aiError},
		{"503", "fast", Document(503, "upstream-words", "Content-Type", "text/html"), aiError},
		{"504", "fast", Document(504, failure("server_error")), aiError},
		{"redirect", "fast", Document(307, "upstream-words", "Location", up.URL+"/elsewhere"), aiError},
		{"200 that is no JSON", "fast", Document(200, "<p>upstream-words</p>", "Content-Type", "text/html"), aiError},
		{"200 that is no completion", "fast", Document(200, `{"upstream-words":1}`), aiError},
		{"200 with an error", "fast", Document(200, failure("server_error")), aiError},
		{"connection reset", "fast", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, aiError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up.Answers(tc.answer)
			for _, stream := range []bool{false, true} {
				q := NewQuestion(tc.model)
				q.Stream = stream
				a := globex.Complete(q)
				a.WantRefused(t, tc.want.status, tc.want.code)
				resp := globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi", ModelID: tc.model, Stream: &stream})
				f := WantFailure(t, resp, tc.want.status, tc.want.code)
				for _, h := range []http.Header{a.Header, resp.Header} {
					if got := h.Get("Retry-After"); got != tc.want.retryAfter {
						t.Errorf("Retry-After %q, want %q", got, tc.want.retryAfter)
					}
				}
				for _, told := range []string{a.Error, f.Error.Message} {
					WantReason(t, told, tc.want == invalid)
				}
			}
		})
	}

	t.Run("refused connection", func(t *testing.T) {
		gone := &FakeProvider{URL: "http://127.0.0.1:" + strconv.Itoa(FreePort(t)) + "/v1"}
		c := Start(t, GatewayTenants, GatewaySite(gone))
		globex := NewClient(c, "globex", "ann")
		for _, stream := range []bool{false, true} {
			q := NewQuestion("fast")
			q.Stream = stream
			a := globex.Complete(q)
			a.WantRefused(t, http.StatusBadGateway, "ai_error")
			WantFailure(t, globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi", Stream: &stream}), http.StatusBadGateway, "ai_error")
			if strings.Contains(a.Error, "127.0.0.1") {
				t.Errorf("the provider's address reaches the client: %s", a.Error)
			}
		}
	})
}

// WantReason checks whether a message passes the provider's reason on, which
// it never does with what looks like a key or an address.
func WantReason(t testing.TB, told string, passedOn bool) {
	t.Helper()
	if strings.Contains(told, "upstream-words") != passedOn {
		t.Errorf("the client is told %q", told)
	}
	for _, secret := range []string{"sk-live", "0123456789abcdef", "internal.example.com"} {
		if strings.Contains(told, secret) {
			t.Errorf("the client is told %q", told)
		}
	}
}
