package gateway

import (
	"bufio"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestAnswerHeaders(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, strings.Replace(harness.GatewaySite(up), "\tchat_session", "\tchat_ratelimit\n\tchat_session", 1))
	globex := harness.NewClient(c, "globex", "ann")
	always := func(more map[string]string) map[string]string {
		maps.Copy(more, map[string]string{
			"X-Tenant-Id": "globex", "X-Trace-Id": "trace-1", "X-Model-Id": "fast",
			"X-RateLimit-Limit": "#", "X-RateLimit-Remaining": "#", "X-RateLimit-Reset": "#",
		})
		return more
	}
	whole := harness.Document(http.StatusOK, harness.WholeAnswer)
	stream := harness.Sends(harness.Role, harness.Content("Hello"), harness.Finished, harness.Counted, harness.EndMark)

	t.Run("a stream of /chat", func(t *testing.T) {
		up.Plays(stream)
		for _, modelID := range []string{"", "fast"} {
			resp := globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", ModelID: modelID}, "X-Trace-Id", "trace-1")
			harness.WantHeader(t, resp.Header, always(map[string]string{
				"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Tokens-In": "#",
			}))
			harness.ReadEvents(t, resp).Rest()
		}
	})
	t.Run("a document of /chat", func(t *testing.T) {
		up.Plays(whole)
		resp := globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: new(false)}, "X-Trace-Id", "trace-1")
		harness.ReadAll(t, resp)
		harness.WantHeader(t, resp.Header, always(map[string]string{
			"Content-Type": "application/json", "X-Tokens-In": "7", "X-Tokens-Out": "3", "X-Tokens-Total": "10", "X-Ai-Latency-Ms": "#",
		}))
	})
	for name, q := range map[string]harness.Question{"a stream": harness.NewQuestion("").Streamed(), "a document": harness.NewQuestion("fast")} {
		t.Run(name+" of /v1", func(t *testing.T) {
			up.Plays(whole)
			typ := map[string]string{"Content-Type": "application/json"}
			if q.Stream {
				up.Plays(stream)
				typ = map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
			}
			a := globex.Complete(q, "X-Trace-Id", "trace-1")
			harness.WantHeader(t, a.Header, always(typ))
			harness.WantHeader(t, a.Header, map[string]string{
				"X-Ai-Provider": "openai", "X-Ai-Attempts": "1", "X-Ai-Fallback": "", "X-Request-Id": "trace-1",
				"X-Ratelimit-Limit-Requests": "#", "X-Ratelimit-Remaining-Requests": "#", "X-Ratelimit-Reset-Requests": "*",
			})
			for _, frame := range a.Frames {
				if frame != "[DONE]" && !strings.Contains(frame, `"model":"up-1"`) {
					t.Errorf("not the upstream's model: %s", frame)
				}
			}
		})
	}
	t.Run("an error", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusInternalServerError, "{}"))
		a := globex.Complete(harness.NewQuestion("fast"), "X-Trace-Id", "trace-1")
		harness.WantHeader(t, a.Header, map[string]string{"X-Trace-Id": "trace-1", "X-Tenant-Id": "globex", "X-RateLimit-Limit": "#"})
	})
}

// TestKeepAliveWithUpstream has an upstream that is silent until the client has
// read keep-alives.
func TestKeepAliveWithUpstream(t *testing.T) {
	t.Parallel()
	// Without a model in the request, the gateway chooses one. It has until the
	// first keep-alive to set X-Model-Id.
	for modelID, interval := range map[string]string{"fast": "20ms", "": "1s"} {
		t.Run("model "+strconv.Quote(modelID), func(t *testing.T) {
			up := harness.NewUpstream(t)
			c := harness.Start(t, harness.GatewayTenants, keptAlive(up, interval))
			globex := harness.NewClient(c, "globex", "ann")
			session := harness.NewSession()

			// the answer begins before there is a token
			a := globex.Start(globex.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi", ModelID: modelID}, "X-Trace-Id", "trace-1"))
			call := up.Call()
			call.Do(harness.HeaderOnly)
			resp := a.Answer()
			defer resp.Body.Close()
			harness.WantHeader(t, resp.Header, map[string]string{
				"Content-Type": "text/event-stream", "X-Tenant-Id": "globex", "X-Trace-Id": "trace-1", "X-Model-Id": "fast", "X-Tokens-In": "#",
			})
			lines := bufio.NewScanner(resp.Body)
			wantComments(t, lines)
			call.Send(harness.Content("Hello"))
			wantLine(t, lines, `"content":"Hello"`)
			wantComments(t, lines)
			call.End(harness.Sends(harness.Finished, harness.EndMark))
			wantLine(t, lines, `"finishReason":"stop"`)
			if msgs := globex.History(session); len(msgs) != 2 || msgs[1].Content != "Hello" || msgs[1].Status != "complete" {
				t.Errorf("stored %+v", msgs)
			}
		})
	}

	t.Run("a failure after a comment is an event", func(t *testing.T) {
		up := harness.NewUpstream(t)
		c := harness.Start(t, harness.GatewayTenants, keptAlive(up, "20ms"))
		pending := harness.NewClient(c, "globex", "ann").Ask(harness.NewSession(), "hi")
		call := up.Call()
		call.Do(harness.HeaderOnly)
		stream := pending.Events()
		call.Cut()
		if a := stream.Rest(); a.Text != "" || a.Failed == nil || a.Failed.Code != "ai_error" || a.Done == nil || a.Done.FinishReason != "error" {
			t.Errorf("%+v", a)
		}
	})
}

func keptAlive(f *harness.Upstream, interval string) string {
	return strings.Replace(harness.GatewaySite(f), "\tchat_session", "\tchat_session {\n\t\tkeep_alive "+interval+"\n\t}", 1)
}

// wantComments reads two comments and nothing else.
func wantComments(t testing.TB, lines *bufio.Scanner) {
	t.Helper()
	for n := 0; n < 2 && lines.Scan(); {
		switch lines.Text() {
		case ": keep-alive":
			n++
		case "":
		default:
			t.Fatalf("got %q, want a comment", lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// wantLine reads up to a line that contains text, skipping comments.
func wantLine(t testing.TB, lines *bufio.Scanner, text string) {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			lines.Scan() // the blank line that ends the event
			return
		}
	}
	t.Fatalf("the stream ended before %s: %v", text, lines.Err())
}
