package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// benchTokens is how many chunks the upstream of the benchmarks streams.
const benchTokens = 200

// newFastUpstream speaks OpenAI's API as fast as it can.
func newFastUpstream(b *testing.B) *httptest.Server {
	chunk := `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"
	last := `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
		`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":200,"total_tokens":201}}` + "\n\n" +
		"data: [DONE]\n\n"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), `"stream":true`) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"word"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		for range benchTokens {
			_, _ = io.WriteString(w, chunk)
			_ = rc.Flush()
		}
		_, _ = io.WriteString(w, last)
	}))
	b.Cleanup(srv.Close)
	return srv
}

// BenchmarkAgainstReverseProxy measures each path through the gateway and
// plain reverse_proxy side by side, request by request, so that whatever else
// the machine is doing falls on both. It reports the ratio of the two: 1 is
// as fast as reverse_proxy.
func BenchmarkAgainstReverseProxy(b *testing.B) {
	upstream := newFastUpstream(b)
	c := harness.Start(b, "", `
		handle_path /plain/* {
			reverse_proxy {$UPSTREAM}
		}
		tenant_resolve
		chat_ratelimit {
			requests 1000000 1m
		}
		chat_session
		ai_gateway {
			provider openai {
				base_url {$UPSTREAM}/v1
			}
			model m {
				to openai/m
			}
		}
	`, "UPSTREAM="+upstream.URL)

	const stream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	const document = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	for _, bc := range []struct {
		name, path  string
		body, plain func() string
	}{
		{"v1_document", "/v1/chat/completions", always(document), always(document)},
		{"v1_stream", "/v1/chat/completions", always(stream), always(stream)},
		{"chat_stream", "/chat", func() string {
			return `{"sessionId":"` + harness.NewSession() + `","message":"hi"}`
		}, always(stream)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			var ours, plain time.Duration
			for b.Loop() {
				plain += timed(b, c.URL+"/plain/v1/chat/completions", bc.plain())
				ours += timed(b, c.URL+bc.path, bc.body())
			}
			b.ReportMetric(ours.Seconds()/plain.Seconds(), "x-reverse_proxy")
		})
	}
}

func always(s string) func() string { return func() string { return s } }

// timed makes one request and returns how long it took.
func timed(b *testing.B, url, body string) time.Duration {
	b.Helper()
	begun := time.Now()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	took := time.Since(begun)
	if err != nil || resp.StatusCode != http.StatusOK || n == 0 {
		b.Fatalf("status %d, %d bytes, %v", resp.StatusCode, n, err)
	}
	return took
}
