package ops

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// collector receives spans as an OpenTelemetry collector does, by OTLP over HTTP.
type collector struct {
	t   testing.TB
	url string // of the server

	mu    sync.Mutex
	spans []*tracepb.Span
}

// newCollector starts a collector. Start it before Caddy, so that Caddy stops first
// and sends its last spans.
func newCollector(t testing.TB) *collector {
	t.Helper()
	c := &collector{t: t}
	c.url = harness.NewUpstream(t, c.receive).Origin()
	return c
}

// env makes Caddy's tracing send spans here without delay.
func (c *collector) env() []string {
	return []string{
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_TRACES_SAMPLER=parentbased_always_on", "OTEL_PROPAGATORS=tracecontext,baggage", "OTEL_BSP_SCHEDULE_DELAY=10",
	}
}

// receive stores the spans of an export request.
func (c *collector) receive(call *harness.Call) {
	// an export request has the same shape
	var data tracepb.TracesData
	if err := proto.Unmarshal([]byte(call.Body), &data); err != nil || call.Path != "/v1/traces" {
		c.t.Errorf("%s got a body without spans: %v", call.Path, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range data.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
	harness.Heads("Content-Type", "application/x-protobuf")(call)
}

// traced is a request and its model calls.
type traced struct {
	root  *tracepb.Span
	calls []*tracepb.Span // by start
}

// trace waits for the spans of a request by its trace id: its own, which ends last,
// and those of n calls.
func (c *collector) trace(id string, n int) traced {
	c.t.Helper()
	var found traced
	harness.Eventually(c.t, fmt.Sprintf("trace %s has its span and %d calls", id, n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		found = traced{}
		for _, s := range c.spans {
			switch {
			case hex.EncodeToString(s.GetTraceId()) != id:
			case s.GetKind() == tracepb.Span_SPAN_KIND_SERVER:
				found.root = s
			default:
				found.calls = append(found.calls, s)
			}
		}
		return found.root != nil && len(found.calls) >= n
	})
	if len(found.calls) != n {
		c.t.Fatalf("%d calls, want %d: %v", len(found.calls), n, found.calls)
	}
	slices.SortFunc(found.calls, func(a, b *tracepb.Span) int {
		return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano())
	})
	return found
}

// attributes returns a span's attributes as Go values.
func attributes(s *tracepb.Span) map[string]any {
	m := make(map[string]any)
	for _, kv := range s.GetAttributes() {
		m[kv.GetKey()] = plain(kv.GetValue())
	}
	return m
}

func plain(v *commonpb.AnyValue) any {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return int(v.IntValue)
	case *commonpb.AnyValue_ArrayValue:
		var list []string
		for _, e := range v.ArrayValue.GetValues() {
			list = append(list, e.GetStringValue())
		}
		return list
	default:
		return v
	}
}

// wantCall checks a call's span: its parent, name, attributes and status.
func wantCall(t testing.TB, tr traced, n int, want map[string]any) {
	t.Helper()
	s := tr.calls[n]
	if !slices.Equal(s.GetParentSpanId(), tr.root.GetSpanId()) || s.GetKind() != tracepb.Span_SPAN_KIND_CLIENT {
		t.Errorf("call %d is a %v, want a client span and child of the request", n, s.GetKind())
	}
	if name := fmt.Sprintf("%s %s", want["gen_ai.operation.name"], want["gen_ai.request.model"]); s.GetName() != name {
		t.Errorf("call %d is named %q, want %q", n, s.GetName(), name)
	}
	if got := attributes(s); !reflect.DeepEqual(got, want) {
		t.Errorf("call %d has the attributes\n%v, want\n%v", n, got, want)
	}
	status, message := tracepb.Status_STATUS_CODE_UNSET, ""
	if kind, failed := want["error.type"]; failed {
		status, message = tracepb.Status_STATUS_CODE_ERROR, kind.(string)
	}
	if got := s.GetStatus(); got.GetCode() != status || got.GetMessage() != message {
		t.Errorf("call %d has the status %v, want %v %s", n, got, status, message)
	}
	if len(s.GetEvents()) > 0 || len(s.GetLinks()) > 0 {
		t.Errorf("call %d has events or links: %v", n, s)
	}
}

// callOf returns the attributes of a successful call, with some replaced.
func callOf(system, model string, others map[string]any) map[string]any {
	m := map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": system, "gen_ai.request.model": model,
		"gen_ai.response.model": "up-1", "gen_ai.response.finish_reasons": []string{"stop"},
		"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3,
	}
	maps.Copy(m, others)
	return m
}

// failedCallOf returns the attributes of a failed call.
func failedCallOf(system, model, kind string) map[string]any {
	return map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": system, "gen_ai.request.model": model, "error.type": kind,
	}
}

// tracedSite is a gateway with Caddy's tracing and a model with two targets.
func tracedSite(down, up *harness.Upstream, options string) string {
	return fmt.Sprintf(`
	tracing
	tenant_resolve
	chat_session
	ai_gateway {
		provider claude anthropic {
			base_url %s
			api_key Zq9SeedFirstKey
		}
		provider openai {
			base_url %s
			api_key Zq9SeedSecondKey
		}
		model fast {
			to openai/up-fast
		}
		model steady {
			to claude/up-down
			to openai/up-steady
		}
		retries 0
		circuit_breaker off
		%s
	}
`, down.URL, up.URL, options)
}

func TestTracing(t *testing.T) {
	t.Parallel()
	spans := newCollector(t)
	down, up := harness.NewUpstream(t, harness.Stalls), harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, tracedSite(down, up, ""), spans.env()...)
	globex := harness.NewClient(c, "globex", "ann")
	whole, stream := harness.Document(http.StatusOK, harness.WholeAnswer), harness.Sends(harness.Role, harness.Content("Hello"), harness.Finished, harness.Counted, harness.EndMark)

	t.Run("a call is a child of its request", func(t *testing.T) {
		for name, q := range map[string]harness.Question{"whole": harness.NewQuestion("fast"), "streamed": harness.NewQuestion("fast").Streamed()} {
			up.Plays(whole)
			if q.Stream {
				up.Plays(stream)
			}
			a := globex.Complete(q)
			if a.Status != http.StatusOK {
				t.Fatalf("%s: status %d", name, a.Status)
			}
			wantCall(t, spans.trace(a.Header.Get("X-Trace-Id"), 1), 0, callOf("openai", "up-fast", nil))
		}
	})
	t.Run("a call under /chat names the conversation", func(t *testing.T) {
		for _, streamed := range []bool{true, false} {
			up.Plays(whole)
			if streamed {
				up.Plays(stream)
			}
			session := harness.NewSession()
			resp := globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi", Stream: &streamed})
			harness.ReadAll(t, resp)
			wantCall(t, spans.trace(resp.Header.Get("X-Trace-Id"), 1), 0,
				callOf("openai", "up-fast", map[string]any{"gen_ai.conversation.id": session}))
		}
	})
	t.Run("a failed attempt has a span of its own", func(t *testing.T) {
		up.Plays(stream)
		for _, tc := range []struct {
			kind   string
			answer harness.Script
		}{
			{"error", harness.Document(http.StatusInternalServerError, "{}")},
			{"error", harness.Document(http.StatusUnauthorized, "{}")},
			{"error", harness.Sends()},
			{"rate_limited", harness.Document(http.StatusTooManyRequests, "{}")},
		} {
			down.Plays(tc.answer)
			a := globex.Complete(harness.NewQuestion("steady").Streamed())
			a.WantWhole(t, "Hello")
			tr := spans.trace(a.Header.Get("X-Trace-Id"), 2)
			wantCall(t, tr, 0, failedCallOf("anthropic", "up-down", tc.kind))
			wantCall(t, tr, 1, callOf("openai", "up-steady", nil))
		}
	})
	t.Run("each attempt has a span when all fail", func(t *testing.T) {
		down.Plays(harness.Document(http.StatusServiceUnavailable, "{}"))
		up.Plays(harness.Document(http.StatusTooManyRequests, "{}"))
		a := globex.Complete(harness.NewQuestion("steady"))
		a.WantRefused(t, http.StatusTooManyRequests, "provider_rate_limited")
		tr := spans.trace(a.Header.Get("X-Trace-Id"), 2)
		wantCall(t, tr, 0, failedCallOf("anthropic", "up-down", "error"))
		wantCall(t, tr, 1, failedCallOf("openai", "up-steady", "rate_limited"))
	})
	t.Run("a cut stream and its rescue have two spans", func(t *testing.T) {
		up.Plays(harness.Sends(harness.Role, harness.Content("Hel")), harness.Sends(harness.Content("Hello"), harness.Finished, harness.Counted, harness.EndMark))
		a := globex.Complete(harness.NewQuestion("fast").Streamed())
		a.WantWhole(t, "Hello")
		tr := spans.trace(a.Header.Get("X-Trace-Id"), 2)
		cut := callOf("openai", "up-fast", map[string]any{"error.type": "error", "gen_ai.usage.output_tokens": 1})
		cut["gen_ai.usage.input_tokens"] = attributes(tr.calls[0])["gen_ai.usage.input_tokens"] // an estimate
		delete(cut, "gen_ai.response.finish_reasons")
		wantCall(t, tr, 0, cut)
		wantCall(t, tr, 1, callOf("openai", "up-fast", nil))
	})
	t.Run("embeddings have no output tokens", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusOK, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"up-1","usage":{"prompt_tokens":7,"total_tokens":7}}`))
		resp := globex.Do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":"hi"}`)
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", resp.StatusCode, text)
		}
		want := callOf("openai", "up-fast", map[string]any{"gen_ai.operation.name": "embeddings"})
		delete(want, "gen_ai.usage.output_tokens")
		delete(want, "gen_ai.response.finish_reasons")
		wantCall(t, spans.trace(resp.Header.Get("X-Trace-Id"), 1), 0, want)
	})
	t.Run("a request without a model call has no call span", func(t *testing.T) {
		up.Plays(whole)
		const key = "Idempotency-Key"
		first, again := globex.Complete(harness.NewQuestion("fast"), key, "k-1"), globex.Complete(harness.NewQuestion("fast"), key, "k-1")
		wantCall(t, spans.trace(first.Header.Get("X-Trace-Id"), 1), 0, callOf("openai", "up-fast", nil))
		spans.trace(again.Header.Get("X-Trace-Id"), 0)
		refused := globex.Complete(harness.NewQuestion("unknown"))
		spans.trace(refused.Header.Get("X-Trace-Id"), 0)
	})
	t.Run("the client's trace is continued", func(t *testing.T) {
		up.Plays(whole)
		const id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
		a := globex.Complete(harness.NewQuestion("fast"), "Traceparent", "00-"+id+"-"+parent+"-01", "X-Trace-Id", "another")
		if got := a.Header.Get("X-Trace-Id"); got != id {
			t.Fatalf("X-Trace-Id %q, want %q", got, id)
		}
		tr := spans.trace(id, 1)
		wantCall(t, tr, 0, callOf("openai", "up-fast", nil))
		if got := hex.EncodeToString(tr.root.GetParentSpanId()); got != parent {
			t.Errorf("the request's parent is %s, want %s", got, parent)
		}
		if entry := up.Last().Header; entry.Get("X-Request-Id") != id || entry.Get("Traceparent") != "" {
			t.Errorf("the provider got X-Request-Id %q, traceparent %q", entry.Get("X-Request-Id"), entry.Get("Traceparent"))
		}
	})
	t.Run("an unsampled traceparent sends no span", func(t *testing.T) {
		const id = "5bf92f3577b34da6a3ce929d0e0e4736"
		a := globex.Complete(harness.NewQuestion("fast"), "Traceparent", "00-"+id+"-00f067aa0ba902b7-00")
		traced := globex.Complete(harness.NewQuestion("fast"))
		spans.trace(traced.Header.Get("X-Trace-Id"), 1)
		if got := a.Header.Get("X-Trace-Id"); a.Status != http.StatusOK || got != id {
			t.Errorf("status %d, X-Trace-Id %q", a.Status, got)
		}
		spans.mu.Lock()
		defer spans.mu.Unlock()
		for _, s := range spans.spans {
			if hex.EncodeToString(s.GetTraceId()) == id {
				t.Errorf("a span was sent: %v", s)
			}
		}
	})
	t.Run("a client that leaves is not an error", func(t *testing.T) {
		up.Plays(harness.Steps(harness.Sends(harness.Role, harness.Content("Hello")), harness.Stalls))
		resp := globex.Do(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").Streamed())
		resp.Body.Close()
		tr := spans.trace(resp.Header.Get("X-Trace-Id"), 1)
		want := callOf("openai", "up-fast", map[string]any{"gen_ai.usage.output_tokens": 2})
		want["gen_ai.usage.input_tokens"] = attributes(tr.calls[0])["gen_ai.usage.input_tokens"] // an estimate
		delete(want, "gen_ai.response.finish_reasons")
		wantCall(t, tr, 0, want)
	})
}

func TestTracingTimeout(t *testing.T) {
	t.Parallel()
	spans := newCollector(t)
	down, up := harness.NewUpstream(t, harness.Stalls), harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeAnswer))
	c := harness.Start(t, harness.GatewayTenants, tracedSite(down, up, "response_timeout 100ms"), spans.env()...)
	a := harness.NewClient(c, "globex", "ann").Complete(harness.NewQuestion("steady"))
	tr := spans.trace(a.Header.Get("X-Trace-Id"), 2)
	wantCall(t, tr, 0, failedCallOf("anthropic", "up-down", "timeout"))
	wantCall(t, tr, 1, callOf("openai", "up-steady", nil))
}

// TestTracingSecrets seeds messages and keys everywhere and looks for them in all
// spans. Every secret contains Zq9Seed.
func TestTracingSecrets(t *testing.T) {
	t.Parallel()
	spans := newCollector(t)
	up := harness.NewUpstream(t, harness.Stalls)
	const options = `
	chat {
		tenant keyed {
			model steady
			api_key Zq9SeedTenantKey
			system "Zq9SeedSystem"
			credential openai Zq9SeedCredential
		}
		tenant globex {
			model fast
		}
	}
`
	c := harness.Start(t, options, "\tlog\n"+tracedSite(up, up, ""), spans.env()...)
	sayEverything(t, c, up)
	c.Stop()
	spans.mu.Lock()
	defer spans.mu.Unlock()
	if len(spans.spans) < 40 {
		t.Fatalf("%d spans", len(spans.spans))
	}
	for _, s := range spans.spans {
		if strings.Contains(s.String(), "Zq9Seed") {
			t.Errorf("a secret is in a span: %v", s)
		}
	}
}
