package integration

import (
	"strings"
	"testing"
)

// cuts are the ways in which a stream breaks off.
var cuts = map[string]behaviour{
	"reset":              reset,
	"torn off":           tornOff,
	"end":                eof,
	"half an event":      halfEvent,
	"error frame":        errorFrame,
	"error event":        errorEvent,
	"429 in a frame":     func(c *targetCall) { c.send("data: {\"error\":{\"message\":\"upstream-words\",\"code\":429}}\n\n") },
	"400 in a frame":     func(c *targetCall) { c.send("data: {\"error\":{\"message\":\"upstream-words\",\"code\":400}}\n\n") },
	"a comment, a reset": func(c *targetCall) { c.send(": x\n\n"); reset(c) },
	"garbage, an end":    func(c *targetCall) { c.send("data: garb\n\n") },
}

// wantLost checks that a stream ended with an error frame, behind exactly
// this text, and that no more than this text was billed.
func (tr *trial) wantLost(t testing.TB, text, provider string) {
	t.Helper()
	tr.wantCut(t, text, "ai_error")
	tr.wantOne(t)
	if all := strings.Join(tr.frames, "\n"); strings.Contains(all, "upstream-words") {
		t.Errorf("the provider's words reach the client: %s", all)
	}
	if tr.logged["error_code"] != "ai_error" || tr.logged["provider"] != provider {
		t.Errorf("logged are %v of %v, want ai_error of %s", tr.logged["error_code"], tr.logged["provider"], provider)
	}
	tr.wantBilled(t, provider, estimatedInput(t), float64((len(text)+3)/4))
}

// wantStored checks a turn that the client got whole.
func (tn *turn) wantStored(t testing.TB, cl *client, text string) {
	t.Helper()
	if tn.text != text || tn.failed != nil || tn.done == nil || tn.done.FinishReason != "stop" {
		t.Errorf("/chat: text %q, error %+v, done %+v, want %q", tn.text, tn.failed, tn.done, text)
	}
	wantIDs(t, tn.events)
	if msgs := cl.history(tn.session); len(msgs) != 2 || msgs[1].Content != text || msgs[1].Status != "complete" {
		t.Errorf("stored are %+v, want %q, complete", msgs, text)
	}
}

// TestRescue cuts a stream in the middle. The second answer is the first one
// again, in other pieces.
func TestRescue(t *testing.T) {
	t.Parallel()
	const text = "Once upon a time"
	first := begins("Once ", "upon ")
	second := says(11, 5, "On", "ce up", "on a ti", "me")

	t.Run("by the same target", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
		for name, cut := range cuts {
			t.Run(name, func(t *testing.T) {
				one.plays(steps(first, cut), second)
				tr := s.try(t, newQuestion("fast").withUsage())
				tr.wantText(t, text)
				tr.wantCalls(t, 2, 0)
				tr.wantBilled(t, "one", 11, 5)
				if tr.usage.Raw != tokens(11, 5) {
					t.Errorf("usage %s, want the second answer's", tr.usage.Raw)
				}
				if got := one.requests(); got[len(got)-1].body != got[len(got)-2].body {
					t.Errorf("the second request is another one: %s", got[len(got)-1].body)
				}
				one.plays(steps(first, cut), second)
				tn := s.turn(t)
				tn.wantStored(t, s.globex, text)
				tn.wantCalls(t, 2, 0)
				tn.wantBilled(t, "one", 11, 5)
			})
		}
	})
	t.Run("by another target", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		one, two := targets[0], targets[1]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
		two.plays(second)
		for name, then := range map[string]behaviour{
			"as the first one is gone":             refuses(500, "x"),
			"as the first one is reset":            reset,
			"as the first one says something else": says(12, 6, "Long ago"),
			"as the first one says less":           says(12, 6, "Once upon"),
			"as the first one is too busy":         refuses(429, "x"),
			"as the first one refuses":             refuses(400, "x"),
		} {
			t.Run(name, func(t *testing.T) {
				one.plays(steps(first, reset), then)
				tr := s.try(t, newQuestion("fast").withUsage())
				tr.wantText(t, text)
				tr.wantCalls(t, 2, 1)
				tr.wantBilled(t, "two", 11, 5)

				one.plays(steps(first, reset), then)
				tn := s.turn(t)
				tn.wantStored(t, s.globex, text)
				tn.wantCalls(t, 2, 1)
			})
		}
		t.Run("behind a fallback", func(t *testing.T) {
			one.plays(refuses(401, "x"), second)
			two.plays(steps(first, reset), refuses(500, "x"))
			tr := s.try(t, newQuestion("fast").withUsage())
			tr.wantText(t, text)
			tr.wantCalls(t, 2, 2)
			tr.wantBilled(t, "one", 11, 5)
			wantHeader(t, tr.header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "2", "X-Ai-Fallback": "true"})
		})
	})
	t.Run("off", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: patient + "\nrescue off"})
		for name, cut := range cuts {
			t.Run(name, func(t *testing.T) {
				one.plays(steps(first, cut), second)
				tr := s.try(t, newQuestion("fast").withUsage())
				tr.wantCalls(t, 1, 0)
				if name != "400 in a frame" || tr.code == "ai_error" {
					tr.wantCut(t, "Once upon ", tr.code)
				}
				one.plays(steps(first, cut), second)
				tn := s.turn(t)
				tn.wantCalls(t, 1, 0)
				wantCutTurn(t, s.globex, tn.session, tn.answered, "Once upon ", tr.code)
			})
		}
	})
}

// TestRescueOfStall has a target that falls silent in the middle: it is not
// asked again.
func TestRescueOfStall(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, faultConfig{targets: targets, gateway: patientBut("stall_timeout", soon)})
	for name, stall := range map[string]behaviour{
		"between events":  stalls,
		"within an event": steps(halfEvent, stalls),
	} {
		t.Run(name, func(t *testing.T) {
			one.plays(steps(begins("Once ", "upon "), stall))
			two.plays(says(11, 5, "Once upon a time"))
			tr := s.try(t, newQuestion("fast").withUsage())
			tr.wantText(t, "Once upon a time")
			tr.wantCalls(t, 1, 1)
			tr.wantBilled(t, "two", 11, 5)
			if n := tr.attempts("one", "timeout"); n != 1 {
				t.Errorf("%v attempts timed out, want 1", n)
			}
		})
	}
	t.Run("of all", func(t *testing.T) {
		two.plays(steps(begins("Once upon a "), stalls))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantCut(t, "Once upon a ", "ai_timeout")
		if tr.saw[0] > 2 || tr.saw[1] > 2 {
			t.Errorf("the targets saw %v calls", tr.saw)
		}
	})
}

// TestNoRescue has second answers that are not the first one again: the
// stream ends with an error, behind exactly what the first one said.
func TestNoRescue(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
	for name, second := range map[string]behaviour{
		"another text":             says(12, 6, "Long ago and far away"),
		"another end of the begin": says(12, 6, "Once upom a time"),
		"other white space":        says(12, 6, "Once upon\u00a0a time"),
		"a space before it":        says(12, 6, " Once upon a time"),
		"another case":             says(12, 6, "once upon a time"),
		"less":                     says(12, 6, "Once", " upon"),
		"nothing":                  says(12, 6),
		"the same as a refusal": sendsOf(func(w wire) []string {
			return []string{w.role(), w.event(`{"refusal":"Once upon a time"}`, ""), w.finish("stop"), w.usage(12, 6), endMark}
		}),
		"the same as reasoning": sendsOf(func(w wire) []string {
			return []string{w.role(), w.event(`{"reasoning_content":"Once upon a time"}`, ""), w.finish("stop"), w.usage(12, 6), endMark}
		}),
		"a tool call": sendsOf(func(w wire) []string {
			return []string{w.role(), w.text("Once "), w.tool(0, "call-a", "upon", "{}"), w.finish("tool_calls"), w.usage(12, 6), endMark}
		}),
		"a cut before it": steps(begins("Once"), reset),
		"an error":        refuses(500, "x"),
		"a reset":         reset,
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range targets {
				f.plays(second)
			}
			one.plays(steps(begins("Once ", "upon "), reset), second)
			tr := s.try(t, newQuestion("fast").withUsage())
			tr.wantLost(t, "Once upon ", "one")
			tr.wantCalls(t, 2, 1)

			one.plays(steps(begins("Once ", "upon "), reset), second)
			tn := s.turn(t)
			wantCutTurn(t, s.globex, tn.session, tn.answered, "Once upon ", "ai_error")
			tn.wantCalls(t, 2, 1)
			tn.wantBilled(t, "one", tn.logged["tokens_in"].(float64), 3)
		})
	}
	t.Run("what the provider's policy has stopped", func(t *testing.T) {
		one.plays(steps(begins("Once ", "upon "), func(c *targetCall) {
			c.send("data: {\"error\":{\"message\":\"upstream-words\",\"code\":\"content_filter\"}}\n\n")
		}), says(11, 5, "Once upon a time"))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantCut(t, "Once upon ", "content_filtered")
		tr.wantCalls(t, 1, 0)
	})
	t.Run("all are cut, again and again", func(t *testing.T) {
		one.plays(steps(begins("Once "), reset), steps(begins("Once upon "), reset), steps(begins("Once upon a time, there"), reset))
		two.plays(steps(begins("Once upon a "), reset), steps(begins("Once upon a time, "), reset))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantCut(t, "Once upon a ", "ai_error")
		tr.wantOne(t)
		tr.wantCalls(t, 2, 1)
	})
	t.Run("a cut that is rescued twice", func(t *testing.T) {
		one.plays(steps(begins("Once "), reset), steps(begins("Once upon "), reset))
		two.plays(says(11, 5, "Once upon a time"))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantText(t, "Once upon a time")
		tr.wantCalls(t, 2, 1)
		tr.wantBilled(t, "two", 11, 5)
	})
}
