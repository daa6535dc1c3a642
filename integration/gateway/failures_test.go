package gateway

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestStreamEnd(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	globex := harness.NewClient(c, "globex", "ann")

	t.Run("a finish reason is complete without an end mark", func(t *testing.T) {
		up.Plays(harness.Sends(harness.Role, harness.Content("Hello"), harness.Finished))
		a := globex.Complete(harness.NewQuestion("fast").Streamed())
		a.WantWhole(t, "Hello")
		if got := globex.Say(harness.NewSession(), "hi"); got.Text != "Hello" || got.Failed != nil || got.Done == nil || got.Done.FinishReason != "stop" {
			t.Errorf("/chat: %+v", got)
		}
	})
	t.Run("a finished stream that does not end is ended", func(t *testing.T) {
		held := harness.NewUpstream(t)
		c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(held))
		globex := harness.NewClient(c, "globex", "ann")
		pending := globex.Start(globex.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").WithUsage()))
		call := held.Call()
		call.Send(harness.Role, harness.Content("Hello"), harness.Finished, harness.Counted)
		call.WantGone()
		a := harness.ReadCompletion(t, pending.Answer())
		a.WantWhole(t, "Hello")
		if a.Usage.Get("completion_tokens").Int() != 3 {
			t.Errorf("usage %s", a.Usage.Raw)
		}
	})
	t.Run("an event that is too long is reported with the limit", func(t *testing.T) {
		up.Plays(harness.Sends(harness.Content(strings.Repeat("x", 17<<20))))
		a := globex.Complete(harness.NewQuestion("fast").Streamed())
		a.WantRefused(t, http.StatusBadGateway, "ai_error")
		if !strings.Contains(a.Error, "longer than 16 MiB") {
			t.Errorf("message %q", a.Error)
		}
	})
	t.Run("anything after the end mark is ignored", func(t *testing.T) {
		up.Plays(harness.Sends(harness.Content("Hello"), harness.Finished, harness.EndMark, harness.Content(" again")))
		a := globex.Complete(harness.NewQuestion("fast").Streamed())
		a.WantWhole(t, "Hello")
	})

	for name, answer := range map[string]harness.Script{
		"an end without either is cut":  harness.Sends(harness.Role, harness.Content("Hel"), harness.Content("lo")),
		"a broken connection is cut":    harness.Steps(harness.Sends(harness.Role, harness.Content("Hel"), harness.Content("lo")), harness.TornOff),
		"an end within an event is cut": harness.Sends(harness.Content("Hel"), harness.Content("lo"), harness.Content(" there")[:30]),
		"an error in the stream is cut": harness.Sends(harness.Content("Hel"), harness.Content("lo"), "data: {\"error\":{\"message\":\"upstream-words\",\"code\":500}}\n\n"),
		"an error event is a cut":       harness.Sends(harness.Content("Hello"), "event: error\ndata: {\"message\":\"upstream-words\"}\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			up.Plays(answer)
			a := globex.Complete(harness.NewQuestion("fast").WithUsage())
			a.WantCut(t, "Hello", "ai_error")
			session := harness.NewSession()
			got := globex.Say(session, "hi")
			harness.WantCutTurn(t, globex, session, got, "Hello", "ai_error")
			if all := fmt.Sprint(a.Frames, got.Failed); strings.Contains(all, "upstream-words") {
				t.Errorf("the provider's message reached the client: %s", all)
			}
		})
	}
	t.Run("an end before any content is an error with a status", func(t *testing.T) {
		for _, answer := range []harness.Script{harness.Sends(), harness.Sends(harness.Role), harness.Sends(harness.Role, ": comment\n\n")} {
			up.Plays(answer)
			a := globex.Complete(harness.NewQuestion("fast").Streamed())
			a.WantRefused(t, http.StatusBadGateway, "ai_error")
			harness.WantFailure(t, globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"}), http.StatusBadGateway, "ai_error")
		}
	})
	t.Run("chunks that are not JSON are skipped and counted", func(t *testing.T) {
		const skipped = `caddy_ai_skipped_chunks_total{provider="openai"}`
		before := c.Metrics()[skipped]
		up.Plays(harness.Sends(harness.Content("Hel"), "data: [1]\n\n", "data: garbage\n\n", harness.Content("lo"), harness.Finished, harness.EndMark))
		a := globex.Complete(harness.NewQuestion("fast").Streamed())
		a.WantWhole(t, "Hello")
		if got := c.Metrics()[skipped] - before; got != 2 {
			t.Errorf("%v skipped chunks were counted, want 2", got)
		}
	})
}

// TestSilence has short timeouts and upstreams that stay silent.
func TestSilence(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, option string
		answer       harness.Script
	}{
		{"no header within response_timeout", "response_timeout 100ms", harness.Stalls},
		{"no token within first_token_timeout", "first_token_timeout 100ms", harness.Steps(harness.Sends(), harness.Stalls)},
		{"only the role within first_token_timeout", "first_token_timeout 100ms", harness.Steps(harness.Sends(harness.Role, harness.Role), harness.Stalls)},
		{"only comments within first_token_timeout", "first_token_timeout 100ms", harness.Steps(harness.Sends(": comment\n\n"), harness.Stalls)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := harness.NewUpstream(t, tc.answer)
			c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, tc.option))
			globex := harness.NewClient(c, "globex", "ann")
			a := globex.Complete(harness.NewQuestion("fast").Streamed())
			a.WantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
			harness.WantFailure(t, globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"}), http.StatusGatewayTimeout, "ai_timeout")
			if got := c.Metrics()[`caddy_ai_attempts_total{model="fast",provider="openai",result="timeout"}`]; got != 2 {
				t.Errorf("%v attempts timed out, want 2", got)
			}
		})
	}
	t.Run("no complete document within response_timeout", func(t *testing.T) {
		up := harness.NewUpstream(t, harness.Stalls)
		c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "response_timeout 100ms"))
		globex := harness.NewClient(c, "globex", "ann")
		a := globex.Complete(harness.NewQuestion("fast"))
		a.WantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
		harness.WantFailure(t, globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: new(false)}), http.StatusGatewayTimeout, "ai_timeout")
	})
	t.Run("no further token within stall_timeout", func(t *testing.T) {
		up := harness.NewUpstream(t, harness.Steps(harness.Sends(harness.Role, harness.Content("Hello")), harness.Stalls))
		c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "stall_timeout 100ms"))
		globex := harness.NewClient(c, "globex", "ann")
		a := globex.Complete(harness.NewQuestion("fast").WithUsage())
		a.WantCut(t, "Hello", "ai_timeout")
		session := harness.NewSession()
		harness.WantCutTurn(t, globex, session, globex.Say(session, "hi"), "Hello", "ai_timeout")
	})
}

// TestUpstreamStatus checks what a client gets for each status of a provider.
func TestUpstreamStatus(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "passthrough"))
	globex := harness.NewClient(c, "globex", "ann")

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
	// under /v1 a refusal has the provider's code
	said := map[string]string{"400": "bad_value", "400 context length": "context_length_exceeded", "402": "payment", "413": "too_large", "422": "bad_value"}
	filtered := want{http.StatusBadRequest, "content_filtered", ""}
	limited := func(after string) want { return want{http.StatusTooManyRequests, "provider_rate_limited", after} }

	for _, tc := range []struct {
		name, model string
		answer      harness.Script
		want        want
	}{
		{"401", "fast", harness.Document(401, failure("invalid_api_key")), aiError},
		{"403", "fast", harness.Document(403, failure("permission_denied")), aiError},
		{"404", "fast", harness.Document(404, failure("model_not_found")), aiError},
		{"404 of a passthrough name", "openai/up-7", harness.Document(404, failure("model_not_found")), want{http.StatusNotFound, "model_unknown", ""}},
		{"429 with Retry-After", "fast", harness.Document(429, failure("rate_limit_exceeded"), "Retry-After", "7"), limited("7")},
		{"429 with Retry-After in milliseconds", "fast", harness.Document(429, failure("rate_limit_exceeded"), "Retry-After-Ms", "1500"), limited("2")},
		{"429 without Retry-After", "fast", harness.Document(429, failure("rate_limit_exceeded")), limited("1")},
		{"400 content filter", "fast", harness.Document(400, failure("content_filter")), filtered},
		{"400 content policy", "fast", harness.Document(400, failure("content_policy_violation")), filtered},
		{"400", "fast", harness.Document(400, failure("bad_value")), invalid},
		{"400 context length", "fast", harness.Document(400, failure("context_length_exceeded")), invalid},
		{"402", "fast", harness.Document(402, failure("payment")), invalid},
		{"413", "fast", harness.Document(413, failure("too_large")), invalid},
		{"422", "fast", harness.Document(422, failure("bad_value")), invalid},
		{"408", "fast", harness.Document(408, failure("slow")), aiError},
		{"409", "fast", harness.Document(409, failure("conflict")), aiError},
		{"500", "fast", harness.Document(500, failure("server_error")), aiError},
		{"502", "fast", harness.Document(502, failure("server_error")), aiError},
		{"503", "fast", harness.Document(503, "upstream-words", "Content-Type", "text/html"), aiError},
		{"504", "fast", harness.Document(504, failure("server_error")), aiError},
		{"redirect", "fast", harness.Document(307, "upstream-words", "Location", up.URL+"/elsewhere"), aiError},
		{"200 that is not JSON", "fast", harness.Document(200, "<p>upstream-words</p>", "Content-Type", "text/html"), aiError},
		{"200 that is not a completion", "fast", harness.Document(200, `{"upstream-words":1}`), aiError},
		{"200 with an error", "fast", harness.Document(200, failure("server_error")), aiError},
		{"connection reset", "fast", harness.TornOff, aiError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up.Plays(tc.answer)
			for _, stream := range []bool{false, true} {
				q := harness.NewQuestion(tc.model)
				q.Stream = stream
				a := globex.Complete(q)
				a.WantRefused(t, tc.want.status, cmp.Or(said[tc.name], tc.want.code))
				resp := globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", ModelID: tc.model, Stream: &stream})
				f := harness.WantFailure(t, resp, tc.want.status, tc.want.code)
				for _, h := range []http.Header{a.Header, resp.Header} {
					if got := h.Get("Retry-After"); got != tc.want.retryAfter {
						t.Errorf("Retry-After %q, want %q", got, tc.want.retryAfter)
					}
				}
				for _, told := range []string{a.Error, f.Error.Message} {
					harness.WantReason(t, told, tc.want == invalid)
				}
			}
		})
	}

	t.Run("refused connection", func(t *testing.T) {
		gone := &harness.Upstream{URL: "http://127.0.0.1:" + strconv.Itoa(harness.FreePort(t)) + "/v1"}
		c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(gone))
		globex := harness.NewClient(c, "globex", "ann")
		for _, stream := range []bool{false, true} {
			q := harness.NewQuestion("fast")
			q.Stream = stream
			a := globex.Complete(q)
			a.WantRefused(t, http.StatusBadGateway, "ai_error")
			harness.WantFailure(t, globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: &stream}), http.StatusBadGateway, "ai_error")
			if strings.Contains(a.Error, "127.0.0.1") {
				t.Errorf("the provider's address reached the client: %s", a.Error)
			}
		}
	})
}
