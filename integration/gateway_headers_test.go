package integration

import (
	"bufio"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// WantHeader checks an answer's headers; "#" stands for a number, "*" for
// anything but nothing, and an empty value for a header that is not there.
func WantHeader(t testing.TB, got http.Header, want map[string]string) {
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
	up := NewFakeProvider(t, Silent)
	c := Start(t, GatewayTenants, strings.Replace(GatewaySite(up), "\tchat_session", "\tchat_ratelimit\n\tchat_session", 1))
	globex := NewClient(c, "globex", "ann")
	always := func(more map[string]string) map[string]string {
		maps.Copy(more, map[string]string{
			"X-Tenant-Id": "globex", "X-Trace-Id": "trace-1", "X-Model-Id": "fast",
			"X-RateLimit-Limit": "#", "X-RateLimit-Remaining": "#", "X-RateLimit-Reset": "#",
		})
		return more
	}
	whole := Document(http.StatusOK, WholeAnswer)
	stream := Sends(Role, Content("Hello"), Finished, Counted, EndMark)

	t.Run("a stream of /chat", func(t *testing.T) {
		up.Answers(stream)
		for _, modelID := range []string{"", "fast"} {
			resp := globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi", ModelID: modelID}, "X-Trace-Id", "trace-1")
			WantHeader(t, resp.Header, always(map[string]string{
				"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Tokens-In": "#",
			}))
			ReadEvents(t, resp).Rest()
		}
	})
	t.Run("a document of /chat", func(t *testing.T) {
		up.Answers(whole)
		resp := globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi", Stream: new(false)}, "X-Trace-Id", "trace-1")
		ReadAll(t, resp)
		WantHeader(t, resp.Header, always(map[string]string{
			"Content-Type": "application/json", "X-Tokens-In": "7", "X-Tokens-Out": "3", "X-Tokens-Total": "10", "X-Ai-Latency-Ms": "#",
		}))
	})
	for name, q := range map[string]Question{"a stream": NewQuestion("").Streamed(), "a document": NewQuestion("fast")} {
		t.Run(name+" of /v1", func(t *testing.T) {
			up.Answers(whole)
			typ := map[string]string{"Content-Type": "application/json"}
			if q.Stream {
				up.Answers(stream)
				typ = map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
			}
			a := globex.Complete(q, "X-Trace-Id", "trace-1")
			WantHeader(t, a.Header, always(typ))
			WantHeader(t, a.Header, map[string]string{
				"X-Ai-Provider": "openai", "X-Ai-Attempts": "1", "X-Ai-Fallback": "", "X-Request-Id": "trace-1",
				"X-Ratelimit-Limit-Requests": "#", "X-Ratelimit-Remaining-Requests": "#", "X-Ratelimit-Reset-Requests": "*",
			})
			for _, frame := range a.Frames {
				if frame != "[DONE]" && !strings.Contains(frame, `"model":"up-1"`) {
					t.Errorf("model is not the upstream's own: %s", frame)
				}
			}
		})
	}
	t.Run("an error", func(t *testing.T) {
		up.Answers(Document(http.StatusInternalServerError, "{}"))
		a := globex.Complete(NewQuestion("fast"), "X-Trace-Id", "trace-1")
		WantHeader(t, a.Header, map[string]string{"X-Trace-Id": "trace-1", "X-Tenant-Id": "globex", "X-RateLimit-Limit": "#"})
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
			g := NewGate()
			up := NewFakeProvider(t, g.Serve)
			c := Start(t, GatewayTenants, keptAlive(up, interval))
			globex := NewClient(c, "globex", "ann")
			session := NewSession()

			// the answer begins before there is a token
			resp := globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: "hi", ModelID: modelID}, "X-Trace-Id", "trace-1")
			defer resp.Body.Close()
			WantHeader(t, resp.Header, map[string]string{
				"Content-Type": "text/event-stream", "X-Tenant-Id": "globex", "X-Trace-Id": "trace-1", "X-Model-Id": "fast", "X-Tokens-In": "#",
			})
			lines := bufio.NewScanner(resp.Body)
			wantComments(t, lines)
			g.Say(t, Content("Hello"))
			wantLine(t, lines, `"content":"Hello"`)
			wantComments(t, lines)
			g.Say(t, Finished)
			g.Say(t, EndMark)
			close(g.Events)
			wantLine(t, lines, `"finishReason":"stop"`)
			if msgs := globex.History(session); len(msgs) != 2 || msgs[1].Content != "Hello" || msgs[1].Status != "complete" {
				t.Errorf("stored are %+v", msgs)
			}
		})
	}

	t.Run("a failure after a comment is an event", func(t *testing.T) {
		g := NewGate()
		up := NewFakeProvider(t, g.Serve)
		c := Start(t, GatewayTenants, keptAlive(up, "20ms"))
		stream := ReadEvents(t, NewClient(c, "globex", "ann").Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi"}))
		close(g.Events)
		if a := stream.Rest(); a.Text != "" || a.Failed == nil || a.Failed.Code != "ai_error" || a.Done == nil || a.Done.FinishReason != "error" {
			t.Errorf("%+v", a)
		}
	})
}

func keptAlive(f *FakeProvider, interval string) string {
	return strings.Replace(GatewaySite(f), "\tchat_session", "\tchat_session {\n\t\tkeep_alive "+interval+"\n\t}", 1)
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
