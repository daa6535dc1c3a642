package failover

import (
	"bytes"
	"compress/gzip"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// bytesOf answers with a stream whose bytes fn has changed.
func bytesOf(header http.Header, fn func(string) string) harness.Script {
	return func(c *harness.Call) {
		maps.Copy(c.W.Header(), header)
		c.Send(fn(strings.Join(c.Whole(11, 5, "Hello ", "wörld"), "")))
	}
}

func replaced(old, with string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, old, with) }
}

func zipped(s string) string {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	_, _ = zw.Write([]byte(s))
	_ = zw.Close()
	return b.String()
}

// TestOddStreams has streams that differ from OpenAI's, but are answers all the
// same. Each is read correctly at the first attempt.
func TestOddStreams(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	asItIs := func(s string) string { return s }
	typ := func(v string) http.Header { return http.Header{"Content-Type": {v}} }
	large := strings.Repeat("0123456789abcdef", 5<<16) // 5 MiB

	for _, tc := range []struct {
		name string
		do   harness.Script
	}{
		{name: "CRLF", do: bytesOf(nil, replaced("\n", "\r\n"))},
		{name: "lone CR", do: bytesOf(nil, replaced("\n", "\r"))},
		{name: "byte order mark", do: bytesOf(nil, func(s string) string { return "\ufeff" + s })},
		{name: "gzip", do: bytesOf(http.Header{"Content-Encoding": {"gzip"}}, zipped)},
		{name: "application/json", do: bytesOf(typ("application/json"), asItIs)},
		{name: "text/plain", do: bytesOf(typ("text/plain; charset=utf-8"), asItIs)},
		{name: "application/octet-stream", do: bytesOf(typ("application/octet-stream"), asItIs)},
		{name: "no space after the colon", do: bytesOf(nil, replaced("data: ", "data:"))},
		{name: "comments and unknown fields", do: bytesOf(nil, replaced("data: ", ": ping\n\nretry: 10\nid: 7\nodd: x\ndata: "))},
		{name: "missing end mark", do: bytesOf(nil, replaced(harness.EndMark, ""))},
		{name: "duplicate end mark", do: bytesOf(nil, replaced(harness.EndMark, harness.EndMark+harness.EndMark))},
		{name: "missing blank line at the end", do: bytesOf(nil, strings.TrimSpace)},
		{name: "a whole document in place of a stream", do: func(c *harness.Call) {
			harness.Document(http.StatusOK, c.Document(11, 5, "Hello wörld"))(c)
		}},
		{name: "5 MiB line", do: harness.SendsOf(func(w harness.Wire) []string {
			image := w.Event(`{"content":"wörld","images":["data:image/png;base64,`+large+`"]}`, "")
			return []string{w.Role(), w.Text("Hello "), image, w.Finish("stop"), w.Usage(11, 5), harness.EndMark}
		})},
		{name: "duplicate finish", do: harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Text("Hello wörld"), w.Finish("stop"), w.Finish("stop"), w.Usage(11, 5), w.Finish("stop"), harness.EndMark}
		})},
		{name: "text after the finish", do: harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Text("Hello wörld"), w.Finish("stop"), w.Text(" and more"), w.Usage(11, 5), harness.EndMark}
		})},
		{name: "error after the finish", do: harness.Steps(harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Text("Hello wörld"), w.Finish("stop"), w.Usage(11, 5)}
		}), harness.ErrorFrame)},
		{name: "reset after the finish", do: harness.Steps(harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Text("Hello wörld"), w.Finish("stop"), w.Usage(11, 5)}
		}), harness.Reset)},
		{name: "reset after the end mark", do: harness.Steps(harness.Says(11, 5, "Hello wörld"), harness.Reset)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const text = "Hello wörld"
			one.Plays(tc.do)
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantText(t, text)
			tr.wantCalls(t, 1, 0)
			tr.wantFrom(t, "one", 1, false)
			tr.wantBilled(t, "one", 11, 5)

			tn := s.turn(t)
			if tn.Text != text || tn.Failed != nil || tn.Done == nil || tn.Done.FinishReason != "stop" {
				t.Errorf("/chat: text %.200q, error %+v, done %+v", tn.Text, tn.Failed, tn.Done)
			}
			tn.wantCalls(t, 1, 0)
			tn.wantBilled(t, "one", 11, 5)
		})
	}
	t.Run("5 MiB of text at once", func(t *testing.T) {
		one.Plays(harness.Says(11, 5, "Hello ", large))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "Hello "+large)
		tr.wantCalls(t, 1, 0)
		tr.wantBilled(t, "one", 11, 5)
	})
	t.Run("noise between chunks", func(t *testing.T) {
		one.Plays(harness.SendsOf(func(w harness.Wire) []string {
			return []string{
				w.Role(), w.Text("Hello "), "data: [1]\n\n", "data: <html>\n\n",
				w.Text("wörld"), w.Finish("stop"), w.Usage(11, 5), harness.EndMark,
			}
		}))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "Hello wörld")
		tr.wantCalls(t, 1, 0)
		tr.wantBilled(t, "one", 11, 5)
		if n := tr.counted[`caddy_ai_skipped_chunks_total{provider="one"}`]; n != 2 {
			t.Errorf("%v skipped chunks are counted, want 2", n)
		}
	})
	t.Run("no usage", func(t *testing.T) {
		one.Plays(harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Text("Hello wörld"), w.Finish("stop"), harness.EndMark}
		}))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "Hello wörld")
		tr.wantCalls(t, 1, 0)
		tr.wantBilled(t, "one", estimatedInput(t), 3) // 12 bytes out
	})
}

// TestTrickle has a stream that arrives one byte at a time.
func TestTrickle(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	answer := func(w harness.Wire) []string { return w.Whole(11, 5, "Hello ", "wörld") }

	t.Run("is an answer like any other", func(t *testing.T) {
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
		pace := make(chan struct{})
		one.Plays(harness.Trickles(pace, answer))
		go func() {
			for range len(strings.Join(answer(harness.Wire{ID: "one-1", Model: "up-one"}), "")) {
				select {
				case pace <- struct{}{}:
				case <-t.Context().Done():
					return
				}
			}
		}()
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "Hello wörld")
		tr.wantCalls(t, 1, 0)
		tr.wantBilled(t, "one", 11, 5)
	})
	t.Run("without a token counts as silence", func(t *testing.T) {
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: patientBut("first_token_timeout", "3s")})
		// endless comments, one byte at a time
		pace := make(chan struct{})
		one.Plays(harness.Trickles(pace, func(w harness.Wire) []string { return append([]string{w.Role()}, strings.Repeat(": ping\n\n", 1<<20)) }))
		two.Plays(harness.Says(12, 6, "Hello"))
		asking := s.Globex.Start(s.Globex.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").WithUsage()))
		for sent := false; ; sent = true {
			select {
			case pace <- struct{}{}:
				continue
			case resp := <-asking.Resp:
				a := harness.ReadCompletion(t, resp)
				a.WantText(t, "Hello")
				harness.WantHeader(t, a.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "2", "X-Ai-Fallback": "true"})
				if !sent || one.Last().Body == "" {
					t.Error("nothing was sent")
				}
				return
			case err := <-asking.Err:
				t.Fatal(err)
			case <-harness.TimeUp(t):
				t.Fatal("the trickle holds the request")
			}
		}
	})
}

// TestToolCallStreams has tool calls whose parts arrive in various orders.
func TestToolCallStreams(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	weather := providertest.ToolCall{ID: "call-a", Name: "weather", Arguments: `{"city":"Köln","days":3}`}
	clock := providertest.ToolCall{ID: "call-b", Name: "clock", Arguments: `{"zone":"UTC"}`}

	for name, events := range map[string]func(harness.Wire) []string{
		"interleaved": func(w harness.Wire) []string {
			return []string{
				w.Role(), w.Tool(0, "call-a", "weather", ""), w.Tool(1, "call-b", "clock", ""),
				w.Tool(0, "", "", `{"city":"K`), w.Tool(1, "", "", `{"zo`), w.Tool(0, "", "", `öln",`), w.Tool(1, "", "", `ne":"UTC"}`), w.Tool(0, "", "", `"days":3}`),
				w.Finish("tool_calls"), w.Usage(11, 5), harness.EndMark,
			}
		},
		"one after the other": func(w harness.Wire) []string {
			return []string{
				w.Role(), w.Tool(0, "call-a", "weather", weather.Arguments), w.Tool(1, "call-b", "clock", clock.Arguments),
				w.Finish("tool_calls"), w.Usage(11, 5), harness.EndMark,
			}
		},
		"after text": func(w harness.Wire) []string {
			return []string{
				w.Role(), w.Text("Let me look."), w.Tool(0, "call-a", "weather", weather.Arguments), w.Tool(1, "call-b", "clock", clock.Arguments),
				w.Finish("tool_calls"), w.Usage(11, 5), harness.EndMark,
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			one.Plays(harness.SendsOf(events))
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			if len(tr.Calls) != 2 || *tr.Calls[0] != weather || *tr.Calls[1] != clock || tr.Finish != "tool_calls" || !tr.Done {
				t.Errorf("finish %q, end mark %v, %v", tr.Finish, tr.Done, tr.Frames)
			}
			tr.WantOne(t)
			tr.wantCalls(t, 1, 0)
			tr.wantBilled(t, "one", 11, 5)
		})
	}
}
