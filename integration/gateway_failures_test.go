package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// wantCutTurn checks that a turn of /chat broke off after some text, which is
// kept.
func wantCutTurn(t testing.TB, cl *client, session string, a answered, text, code string) {
	t.Helper()
	if a.text != text || a.failed == nil || a.failed.Code != code || a.failed.TraceID == "" || a.done == nil || a.done.FinishReason != "error" {
		t.Errorf("/chat: text %q, error %+v, done %+v; want %q and %s", a.text, a.failed, a.done, text, code)
	}
	if n := len(a.events); n < 2 || a.events[n-2].Type != "error" || a.events[n-1].Type != "done" {
		t.Errorf("/chat: the events do not end with error and done: %+v", a.events)
	}
	msgs := cl.history(session)
	if len(msgs) != 2 || msgs[1].Content != text || msgs[1].Status != "partial" {
		t.Errorf("stored are %+v, want a partial %q", msgs, text)
	}
}

func TestStreamEnd(t *testing.T) {
	up := newFakeProvider(t, silent)
	c := startCaddy(t, gatewayTenants, gatewaySite(up))
	globex := newClient(c, "globex", "ann")

	t.Run("a finish reason is complete without an end mark", func(t *testing.T) {
		up.answers(sends(role, content("Hello"), finished))
		a := globex.complete(newQuestion("fast").streamed())
		a.wantWhole(t, "Hello")
		if got := globex.say(newSession(), "hi"); got.text != "Hello" || got.failed != nil || got.done == nil || got.done.FinishReason != "stop" {
			t.Errorf("/chat: %+v", got)
		}
	})
	t.Run("what follows the end mark is nothing", func(t *testing.T) {
		up.answers(sends(content("Hello"), finished, endMark, content(" again")))
		a := globex.complete(newQuestion("fast").streamed())
		a.wantWhole(t, "Hello")
	})

	reset := func(w http.ResponseWriter, _ *http.Request) {
		sendEvents(w, []string{role, content("Hel"), content("lo")})
		panic(http.ErrAbortHandler)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"an end without either is cut":   sends(role, content("Hel"), content("lo")),
		"a broken connection is cut":     reset,
		"an end within an event is cut":  sends(content("Hel"), content("lo"), content(" there")[:30]),
		"an error in the stream is cut":  sends(content("Hel"), content("lo"), "data: {\"error\":{\"message\":\"upstream-words\",\"code\":500}}\n\n"),
		"an error's event type suffices": sends(content("Hello"), "event: error\ndata: {\"message\":\"upstream-words\"}\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			up.answers(answer)
			a := globex.complete(newQuestion("fast").withUsage())
			a.wantCut(t, "Hello", "ai_error")
			session := newSession()
			got := globex.say(session, "hi")
			wantCutTurn(t, globex, session, got, "Hello", "ai_error")
			if all := fmt.Sprint(a.frames, got.failed); strings.Contains(all, "upstream-words") {
				t.Errorf("the provider's words reach the client: %s", all)
			}
		})
	}
	t.Run("before any content it is an error with a status", func(t *testing.T) {
		for _, answer := range []http.HandlerFunc{sends(), sends(role), sends(role, ": comment\n\n")} {
			up.answers(answer)
			a := globex.complete(newQuestion("fast").streamed())
			a.wantRefused(t, http.StatusBadGateway, "ai_error")
			wantFailure(t, globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi"}), http.StatusBadGateway, "ai_error")
		}
	})
	t.Run("chunks that are no JSON are skipped and counted", func(t *testing.T) {
		const skipped = `caddy_ai_skipped_chunks_total{provider="openai"}`
		before := c.metrics()[skipped]
		up.answers(sends(content("Hel"), "data: {\"choices\":[{\"delta\":{\"content\":\"x\"\n\n", "data: garbage\n\n", content("lo"), finished, endMark))
		a := globex.complete(newQuestion("fast").streamed())
		a.wantWhole(t, "Hello")
		if got := c.metrics()[skipped] - before; got != 2 {
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
		{"no header within response_timeout", "response_timeout 100ms", silent},
		{"no token within first_token_timeout", "first_token_timeout 100ms", sendsAndStalls()},
		{"only the role within first_token_timeout", "first_token_timeout 100ms", sendsAndStalls(role, role)},
		{"only comments within first_token_timeout", "first_token_timeout 100ms", sendsAndStalls(": comment\n\n")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := newFakeProvider(t, tc.answer)
			c := startCaddy(t, gatewayTenants, gatewaySite(up, tc.option))
			globex := newClient(c, "globex", "ann")
			a := globex.complete(newQuestion("fast").streamed())
			a.wantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
			wantFailure(t, globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi"}), http.StatusGatewayTimeout, "ai_timeout")
			if got := c.metrics()[`caddy_ai_attempts_total{model="fast",provider="openai",result="timeout"}`]; got != 2 {
				t.Errorf("%v attempts timed out, want 2", got)
			}
		})
	}
	t.Run("no whole answer within response_timeout", func(t *testing.T) {
		up := newFakeProvider(t, silent)
		c := startCaddy(t, gatewayTenants, gatewaySite(up, "response_timeout 100ms"))
		globex := newClient(c, "globex", "ann")
		a := globex.complete(newQuestion("fast"))
		a.wantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
		wantFailure(t, globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi", Stream: new(false)}), http.StatusGatewayTimeout, "ai_timeout")
	})
	t.Run("nothing more within stall_timeout", func(t *testing.T) {
		up := newFakeProvider(t, sendsAndStalls(role, content("Hello")))
		c := startCaddy(t, gatewayTenants, gatewaySite(up, "stall_timeout 100ms"))
		globex := newClient(c, "globex", "ann")
		a := globex.complete(newQuestion("fast").withUsage())
		a.wantCut(t, "Hello", "ai_timeout")
		session := newSession()
		wantCutTurn(t, globex, session, globex.say(session, "hi"), "Hello", "ai_timeout")
	})
}

// TestUpstreamStatus goes through the statuses of a provider, and what a
// client gets for each.
func TestUpstreamStatus(t *testing.T) {
	up := newFakeProvider(t, silent)
	c := startCaddy(t, gatewayTenants, gatewaySite(up, "passthrough"))
	globex := newClient(c, "globex", "ann")

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
		{"401", "fast", document(401, failure("invalid_api_key")), aiError},
		{"403", "fast", document(403, failure("permission_denied")), aiError},
		{"404", "fast", document(404, failure("model_not_found")), aiError},
		{"404 of a passthrough name", "openai/up-7", document(404, failure("model_not_found")), want{http.StatusNotFound, "model_unknown", ""}},
		{"429 with Retry-After", "fast", document(429, failure("rate_limit_exceeded"), "Retry-After", "7"), limited("7")},
		{"429 with Retry-After in milliseconds", "fast", document(429, failure("rate_limit_exceeded"), "Retry-After-Ms", "1500"), limited("2")},
		{"429 without Retry-After", "fast", document(429, failure("rate_limit_exceeded")), limited("1")},
		{"400 content filter", "fast", document(400, failure("content_filter")), filtered},
		{"400 content policy", "fast", document(400, failure("content_policy_violation")), filtered},
		{"400", "fast", document(400, failure("bad_value")), invalid},
		{"400 context length", "fast", document(400, failure("context_length_exceeded")), invalid},
		{"402", "fast", document(402, failure("payment")), invalid},
		{"413", "fast", document(413, failure("too_large")), invalid},
		{"422", "fast", document(422, failure("bad_value")), invalid},
		{"408", "fast", document(408, failure("slow")), aiError},
		{"409", "fast", document(409, failure("conflict")), aiError},
		{"500", "fast", document(500, failure("server_error")), aiError},
		{"502", "fast", document(502, failure("server_error")), aiError},
		{"503", "fast", document(503, "upstream-words", "Content-Type", "text/html"), aiError},
		{"504", "fast", document(504, failure("server_error")), aiError},
		{"redirect", "fast", document(307, "upstream-words", "Location", up.url+"/elsewhere"), aiError},
		{"200 that is no JSON", "fast", document(200, "<p>upstream-words</p>", "Content-Type", "text/html"), aiError},
		{"200 that is no completion", "fast", document(200, `{"upstream-words":1}`), aiError},
		{"200 with an error", "fast", document(200, failure("server_error")), aiError},
		{"connection reset", "fast", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, aiError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up.answers(tc.answer)
			for _, stream := range []bool{false, true} {
				q := newQuestion(tc.model)
				q.Stream = stream
				a := globex.complete(q)
				a.wantRefused(t, tc.want.status, tc.want.code)
				resp := globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi", ModelID: tc.model, Stream: &stream})
				f := wantFailure(t, resp, tc.want.status, tc.want.code)
				for _, h := range []http.Header{a.header, resp.Header} {
					if got := h.Get("Retry-After"); got != tc.want.retryAfter {
						t.Errorf("Retry-After %q, want %q", got, tc.want.retryAfter)
					}
				}
				for _, told := range []string{a.error, f.Error.Message} {
					wantReason(t, told, tc.want == invalid)
				}
			}
		})
	}

	t.Run("refused connection", func(t *testing.T) {
		gone := &fakeProvider{url: "http://127.0.0.1:" + strconv.Itoa(freePort(t)) + "/v1"}
		c := startCaddy(t, gatewayTenants, gatewaySite(gone))
		globex := newClient(c, "globex", "ann")
		for _, stream := range []bool{false, true} {
			q := newQuestion("fast")
			q.Stream = stream
			a := globex.complete(q)
			a.wantRefused(t, http.StatusBadGateway, "ai_error")
			wantFailure(t, globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi", Stream: &stream}), http.StatusBadGateway, "ai_error")
			if strings.Contains(a.error, "127.0.0.1") {
				t.Errorf("the provider's address reaches the client: %s", a.error)
			}
		}
	})
}

// wantReason checks whether a message passes the provider's reason on, which
// it never does with what looks like a key or an address.
func wantReason(t testing.TB, told string, passedOn bool) {
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
