package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

func provision(t *testing.T, u *Upstream) error {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return u.Provision(ctx, "https://api.example.com/v1")
}

// serve starts a server and returns an Upstream whose base URL it is.
func serve(t *testing.T, h http.HandlerFunc) *Upstream {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	u := &Upstream{BaseURL: srv.URL}
	if err := provision(t, u); err != nil {
		t.Fatal(err)
	}
	return u
}

func do(ctx context.Context, u *Upstream) (*http.Response, error) {
	req, err := u.NewRequest(ctx, new(provider.Request), "/x", []byte("{}"), false)
	if err != nil {
		return nil, err
	}
	return u.Do(req)
}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   provider.Reason
	}{
		{"invalid", 400, `{"error":{"message":"no","code":"unsupported_value"}}`, provider.ReasonInvalid},
		{"not JSON", 400, `<html>`, provider.ReasonInvalid},
		{"context length by code", 400, `{"error":{"code":"context_length_exceeded","message":"x"}}`, provider.ReasonContextLength},
		{"context length by message", 400, `{"error":{"message":"This endpoint's maximum context length is 200000 tokens."}}`, provider.ReasonContextLength},
		{"context length of anthropic", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 3 tokens > 2 maximum"}}`, provider.ReasonContextLength},
		{"context length of vllm", 400, `{"object":"error","message":"This model's maximum context length is 2 tokens.","type":"BadRequestError","code":400}`, provider.ReasonContextLength},
		{"context length of anthropic with the answer's limit", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"input length and ` + "`max_tokens`" + ` exceed context limit: 188240 + 21333 > 200000, decrease input length or ` + "`max_tokens`" + ` and try again"}}`, provider.ReasonContextLength},
		{"credit of anthropic", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`, provider.ReasonCredentials},
		{"billing of anthropic", 402, `{"type":"error","error":{"type":"billing_error","message":"There's an issue with your billing."}}`, provider.ReasonCredentials},
		{"anthropic overloaded", 529, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, provider.ReasonUnavailable},
		{"anthropic request too large", 413, `{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum allowed number of bytes."}}`, provider.ReasonContextLength},
		{"context length inside", 400, `{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"prompt is too long\"}}"}}}`, provider.ReasonContextLength},
		{"request too large for the model", 413, `{"error":{"message":"Request too large for model x on tokens per minute","code":"rate_limit_exceeded"}}`, provider.ReasonContextLength},
		{"too large", 413, `Entity Too Large`, provider.ReasonInvalid},
		{"content filter", 400, `{"error":{"code":"content_filter","message":"x"}}`, provider.ReasonContentFiltered},
		{"content policy", 400, `{"error":{"type":"image_generation_user_error","code":"content_policy_violation"}}`, provider.ReasonContentFiltered},
		{"responsible ai", 400, `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy."}}`, provider.ReasonContentFiltered},
		{"responsible ai by its inner code", 400, `{"error":{"code":"400","message":"x","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}`, provider.ReasonContentFiltered},
		{"guardrails of cloudflare", 424, `{"success":false,"error":[{"code":2016,"message":"Prompt blocked due to security configurations"}]}`, provider.ReasonContentFiltered},
		{"key", 401, `{"detail":"Invalid API Key"}`, provider.ReasonCredentials},
		{"key of Google", 400, `{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}`, provider.ReasonCredentials},
		{"context length of Google", 400, `[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]`, provider.ReasonContextLength},
		{"payment", 402, `{"error":{"message":"Insufficient Balance"}}`, provider.ReasonInvalid},
		{"forbidden", 403, ``, provider.ReasonCredentials},
		{"model", 404, `{"error":{"code":"model_not_found"}}`, provider.ReasonModel},
		{"method", 405, ``, provider.ReasonInvalid},
		{"timeout", 408, ``, provider.ReasonUnavailable},
		{"conflict", 409, ``, provider.ReasonUnavailable},
		{"unprocessable", 422, `{"detail":[{"loc":["body"],"msg":"field required"}]}`, provider.ReasonInvalid},
		{"rate", 429, `{"error":{"code":"rate_limit_exceeded"}}`, provider.ReasonRateLimited},
		{"quota", 429, `{"error":{"code":"insufficient_quota"}}`, provider.ReasonRateLimited},
		{"server", 500, ``, provider.ReasonUnavailable},
		{"gateway", 502, `<html>`, provider.ReasonUnavailable},
		{"unavailable", 503, ``, provider.ReasonUnavailable},
		{"overloaded", 529, ``, provider.ReasonUnavailable},
		{"not modified", 304, ``, provider.ReasonBadAnswer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			})
			_, err := do(t.Context(), u)
			perr, ok := errors.AsType[*provider.Error](err)
			if !ok || perr.Reason != tc.want || perr.Status != tc.status {
				t.Errorf("got %v (%+v), want reason %d", err, perr, tc.want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	const inBody = `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}`
	for _, tc := range []struct {
		name, header, body string
		want               time.Duration
	}{
		{"header", "2", `{}`, 2 * time.Second},
		{"body", "", inBody, 34400 * time.Millisecond},
		{"the_header_wins", "2", inBody, 2 * time.Second},
		{"neither", "", `{"error":{"details":[{"retryDelay":"soon"},{"retryDelay":7}]}}`, 0},
		{"not_before_now", "", `{"error":{"details":[{"retryDelay":"-5s"}]}}`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if tc.header != "" {
					w.Header().Set("Retry-After", tc.header)
				}
				w.WriteHeader(http.StatusTooManyRequests)
				io.WriteString(w, tc.body)
			})
			_, err := do(t.Context(), u)
			perr, ok := errors.AsType[*provider.Error](err)
			if !ok || perr.Reason != provider.ReasonRateLimited || perr.RetryAfter != tc.want {
				t.Errorf("got %+v, want to wait %v", perr, tc.want)
			}
		})
	}
}

func TestBeforeRead(t *testing.T) {
	var calls, atServer atomic.Int32
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		atServer.Store(calls.Load())
		io.WriteString(w, "hi")
	})
	preq := &provider.Request{BeforeRead: func() { calls.Add(1) }}
	req, err := u.NewRequest(t.Context(), preq, "/x", []byte("{}"), true)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := u.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if atServer.Load() != 1 {
		t.Errorf("%d calls before the header came, want 1", atServer.Load())
	}
	before := calls.Load()
	if n, err := resp.Body.Read(make([]byte, 8)); n == 0 || calls.Load() != before+1 {
		t.Errorf("read %d bytes, %v, after %d calls, want 1", n, err, calls.Load()-before)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	calls := 0
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err := do(t.Context(), u)
	perr, ok := errors.AsType[*provider.Error](err)
	if !ok || perr.Reason != provider.ReasonBadAnswer || calls != 1 {
		t.Errorf("got %v after %d calls, want a bad answer after one", err, calls)
	}
}

func TestConnectionRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	u := &Upstream{BaseURL: "http://" + ln.Addr().String()}
	if err := provision(t, u); err != nil {
		t.Fatal(err)
	}
	_, err = do(t.Context(), u)
	perr, ok := errors.AsType[*provider.Error](err)
	if !ok || perr.Reason != provider.ReasonUnavailable || perr.Status != 0 || perr.Err == nil {
		t.Errorf("got %v, want an unavailable provider", err)
	}
}

func TestContextEnds(t *testing.T) {
	cause := errors.New("too slow")
	ctx, cancel := context.WithCancelCause(t.Context())
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // otherwise the server would not see the client leave
		cancel(cause)
		<-r.Context().Done()
	})
	if _, err := do(ctx, u); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestConnectionIsReused(t *testing.T) {
	connections := make(map[string]bool)
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true
		if len(connections) == 1 && r.Header.Get("X-Request-Id") == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Write(bytes.Repeat([]byte("x"), 3000))
	})
	do(t.Context(), u)
	for range 2 {
		req, err := u.NewRequest(t.Context(), &provider.Request{TraceID: "t"}, "/x", nil, true)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := u.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		Drain(resp.Body)
	}
	if len(connections) != 1 {
		t.Errorf("%d connections, want 1", len(connections))
	}
}

func TestMissingKey(t *testing.T) {
	t.Setenv("CHAT_TEST_KEY", "")
	u := &Upstream{APIKey: "{env.CHAT_TEST_KEY}"}
	if err := provision(t, u); err != nil {
		t.Fatalf("a missing secret must not keep the server from starting: %v", err)
	}
	_, err := do(t.Context(), u)
	perr, ok := errors.AsType[*provider.Error](err)
	if !ok || perr.Reason != provider.ReasonCredentials || !strings.Contains(err.Error(), "api_key: {env.CHAT_TEST_KEY} is empty") {
		t.Errorf("got %v, want what is missing", err)
	}
	if key, err := u.Key(&provider.Request{APIKey: "tenant's"}); key != "tenant's" || err != nil {
		t.Errorf("a tenant's own key does not help: %q, %v", key, err)
	}
}

func TestProvision(t *testing.T) {
	t.Setenv("CHAT_TEST_KEY", " secret\n")
	t.Setenv("CHAT_TEST_BASE", "http://127.0.0.1:9/v1/")
	u := &Upstream{
		BaseURL: "{env.CHAT_TEST_BASE}",
		APIKey:  "{env.CHAT_TEST_KEY}",
		Headers: http.Header{"x-key": {"a-{env.CHAT_TEST_BASE}"}, "X-Meta": {`{"a":1}`}},
	}
	if err := provision(t, u); err != nil {
		t.Fatal(err)
	}
	if u.Base() != "http://127.0.0.1:9/v1" || u.key != "secret" {
		t.Errorf("base %q, key %q", u.Base(), u.key)
	}
	if got := u.headers.Get("X-Key"); got != "a-http://127.0.0.1:9/v1/" {
		t.Errorf("header %q", got)
	}
	if got := u.headers.Get("X-Meta"); got != `{"a":1}` {
		t.Errorf("header %q", got)
	}
}

func TestProvisionMistakes(t *testing.T) {
	for _, tc := range []struct {
		name string
		u    Upstream
		err  string
	}{
		{"scheme", Upstream{BaseURL: "ftp://x"}, "want a URL such as"},
		{"relative", Upstream{BaseURL: "/v1"}, "want a URL such as"},
		{"query", Upstream{BaseURL: "https://x/v1?a=b"}, "without a query"},
		{"credentials", Upstream{BaseURL: "https://u:p@x/v1"}, "want api_key"},
		{"empty base", Upstream{BaseURL: "{env.CHAT_TEST_NONE}"}, "base_url: {env.CHAT_TEST_NONE} is empty"},
		{"unknown placeholder", Upstream{APIKey: "{envv.X}"}, "envv.X"},
		{"header name", Upstream{Headers: http.Header{"a b": {"c"}}}, `header "a b"`},
		{"transport", Upstream{TransportRaw: json.RawMessage(`{"protocol":"none"}`)}, "none"},
		{"TLS without https", Upstream{BaseURL: "http://x", TransportRaw: json.RawMessage(`{"protocol":"http","tls":{}}`)}, "want https"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := provision(t, &tc.u); err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

// TestBaseURL checks that the URL of an endpoint is refused, and the right one named.
func TestBaseURL(t *testing.T) {
	for base, want := range map[string]string{
		"https://api.openai.com/v1/chat/completions":                                             "https://api.openai.com/v1",
		"https://api.openai.com/v1/chat/completions//":                                           "https://api.openai.com/v1",
		"https://x.openai.azure.com/openai/v1/chat/completions?api-version=1":                    "https://x.openai.azure.com/openai/v1",
		"https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=1":         "https://x.openai.azure.com",
		"http://127.0.0.1:8000/v1/completions":                                                   "http://127.0.0.1:8000/v1",
		"http://[::1]:8000/v1/embeddings/":                                                       "http://[::1]:8000/v1",
		"https://x.test/v1/responses":                                                            "https://x.test/v1",
		"https://x.test/v1/models":                                                               "https://x.test",
		"https://api.anthropic.com/v1/messages":                                                  "https://api.anthropic.com",
		"https://x.test/a%20b/messages":                                                          "https://x.test/a%20b",
		"http://127.0.0.1:11434/api/chat":                                                        "http://127.0.0.1:11434",
		"http://127.0.0.1:11434/api/generate":                                                    "http://127.0.0.1:11434",
		"https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent": "https://generativelanguage.googleapis.com/v1beta",
		"https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite/converse-stream": "https://bedrock-runtime.us-east-1.amazonaws.com",
	} {
		err := provision(t, &Upstream{BaseURL: base})
		if err == nil || !strings.HasSuffix(err.Error(), ": want "+want) {
			t.Errorf("%s: error %v, want %s", base, err, want)
		}
	}
	for _, base := range []string{
		"https://api.openai.com/v1/", "http://embeddings", "http://messages/", "https://x.test/chat", "https://x.services.ai.azure.com/models",
		"https://x.test/completionsproxy", "https://x.test/messages/v1", "https://gateway.ai.cloudflare.com/v1/a/b/compat",
	} {
		if err := provision(t, &Upstream{BaseURL: base}); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.URL.Path)
	}))
	t.Cleanup(srv.Close)
	for _, tc := range []struct {
		name, transport string
		ok              bool
	}{
		{"unknown authority", `{"protocol":"http"}`, false},
		{"TLS configured", `{"protocol":"http","tls":{"insecure_skip_verify":true}}`, true},
	} {
		u := &Upstream{BaseURL: srv.URL + "/v1", TransportRaw: json.RawMessage(tc.transport)}
		if err := provision(t, u); err != nil {
			t.Fatal(err)
		}
		resp, err := do(t.Context(), u)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}

func TestEnded(t *testing.T) {
	left := errors.New("the client went away")
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(left)
	broken := errors.New("connection reset")
	reported := &provider.Error{Reason: provider.ReasonRateLimited}
	for _, tc := range []struct {
		name     string
		ctx      context.Context
		err      error
		finished bool
		want     error
	}{
		{"finished", t.Context(), io.EOF, true, io.EOF},
		{"broken_after_the_finish", t.Context(), broken, true, io.EOF},
		{"failed_after_the_finish", t.Context(), reported, true, io.EOF},
		{"left_after_the_finish", gone, broken, true, io.EOF},
		{"left", gone, broken, false, left},
		{"left_at_the_end_of_the_body", gone, io.EOF, false, left},
		{"cut", t.Context(), io.EOF, false, provider.ErrCut},
		{"broken", t.Context(), broken, false, provider.ErrCut},
		{"broken_says_why", t.Context(), broken, false, broken},
		{"failed", t.Context(), reported, false, reported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Ended(tc.ctx, tc.err, tc.finished)
			cut := errors.Is(tc.want, provider.ErrCut) || errors.Is(tc.want, broken)
			if !errors.Is(err, tc.want) || !cut && errors.Is(err, provider.ErrCut) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	if e, ok := errors.AsType[*provider.Error](Ended(t.Context(), sse.ErrTooLong, false)); !ok || e.Reason != provider.ReasonBadAnswer || !strings.Contains(e.Error(), "longer than 16 MiB") {
		t.Errorf("an event that is too long is %+v, want a bad answer that names the limit", e)
	}
}
