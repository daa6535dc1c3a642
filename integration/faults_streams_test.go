package integration

import (
	"bytes"
	"compress/gzip"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// bytesOf answers with a stream whose bytes fn has had its hands on.
func bytesOf(header http.Header, fn func(string) string) behaviour {
	return func(c *targetCall) {
		maps.Copy(c.w.Header(), header)
		c.send(fn(strings.Join(c.whole(11, 5, "Hello ", "wörld"), "")))
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

// TestOddStreams has streams that are unlike OpenAI's, and answers all the
// same: they are read at the first attempt, and read well.
func TestOddStreams(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
	asItIs := func(s string) string { return s }
	typ := func(v string) http.Header { return http.Header{"Content-Type": {v}} }
	large := strings.Repeat("0123456789abcdef", 5<<16) // 5 MiB

	for _, tc := range []struct {
		name string
		do   behaviour
	}{
		{name: "CRLF", do: bytesOf(nil, replaced("\n", "\r\n"))},
		{name: "lone CR", do: bytesOf(nil, replaced("\n", "\r"))},
		{name: "byte order mark", do: bytesOf(nil, func(s string) string { return "\ufeff" + s })},
		{name: "gzip", do: bytesOf(http.Header{"Content-Encoding": {"gzip"}}, zipped)},
		{name: "application/json", do: bytesOf(typ("application/json"), asItIs)},
		{name: "text/plain", do: bytesOf(typ("text/plain; charset=utf-8"), asItIs)},
		{name: "application/octet-stream", do: bytesOf(typ("application/octet-stream"), asItIs)},
		{name: "no space behind the colon", do: bytesOf(nil, replaced("data: ", "data:"))},
		{name: "comments and unknown fields", do: bytesOf(nil, replaced("data: ", ": ping\n\nretry: 10\nid: 7\nodd: x\ndata: "))},
		{name: "missing end mark", do: bytesOf(nil, replaced(endMark, ""))},
		{name: "duplicate end mark", do: bytesOf(nil, replaced(endMark, endMark+endMark))},
		{name: "missing blank line at the end", do: bytesOf(nil, strings.TrimSpace)},
		{name: "a whole document in place of a stream", do: func(c *targetCall) {
			document(http.StatusOK, c.document(11, 5, "Hello wörld"))(c.w, c.r)
		}},
		{name: "5 MiB line", do: sendsOf(func(w wire) []string {
			image := w.event(`{"content":"wörld","images":["data:image/png;base64,`+large+`"]}`, "")
			return []string{w.role(), w.text("Hello "), image, w.finish("stop"), w.usage(11, 5), endMark}
		})},
		{name: "duplicate finish", do: sendsOf(func(w wire) []string {
			return []string{w.role(), w.text("Hello wörld"), w.finish("stop"), w.finish("stop"), w.usage(11, 5), w.finish("stop"), endMark}
		})},
		{name: "text behind the finish", do: sendsOf(func(w wire) []string {
			return []string{w.role(), w.text("Hello wörld"), w.finish("stop"), w.text(" and more"), w.usage(11, 5), endMark}
		})},
		{name: "error behind the finish", do: steps(sendsOf(func(w wire) []string {
			return []string{w.role(), w.text("Hello wörld"), w.finish("stop"), w.usage(11, 5)}
		}), errorFrame)},
		{name: "reset behind the finish", do: steps(sendsOf(func(w wire) []string {
			return []string{w.role(), w.text("Hello wörld"), w.finish("stop"), w.usage(11, 5)}
		}), reset)},
		{name: "reset behind the end mark", do: steps(says(11, 5, "Hello wörld"), reset)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const text = "Hello wörld"
			one.plays(tc.do)
			tr := s.try(t, newQuestion("fast").withUsage())
			tr.wantText(t, text)
			tr.wantCalls(t, 1, 0)
			tr.wantFrom(t, "one", 1, false)
			tr.wantBilled(t, "one", 11, 5)

			tn := s.turn(t)
			if tn.text != text || tn.failed != nil || tn.done == nil || tn.done.FinishReason != "stop" {
				t.Errorf("/chat: text %.200q, error %+v, done %+v", tn.text, tn.failed, tn.done)
			}
			tn.wantCalls(t, 1, 0)
			tn.wantBilled(t, "one", 11, 5)
		})
	}
	t.Run("5 MiB of text at once", func(t *testing.T) {
		one.plays(says(11, 5, "Hello ", large))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantText(t, "Hello "+large)
		tr.wantCalls(t, 1, 0)
		tr.wantBilled(t, "one", 11, 5)
	})
	t.Run("malformed JSON in one chunk", func(t *testing.T) {
		one.plays(sendsOf(func(w wire) []string {
			return []string{
				w.role(), w.text("Hello "),
				`data: {"id":"x","choices":[{"index":0,"delta":{"content":"garb` + "\n\n", "data: <html>\n\n",
				w.text("wörld"), w.finish("stop"), w.usage(11, 5), endMark,
			}
		}))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantText(t, "Hello wörld")
		tr.wantCalls(t, 1, 0)
		tr.wantBilled(t, "one", 11, 5)
		if n := tr.counted[`caddy_ai_skipped_chunks_total{provider="one"}`]; n != 2 {
			t.Errorf("%v skipped chunks are counted, want 2", n)
		}
	})
	t.Run("no usage", func(t *testing.T) {
		one.plays(sendsOf(func(w wire) []string { return []string{w.role(), w.text("Hello wörld"), w.finish("stop"), endMark} }))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantText(t, "Hello wörld")
		tr.wantCalls(t, 1, 0)
		tr.wantBilled(t, "one", estimatedInput(t), 3) // 12 bytes out
	})
}

// TestTrickle has a stream that comes a byte at a time.
func TestTrickle(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	answer := func(w wire) []string { return w.whole(11, 5, "Hello ", "wörld") }

	t.Run("is an answer like any other", func(t *testing.T) {
		s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
		pace := make(chan struct{})
		one.plays(trickles(pace, answer))
		go func() {
			for range len(strings.Join(answer(wire{"one-1", "up-one"}), "")) {
				select {
				case pace <- struct{}{}:
				case <-t.Context().Done():
					return
				}
			}
		}()
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantText(t, "Hello wörld")
		tr.wantCalls(t, 1, 0)
		tr.wantBilled(t, "one", 11, 5)
	})
	t.Run("that comes to no token is silence", func(t *testing.T) {
		s := newFaultSite(t, faultConfig{targets: targets, gateway: patientBut("first_token_timeout", "3s")})
		// comments for ever, a byte at a time
		pace := make(chan struct{})
		one.plays(trickles(pace, func(w wire) []string { return append([]string{w.role()}, strings.Repeat(": ping\n\n", 1<<20)) }))
		two.plays(says(12, 6, "Hello"))
		asking := s.globex.start(s.globex.request(http.MethodPost, completions, newQuestion("fast").withUsage()))
		for sent := false; ; sent = true {
			select {
			case pace <- struct{}{}:
				continue
			case resp := <-asking.resp:
				a := readCompletion(t, resp)
				a.wantText(t, "Hello")
				wantHeader(t, a.header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "2", "X-Ai-Fallback": "true"})
				if !sent || one.last().body == "" {
					t.Error("nothing was sent")
				}
				return
			case err := <-asking.err:
				t.Fatal(err)
			case <-timeUp(t):
				t.Fatal("the trickle keeps the request")
			}
		}
	})
}

// TestToolCallStreams has tool calls whose parts come mixed up.
func TestToolCallStreams(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
	weather := providertest.ToolCall{ID: "call-a", Name: "weather", Arguments: `{"city":"Köln","days":3}`}
	clock := providertest.ToolCall{ID: "call-b", Name: "clock", Arguments: `{"zone":"UTC"}`}

	for name, events := range map[string]func(wire) []string{
		"interleaved": func(w wire) []string {
			return []string{
				w.role(), w.tool(0, "call-a", "weather", ""), w.tool(1, "call-b", "clock", ""),
				w.tool(0, "", "", `{"city":"K`), w.tool(1, "", "", `{"zo`), w.tool(0, "", "", `öln",`), w.tool(1, "", "", `ne":"UTC"}`), w.tool(0, "", "", `"days":3}`),
				w.finish("tool_calls"), w.usage(11, 5), endMark,
			}
		},
		"one after the other": func(w wire) []string {
			return []string{
				w.role(), w.tool(0, "call-a", "weather", weather.Arguments), w.tool(1, "call-b", "clock", clock.Arguments),
				w.finish("tool_calls"), w.usage(11, 5), endMark,
			}
		},
		"behind text": func(w wire) []string {
			return []string{
				w.role(), w.text("Let me look."), w.tool(0, "call-a", "weather", weather.Arguments), w.tool(1, "call-b", "clock", clock.Arguments),
				w.finish("tool_calls"), w.usage(11, 5), endMark,
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			one.plays(sendsOf(events))
			tr := s.try(t, newQuestion("fast").withUsage())
			if len(tr.calls) != 2 || *tr.calls[0] != weather || *tr.calls[1] != clock || tr.Finish != "tool_calls" || !tr.done {
				t.Errorf("finish %q, end mark %v, %v", tr.Finish, tr.done, tr.frames)
			}
			tr.wantOne(t)
			tr.wantCalls(t, 1, 0)
			tr.wantBilled(t, "one", 11, 5)
		})
	}
}
