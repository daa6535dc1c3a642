package failover

import (
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// cuts are the ways in which a stream breaks off.
var cuts = map[string]harness.Script{
	"reset":         harness.Reset,
	"torn off":      harness.TornOff,
	"end":           harness.EOF,
	"half an event": harness.HalfEvent,
	"error frame":   harness.ErrorFrame,
	"error event":   harness.ErrorEvent,
	"429 in a frame": func(c *harness.Call) {
		c.Send("data: {\"error\":{\"message\":\"upstream-words\",\"code\":429}}\n\n")
	},
	"400 in a frame": func(c *harness.Call) {
		c.Send("data: {\"error\":{\"message\":\"upstream-words\",\"code\":400}}\n\n")
	},
	"a comment, a reset": func(c *harness.Call) { c.Send(": x\n\n"); harness.Reset(c) },
	"garbage, an end":    func(c *harness.Call) { c.Send("data: garb\n\n") },
}

// wantLost checks that a stream ended with an error frame after exactly this
// text, and that only this text was billed.
func (tr *trial) wantLost(t testing.TB, text, provider string) {
	t.Helper()
	tr.WantCut(t, text, "ai_error")
	tr.WantOne(t)
	if all := strings.Join(tr.Frames, "\n"); strings.Contains(all, "upstream-words") {
		t.Errorf("the provider's message reached the client: %s", all)
	}
	if tr.logged["error_code"] != "ai_error" || tr.logged["provider"] != provider {
		t.Errorf("logged %v of %v, want ai_error of %s", tr.logged["error_code"], tr.logged["provider"], provider)
	}
	tr.wantBilled(t, provider, estimatedInput(t), float64((len(text)+3)/4))
}

// wantStored checks that a turn is complete, at the client and in the history.
func (tn *turn) wantStored(t testing.TB, cl *harness.Client, text string) {
	t.Helper()
	if tn.Text != text || tn.Failed != nil || tn.Done == nil || tn.Done.FinishReason != "stop" {
		t.Errorf("/chat: text %q, error %+v, done %+v, want %q", tn.Text, tn.Failed, tn.Done, text)
	}
	harness.WantIDs(t, tn.Events)
	if msgs := cl.History(tn.session); len(msgs) != 2 || msgs[1].Content != text || msgs[1].Status != "complete" {
		t.Errorf("stored %+v, want %q, complete", msgs, text)
	}
}

// TestRescue cuts a stream. The second call gets the same answer in other
// pieces.
func TestRescue(t *testing.T) {
	t.Parallel()
	const text = "Once upon a time"
	first := harness.Begins("Once ", "upon ")
	second := harness.Says(11, 5, "On", "ce up", "on a ti", "me")

	t.Run("by the same target", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
		for name, cut := range cuts {
			t.Run(name, func(t *testing.T) {
				one.Plays(harness.Steps(first, cut), second)
				tr := s.try(t, harness.NewQuestion("fast").WithUsage())
				tr.WantText(t, text)
				tr.wantCalls(t, 2, 0)
				tr.wantBilled(t, "one", 11, 5)
				if tr.Usage.Raw != harness.UsageOf(11, 5) {
					t.Errorf("usage %s, want the second answer's", tr.Usage.Raw)
				}
				if got := one.Requests(); got[len(got)-1].Body != got[len(got)-2].Body {
					t.Errorf("the second request differs: %s", got[len(got)-1].Body)
				}
				one.Plays(harness.Steps(first, cut), second)
				tn := s.turn(t)
				tn.wantStored(t, s.Globex, text)
				tn.wantCalls(t, 2, 0)
				tn.wantBilled(t, "one", 11, 5)
			})
		}
	})
	t.Run("by another target", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		one, two := targets[0], targets[1]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
		two.Plays(second)
		for name, then := range map[string]harness.Script{
			"when the first fails":               harness.Refuses(500, "x"),
			"when the first resets":              harness.Reset,
			"when the first answers differently": harness.Says(12, 6, "Long ago"),
			"when the first answers less":        harness.Says(12, 6, "Once upon"),
			"when the first is rate limited":     harness.Refuses(429, "x"),
			"when the first refuses":             harness.Refuses(400, "x"),
		} {
			t.Run(name, func(t *testing.T) {
				one.Plays(harness.Steps(first, harness.Reset), then)
				tr := s.try(t, harness.NewQuestion("fast").WithUsage())
				tr.WantText(t, text)
				tr.wantCalls(t, 2, 1)
				tr.wantBilled(t, "two", 11, 5)

				one.Plays(harness.Steps(first, harness.Reset), then)
				tn := s.turn(t)
				tn.wantStored(t, s.Globex, text)
				tn.wantCalls(t, 2, 1)
			})
		}
		t.Run("after a fallback", func(t *testing.T) {
			one.Plays(harness.Refuses(401, "x"), second)
			two.Plays(harness.Steps(first, harness.Reset), harness.Refuses(500, "x"))
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantText(t, text)
			tr.wantCalls(t, 2, 2)
			tr.wantBilled(t, "one", 11, 5)
			harness.WantHeader(t, tr.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "2", "X-Ai-Fallback": "true"})
		})
	})
	t.Run("off", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient + "\nrescue off"})
		for name, cut := range cuts {
			t.Run(name, func(t *testing.T) {
				one.Plays(harness.Steps(first, cut), second)
				tr := s.try(t, harness.NewQuestion("fast").WithUsage())
				tr.wantCalls(t, 1, 0)
				if name != "400 in a frame" || tr.Code == "ai_error" {
					tr.WantCut(t, "Once upon ", tr.Code)
				}
				one.Plays(harness.Steps(first, cut), second)
				tn := s.turn(t)
				tn.wantCalls(t, 1, 0)
				harness.WantCutTurn(t, s.Globex, tn.session, tn.Answered, "Once upon ", tr.Code)
			})
		}
	})
}

// TestRescueOfStall has a target that falls silent mid-stream. It is not asked
// again.
func TestRescueOfStall(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: patientBut("stall_timeout", soon)})
	for name, stall := range map[string]harness.Script{
		"between events":  harness.Stalls,
		"within an event": harness.Steps(harness.HalfEvent, harness.Stalls),
	} {
		t.Run(name, func(t *testing.T) {
			one.Plays(harness.Steps(harness.Begins("Once ", "upon "), stall))
			two.Plays(harness.Says(11, 5, "Once upon a time"))
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantText(t, "Once upon a time")
			tr.wantCalls(t, 1, 1)
			tr.wantBilled(t, "two", 11, 5)
			if n := tr.attempts("one", "timeout"); n != 1 {
				t.Errorf("%v attempts timed out, want 1", n)
			}
		})
	}
	t.Run("of every target", func(t *testing.T) {
		two.Plays(harness.Steps(harness.Begins("Once upon a "), harness.Stalls))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantCut(t, "Once upon a ", "ai_timeout")
		tr.wantCalls(t, 1, 1) // the rescue's silence leaves no time for another
	})
}

// TestNoRescue has second answers that differ from the first. The stream ends
// with an error after exactly what the first one sent.
func TestNoRescue(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	for name, second := range map[string]harness.Script{
		"another text":        harness.Says(12, 6, "Long ago and far away"),
		"another last letter": harness.Says(12, 6, "Once upom a time"),
		"other white space":   harness.Says(12, 6, "Once upon\u00a0a time"),
		"a space before it":   harness.Says(12, 6, " Once upon a time"),
		"another case":        harness.Says(12, 6, "once upon a time"),
		"less":                harness.Says(12, 6, "Once", " upon"),
		"nothing":             harness.Says(12, 6),
		"the same as a refusal": harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Event(`{"refusal":"Once upon a time"}`, ""), w.Finish("stop"), w.Usage(12, 6), harness.EndMark}
		}),
		"the same as reasoning": harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Event(`{"reasoning_content":"Once upon a time"}`, ""), w.Finish("stop"), w.Usage(12, 6), harness.EndMark}
		}),
		"a tool call": harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Text("Once "), w.Tool(0, "call-a", "upon", "{}"), w.Finish("tool_calls"), w.Usage(12, 6), harness.EndMark}
		}),
		"a cut before it": harness.Steps(harness.Begins("Once"), harness.Reset),
		"an error":        harness.Refuses(500, "x"),
		"a reset":         harness.Reset,
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range targets {
				f.Plays(second)
			}
			one.Plays(harness.Steps(harness.Begins("Once ", "upon "), harness.Reset), second)
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.wantLost(t, "Once upon ", "one")
			tr.wantCalls(t, 2, 1)

			one.Plays(harness.Steps(harness.Begins("Once ", "upon "), harness.Reset), second)
			tn := s.turn(t)
			harness.WantCutTurn(t, s.Globex, tn.session, tn.Answered, "Once upon ", "ai_error")
			tn.wantCalls(t, 2, 1)
			tn.wantBilled(t, "one", tn.logged["tokens_in"].(float64), 3)
		})
	}
	t.Run("a stream that the provider's policy stopped", func(t *testing.T) {
		one.Plays(harness.Steps(harness.Begins("Once ", "upon "), func(c *harness.Call) {
			c.Send("data: {\"error\":{\"message\":\"upstream-words\",\"code\":\"content_filter\"}}\n\n")
		}), harness.Says(11, 5, "Once upon a time"))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantCut(t, "Once upon ", "content_filtered")
		tr.wantCalls(t, 1, 0)
	})
	t.Run("every answer is cut", func(t *testing.T) {
		one.Plays(harness.Steps(harness.Begins("Once "), harness.Reset), harness.Steps(harness.Begins("Once upon "), harness.Reset), harness.Steps(harness.Begins("Once upon a time, there"), harness.Reset))
		two.Plays(harness.Steps(harness.Begins("Once upon a "), harness.Reset), harness.Steps(harness.Begins("Once upon a time, "), harness.Reset))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantCut(t, "Once upon a ", "ai_error")
		tr.WantOne(t)
		tr.wantCalls(t, 2, 1)
	})
	t.Run("a rescue that is cut is rescued by another target", func(t *testing.T) {
		one.Plays(harness.Steps(harness.Begins("Once "), harness.Reset), harness.Steps(harness.Begins("Once upon "), harness.Reset))
		two.Plays(harness.Says(11, 5, "Once upon a time"))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "Once upon a time")
		tr.wantCalls(t, 2, 1)
		tr.wantBilled(t, "two", 11, 5)
	})
}
