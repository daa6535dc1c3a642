package integration

import (
	"net/http"
	"strings"
	"testing"
)

// TestRescueEdges has cuts at places that are easily got wrong.
func TestRescueEdges(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one")
	one := targets[0]
	s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
	const family = "👩\u200d👩\u200d👧"
	for _, tc := range []struct {
		name  string
		begin []string
		whole []string // in the pieces of the second answer
	}{
		{"within the first word", []string{"On"}, []string{"Once", " upon"}},
		{"behind white space", []string{"Once", " ", "\n\n"}, []string{"Once \n", "\n- upon"}},
		{"before white space", []string{"Once"}, []string{"Once", " upon"}},
		{"white space alone", []string{"\n\n"}, []string{"\n", "\nOnce"}},
		{"within an emoji", []string{"A family: 👩\u200d👩"}, []string{"A family: " + family, " of three"}},
		{"before an accent", []string{"Ze"}, []string{"Ze\u0301bre"}},
		{"behind letters of several bytes", []string{"Grün", "日本"}, []string{"Grün日", "本語です"}},
		{"at the end", []string{"Once upon"}, []string{"Once", " upon"}},
		{"piece by piece the same", []string{"Once ", "upon "}, []string{"Once ", "upon ", "a time"}},
		{"in one piece", []string{"Once ", "upon "}, []string{"Once upon a time"}},
		{"text that repeats itself", []string{"na na ", "na na "}, []string{"na ", "na ", "na ", "na ", "na ", "na ", "Batman"}},
		{"text with what JSON escapes", []string{"a \"b\" \\", "\u2028<x>\t"}, []string{"a \"b\" \\\u2028", "<x>\t\u0000!"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, second := range map[string]behaviour{
				"stream": says(11, 5, tc.whole...),
				"document": func(c *targetCall) {
					document(http.StatusOK, c.document(11, 5, strings.Join(tc.whole, "")))(c.w, c.r)
				},
			} {
				t.Run(name, func(t *testing.T) {
					one.plays(steps(begins(tc.begin...), reset), second)
					tr := s.try(t, newQuestion("fast").withUsage())
					tr.wantText(t, strings.Join(tc.whole, ""))
					tr.wantCalls(t, 2)
					tr.wantBilled(t, "one", 11, 5)
				})
			}
		})
	}
	t.Run("a finish and no end mark is no cut", func(t *testing.T) {
		for _, end := range []behaviour{reset, eof, tornOff, errorFrame, halfEvent} {
			one.plays(steps(begins("Once"), sendsOf(func(w wire) []string { return []string{w.finish("stop"), w.usage(11, 5)} }), end))
			tr := s.try(t, newQuestion("fast").withUsage())
			tr.wantText(t, "Once")
			tr.wantCalls(t, 1)
			tr.wantBilled(t, "one", 11, 5)
		}
	})
	t.Run("a cut at its length is none either", func(t *testing.T) {
		one.plays(steps(begins("Once"), sendsOf(func(w wire) []string { return []string{w.finish("length"), w.usage(11, 5), endMark} })))
		tr := s.try(t, newQuestion("fast").withUsage())
		if tr.Text != "Once" || tr.Finish != "length" || !tr.done {
			t.Errorf("%q, %q: %v", tr.Text, tr.Finish, tr.frames)
		}
		tr.wantCalls(t, 1)
	})
	t.Run("the client goes away meanwhile", func(t *testing.T) {
		asked, gone := make(chan struct{}), make(chan struct{})
		one.plays(steps(begins("Once "), reset), func(c *targetCall) {
			close(asked)
			<-c.r.Context().Done()
			close(gone)
		})
		a := s.globex.start(s.globex.request(http.MethodPost, completions, newQuestion("fast").streamed()))
		resp := a.answer()
		defer resp.Body.Close()
		for _, ch := range []chan struct{}{asked, gone} {
			select {
			case <-ch:
			case <-timeUp(t):
				t.Fatal("the second call is not made, or goes on without a client")
			}
			a.goAway()
		}
	})
}

// TestRescueBesideText has answers that are not text alone.
func TestRescueBesideText(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
	thinks := func(w wire, s string) string { return w.event(`{"reasoning_content":`+quote(s)+`}`, "") }
	refuse := func(w wire, s string) string { return w.event(`{"refusal":`+quote(s)+`}`, "") }
	end := func(w wire) []string { return []string{w.finish("stop"), w.usage(11, 5), endMark} }
	answer := func(begin func(wire) []string) behaviour {
		return sendsOf(func(w wire) []string { return append(append([]string{w.role()}, begin(w)...), end(w)...) })
	}
	cut := func(begin func(wire) []string) behaviour {
		return steps(sendsOf(func(w wire) []string { return append([]string{w.role()}, begin(w)...) }), reset)
	}

	for _, tc := range []struct {
		name            string
		first, second   func(wire) []string
		text, reasoning string // that the client has in the end
		cut             bool   // and then an error
	}{
		{
			name:      "reasoning is another one, the text the same",
			first:     func(w wire) []string { return []string{thinks(w, "Let me see."), w.text("Once ")} },
			second:    func(w wire) []string { return []string{thinks(w, "Well, "), thinks(w, "well."), w.text("Once upon")} },
			text:      "Once upon",
			reasoning: "Let me see.",
		},
		{
			name:      "reasoning and text are the same",
			first:     func(w wire) []string { return []string{thinks(w, "Let me "), thinks(w, "see."), w.text("Once ")} },
			second:    func(w wire) []string { return []string{thinks(w, "Let me see."), w.text("Once upon")} },
			text:      "Once upon",
			reasoning: "Let me see.",
		},
		{
			name:      "cut while reasoning, the same",
			first:     func(w wire) []string { return []string{thinks(w, "Let me ")} },
			second:    func(w wire) []string { return []string{thinks(w, "Let"), thinks(w, " me see."), w.text("Once upon")} },
			text:      "Once upon",
			reasoning: "Let me see.",
		},
		{
			name:      "cut while reasoning, another one",
			first:     func(w wire) []string { return []string{thinks(w, "Let me ")} },
			second:    func(w wire) []string { return []string{thinks(w, "Well, well."), w.text("Once upon")} },
			reasoning: "Let me ",
			cut:       true,
		},
		{
			name:      "cut while reasoning, none",
			first:     func(w wire) []string { return []string{thinks(w, "Let me ")} },
			second:    func(w wire) []string { return []string{w.text("Let me think.")} },
			reasoning: "Let me ",
			cut:       true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one.plays(cut(tc.first), answer(tc.second))
			two.plays(answer(tc.second))
			tr := s.try(t, newQuestion("fast").withUsage())
			if tc.cut {
				tr.wantCut(t, tc.text, "ai_error")
				tr.wantOne(t)
			} else {
				tr.wantText(t, tc.text)
				tr.wantBilled(t, "one", 11, 5)
			}
			if tr.Reasoning != tc.reasoning {
				t.Errorf("reasoning %q, want %q", tr.Reasoning, tc.reasoning)
			}
		})
	}

	t.Run("a refusal is whole or cut", func(t *testing.T) {
		one.plays(cut(func(w wire) []string { return []string{refuse(w, "I must ")} }),
			answer(func(w wire) []string { return []string{refuse(w, "I must not.")} }))
		tr := s.try(t, newQuestion("fast").withUsage())
		if tr.Text != "" || tr.done && tr.Refusal != "I must not." || !tr.done && (tr.Refusal != "I must " || tr.code != "ai_error") {
			t.Errorf("text %q, refusal %q, error %q", tr.Text, tr.Refusal, tr.code)
		}
		tr.wantOne(t)
	})
	t.Run("a refusal is no text", func(t *testing.T) {
		for _, f := range targets {
			f.plays(answer(func(w wire) []string { return []string{w.text("I must not say that.")} }))
		}
		one.plays(cut(func(w wire) []string { return []string{refuse(w, "I must ")} }),
			answer(func(w wire) []string { return []string{w.text("I must not say that.")} }))
		tr := s.try(t, newQuestion("fast").withUsage())
		if tr.Text != "" || tr.Refusal != "I must " || tr.code != "ai_error" || tr.done {
			t.Errorf("text %q, refusal %q, error %q", tr.Text, tr.Refusal, tr.code)
		}
	})
	for name, first := range map[string]func(wire) []string{
		"arguments": func(w wire) []string {
			return []string{w.tool(0, "call-a", "weather", ""), w.tool(0, "", "", `{"city":"K`)}
		},
		"arguments behind text": func(w wire) []string {
			return []string{w.text("Let me look."), w.tool(0, "call-a", "weather", `{"city":"K`)}
		},
		"arguments of the second call": func(w wire) []string {
			return []string{w.tool(1, "call-b", "clock", `{}`), w.tool(0, "call-a", "weather", `{"city":"K`)}
		},
		"a name alone": func(w wire) []string { return []string{w.tool(0, "call-a", "weather", "")} },
	} {
		t.Run("tool calls are never spliced/"+name, func(t *testing.T) {
			whole := answer(func(w wire) []string { return append(first(w), w.tool(0, "", "", `öln"}`)) })
			one.plays(cut(first), whole)
			two.plays(whole)
			tr := s.try(t, newQuestion("fast").withUsage())
			if tr.code != "ai_error" || tr.done || strings.Contains(tr.calls[0].Arguments, "öln") || strings.Count(tr.calls[0].Arguments, "{") > 1 {
				t.Errorf("error %q, end mark %v, %s", tr.code, tr.done, tr.frames)
			}
			tr.wantOne(t)
			tr.wantCalls(t, 1, 0)
		})
	}
	t.Run("a tool call behind spliced text is the second answer's own", func(t *testing.T) {
		one.plays(cut(func(w wire) []string { return []string{w.text("Let me ")} }), sendsOf(func(w wire) []string {
			return []string{w.role(), w.text("Let me look."), w.tool(0, "call-a", "weather", `{"city":`), w.tool(0, "", "", `"Köln"}`), w.finish("tool_calls"), w.usage(11, 5), endMark}
		}))
		tr := s.try(t, newQuestion("fast").withUsage())
		if tr.Text != "Let me look." || tr.Finish != "tool_calls" || !tr.done || tr.calls[0].Arguments != `{"city":"Köln"}` || tr.calls[0].ID != "call-a" {
			t.Errorf("%s", tr.frames)
		}
		tr.wantOne(t)
		tr.wantCalls(t, 2, 0)
		tr.wantBilled(t, "one", 11, 5)
	})
}
