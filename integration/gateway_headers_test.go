package integration

import (
	"bufio"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// wantHeader checks an answer's headers; "#" stands for a number, "*" for
// anything but nothing, and an empty value for a header that is not there.
func wantHeader(t testing.TB, got http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		values := got.Values(name)
		ok := len(values) == 1 && values[0] == value
		switch value {
		case "":
			ok = len(values) == 0
		case "*":
			ok = len(values) == 1 && values[0] != ""
		case "#":
			if ok = len(values) == 1; ok {
				_, err := strconv.ParseUint(values[0], 10, 64)
				ok = err == nil
			}
		}
		if !ok {
			t.Errorf("%s: %q, want %q", name, values, value)
		}
	}
}

func TestAnswerHeaders(t *testing.T) {
	up := newFakeProvider(t, silent)
	c := startCaddy(t, gatewayTenants, strings.Replace(gatewaySite(up), "\tchat_session", "\tchat_ratelimit\n\tchat_session", 1))
	globex := newClient(c, "globex", "ann")
	always := func(more map[string]string) map[string]string {
		maps.Copy(more, map[string]string{
			"X-Tenant-Id": "globex", "X-Trace-Id": "trace-1", "X-Model-Id": "fast",
			"X-RateLimit-Limit": "#", "X-RateLimit-Remaining": "#", "X-RateLimit-Reset": "#",
		})
		return more
	}
	whole := document(http.StatusOK, wholeAnswer)
	stream := sends(role, content("Hello"), finished, counted, endMark)

	t.Run("a stream of /chat", func(t *testing.T) {
		up.answers(stream)
		for _, modelID := range []string{"", "fast"} {
			resp := globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi", ModelID: modelID}, "X-Trace-Id", "trace-1")
			wantHeader(t, resp.Header, always(map[string]string{
				"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Tokens-In": "#",
			}))
			readEvents(t, resp).rest()
		}
	})
	t.Run("a document of /chat", func(t *testing.T) {
		up.answers(whole)
		resp := globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi", Stream: new(false)}, "X-Trace-Id", "trace-1")
		readAll(t, resp)
		wantHeader(t, resp.Header, always(map[string]string{
			"Content-Type": "application/json", "X-Tokens-In": "7", "X-Tokens-Out": "3", "X-Tokens-Total": "10", "X-Ai-Latency-Ms": "#",
		}))
	})
	for name, q := range map[string]question{"a stream": newQuestion("").streamed(), "a document": newQuestion("fast")} {
		t.Run(name+" of /v1", func(t *testing.T) {
			up.answers(whole)
			typ := map[string]string{"Content-Type": "application/json"}
			if q.Stream {
				up.answers(stream)
				typ = map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
			}
			a := globex.complete(q, "X-Trace-Id", "trace-1")
			wantHeader(t, a.header, always(typ))
			wantHeader(t, a.header, map[string]string{
				"X-Ai-Provider": "openai", "X-Ai-Attempts": "1", "X-Ai-Fallback": "", "X-Request-Id": "trace-1",
				"X-Ratelimit-Limit-Requests": "#", "X-Ratelimit-Remaining-Requests": "#", "X-Ratelimit-Reset-Requests": "*",
			})
			for _, frame := range a.frames {
				if frame != "[DONE]" && !strings.Contains(frame, `"model":"up-1"`) {
					t.Errorf("model is not the upstream's own: %s", frame)
				}
			}
		})
	}
	t.Run("an error", func(t *testing.T) {
		up.answers(document(http.StatusInternalServerError, "{}"))
		a := globex.complete(newQuestion("fast"), "X-Trace-Id", "trace-1")
		wantHeader(t, a.header, map[string]string{"X-Trace-Id": "trace-1", "X-Tenant-Id": "globex", "X-RateLimit-Limit": "#"})
	})
}

// TestKeepAliveWithUpstream has an upstream that is silent until the test has seen the
// comments.
func TestKeepAliveWithUpstream(t *testing.T) {
	t.Parallel()
	// Who asks for no model learns which one it is from the gateway, which has
	// until the first comment to say so.
	for modelID, interval := range map[string]string{"fast": "20ms", "": "1s"} {
		t.Run("model "+strconv.Quote(modelID), func(t *testing.T) {
			g := newGate()
			up := newFakeProvider(t, g.serve)
			c := startCaddy(t, gatewayTenants, keptAlive(up, interval))
			globex := newClient(c, "globex", "ann")
			session := newSession()

			// the answer begins before there is a token
			resp := globex.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "hi", ModelID: modelID}, "X-Trace-Id", "trace-1")
			defer resp.Body.Close()
			wantHeader(t, resp.Header, map[string]string{
				"Content-Type": "text/event-stream", "X-Tenant-Id": "globex", "X-Trace-Id": "trace-1", "X-Model-Id": "fast", "X-Tokens-In": "#",
			})
			lines := bufio.NewScanner(resp.Body)
			wantComments(t, lines)
			g.say(t, content("Hello"))
			wantLine(t, lines, `"content":"Hello"`)
			wantComments(t, lines)
			g.say(t, finished)
			g.say(t, endMark)
			close(g.events)
			wantLine(t, lines, `"finishReason":"stop"`)
			if msgs := globex.history(session); len(msgs) != 2 || msgs[1].Content != "Hello" || msgs[1].Status != "complete" {
				t.Errorf("stored are %+v", msgs)
			}
		})
	}

	t.Run("a failure after a comment is an event", func(t *testing.T) {
		g := newGate()
		up := newFakeProvider(t, g.serve)
		c := startCaddy(t, gatewayTenants, keptAlive(up, "20ms"))
		stream := readEvents(t, newClient(c, "globex", "ann").do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi"}))
		close(g.events)
		if a := stream.rest(); a.text != "" || a.failed == nil || a.failed.Code != "ai_error" || a.done == nil || a.done.FinishReason != "error" {
			t.Errorf("%+v", a)
		}
	})
}

func keptAlive(f *fakeProvider, interval string) string {
	return strings.Replace(gatewaySite(f), "\tchat_session", "\tchat_session {\n\t\tkeep_alive "+interval+"\n\t}", 1)
}

// wantComments reads comments, and nothing else.
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

// wantLine reads up to a line that holds some text, over comments.
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
