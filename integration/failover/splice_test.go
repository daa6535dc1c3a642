package failover

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestRescueEdges has cuts in places that are easy to get wrong.
func TestRescueEdges(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one")
	one := targets[0]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	const family = "👩\u200d👩\u200d👧"
	for _, tc := range []struct {
		name  string
		begin []string
		whole []string // in the pieces of the second answer
	}{
		{"within the first word", []string{"On"}, []string{"Once", " upon"}},
		{"after white space", []string{"Once", " ", "\n\n"}, []string{"Once \n", "\n- upon"}},
		{"before white space", []string{"Once"}, []string{"Once", " upon"}},
		{"white space alone", []string{"\n\n"}, []string{"\n", "\nOnce"}},
		{"within an emoji", []string{"A family: 👩\u200d👩"}, []string{"A family: " + family, " of three"}},
		{"before an accent", []string{"Ze"}, []string{"Ze\u0301bre"}},
		{"after letters of several bytes", []string{"Grün", "日本"}, []string{"Grün日", "本語です"}},
		{"at the end", []string{"Once upon"}, []string{"Once", " upon"}},
		{"the same pieces", []string{"Once ", "upon "}, []string{"Once ", "upon ", "a time"}},
		{"in one piece", []string{"Once ", "upon "}, []string{"Once upon a time"}},
		{"text that repeats itself", []string{"na na ", "na na "}, []string{"na ", "na ", "na ", "na ", "na ", "na ", "Batman"}},
		{"text that JSON escapes", []string{"a \"b\" \\", "\u2028<x>\t"}, []string{"a \"b\" \\\u2028", "<x>\t\u0000!"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, second := range map[string]harness.Script{
				"stream": harness.Says(11, 5, tc.whole...),
				"document": func(c *harness.Call) {
					harness.Document(http.StatusOK, c.Document(11, 5, strings.Join(tc.whole, "")))(c)
				},
			} {
				t.Run(name, func(t *testing.T) {
					one.Plays(harness.Steps(harness.Begins(tc.begin...), harness.Reset), second)
					tr := s.try(t, harness.NewQuestion("fast").WithUsage())
					tr.WantText(t, strings.Join(tc.whole, ""))
					tr.wantCalls(t, 2)
					tr.wantBilled(t, "one", 11, 5)
				})
			}
		})
	}
	t.Run("a finish reason without an end mark is complete", func(t *testing.T) {
		for _, end := range []harness.Script{harness.Reset, harness.EOF, harness.TornOff, harness.ErrorFrame, harness.HalfEvent} {
			one.Plays(harness.Steps(harness.Begins("Once"), harness.SendsOf(func(w harness.Wire) []string { return []string{w.Finish("stop"), w.Usage(11, 5)} }), end))
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantText(t, "Once")
			tr.wantCalls(t, 1)
			tr.wantBilled(t, "one", 11, 5)
		}
	})
	t.Run("finish reason length is complete", func(t *testing.T) {
		one.Plays(harness.Steps(harness.Begins("Once"), harness.SendsOf(func(w harness.Wire) []string { return []string{w.Finish("length"), w.Usage(11, 5), harness.EndMark} })))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		if tr.Text != "Once" || tr.Finish != "length" || !tr.Done {
			t.Errorf("%q, %q: %v", tr.Text, tr.Finish, tr.Frames)
		}
		tr.wantCalls(t, 1)
	})
	t.Run("the client leaves during a rescue", func(t *testing.T) {
		asked, gone := make(chan struct{}), make(chan struct{})
		one.Plays(harness.Steps(harness.Begins("Once "), harness.Reset), func(c *harness.Call) {
			close(asked)
			<-c.R.Context().Done()
			close(gone)
		})
		a := s.Globex.Start(s.Globex.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").Streamed()))
		resp := a.Answer()
		defer resp.Body.Close()
		for _, ch := range []chan struct{}{asked, gone} {
			select {
			case <-ch:
			case <-harness.TimeUp(t):
				t.Fatal("the second call is not made, or continues without a client")
			}
			a.GoAway()
		}
	})
}

// TestRescueBesideText has answers with more than text.
func TestRescueBesideText(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	thinks := func(w harness.Wire, s string) string {
		return w.Event(`{"reasoning_content":`+harness.Quote(s)+`}`, "")
	}
	refuse := func(w harness.Wire, s string) string { return w.Event(`{"refusal":`+harness.Quote(s)+`}`, "") }
	end := func(w harness.Wire) []string { return []string{w.Finish("stop"), w.Usage(11, 5), harness.EndMark} }
	answer := func(begin func(harness.Wire) []string) harness.Script {
		return harness.SendsOf(func(w harness.Wire) []string { return append(append([]string{w.Role()}, begin(w)...), end(w)...) })
	}
	cut := func(begin func(harness.Wire) []string) harness.Script {
		return harness.Steps(harness.SendsOf(func(w harness.Wire) []string { return append([]string{w.Role()}, begin(w)...) }), harness.Reset)
	}

	for _, tc := range []struct {
		name            string
		first, second   func(harness.Wire) []string
		text, reasoning string // what the client has in the end
		cut             bool   // whether an error follows
	}{
		{
			name:  "other reasoning, same text",
			first: func(w harness.Wire) []string { return []string{thinks(w, "Let me see."), w.Text("Once ")} },
			second: func(w harness.Wire) []string {
				return []string{thinks(w, "Well, "), thinks(w, "well."), w.Text("Once upon")}
			},
			text:      "Once upon",
			reasoning: "Let me see.",
		},
		{
			name: "same reasoning and text",
			first: func(w harness.Wire) []string {
				return []string{thinks(w, "Let me "), thinks(w, "see."), w.Text("Once ")}
			},
			second:    func(w harness.Wire) []string { return []string{thinks(w, "Let me see."), w.Text("Once upon")} },
			text:      "Once upon",
			reasoning: "Let me see.",
		},
		{
			name:  "cut while reasoning, same reasoning",
			first: func(w harness.Wire) []string { return []string{thinks(w, "Let me ")} },
			second: func(w harness.Wire) []string {
				return []string{thinks(w, "Let"), thinks(w, " me see."), w.Text("Once upon")}
			},
			text:      "Once upon",
			reasoning: "Let me see.",
		},
		{
			name:      "cut while reasoning, other reasoning",
			first:     func(w harness.Wire) []string { return []string{thinks(w, "Let me ")} },
			second:    func(w harness.Wire) []string { return []string{thinks(w, "Well, well."), w.Text("Once upon")} },
			reasoning: "Let me ",
			cut:       true,
		},
		{
			name:      "cut while reasoning, no reasoning",
			first:     func(w harness.Wire) []string { return []string{thinks(w, "Let me ")} },
			second:    func(w harness.Wire) []string { return []string{w.Text("Let me think.")} },
			reasoning: "Let me ",
			cut:       true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one.Plays(cut(tc.first), answer(tc.second))
			two.Plays(answer(tc.second))
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			if tc.cut {
				tr.WantCut(t, tc.text, "ai_error")
				tr.WantOne(t)
			} else {
				tr.WantText(t, tc.text)
				tr.wantBilled(t, "one", 11, 5)
			}
			if tr.Reasoning != tc.reasoning {
				t.Errorf("reasoning %q, want %q", tr.Reasoning, tc.reasoning)
			}
		})
	}

	t.Run("a refusal is complete or cut", func(t *testing.T) {
		one.Plays(cut(func(w harness.Wire) []string { return []string{refuse(w, "I must ")} }),
			answer(func(w harness.Wire) []string { return []string{refuse(w, "I must not.")} }))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		if tr.Text != "" || tr.Done && tr.Refusal != "I must not." || !tr.Done && (tr.Refusal != "I must " || tr.Code != "ai_error") {
			t.Errorf("text %q, refusal %q, error %q", tr.Text, tr.Refusal, tr.Code)
		}
		tr.WantOne(t)
	})
	t.Run("a refusal is not continued by text", func(t *testing.T) {
		for _, f := range targets {
			f.Plays(answer(func(w harness.Wire) []string { return []string{w.Text("I must not say that.")} }))
		}
		one.Plays(cut(func(w harness.Wire) []string { return []string{refuse(w, "I must ")} }),
			answer(func(w harness.Wire) []string { return []string{w.Text("I must not say that.")} }))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		if tr.Text != "" || tr.Refusal != "I must " || tr.Code != "ai_error" || tr.Done {
			t.Errorf("text %q, refusal %q, error %q", tr.Text, tr.Refusal, tr.Code)
		}
	})
	for name, first := range map[string]func(harness.Wire) []string{
		"arguments": func(w harness.Wire) []string {
			return []string{w.Tool(0, "call-a", "weather", ""), w.Tool(0, "", "", `{"city":"K`)}
		},
		"arguments after text": func(w harness.Wire) []string {
			return []string{w.Text("Let me look."), w.Tool(0, "call-a", "weather", `{"city":"K`)}
		},
		"arguments of the second call": func(w harness.Wire) []string {
			return []string{w.Tool(1, "call-b", "clock", `{}`), w.Tool(0, "call-a", "weather", `{"city":"K`)}
		},
		"a name alone": func(w harness.Wire) []string { return []string{w.Tool(0, "call-a", "weather", "")} },
	} {
		t.Run("tool calls are never spliced/"+name, func(t *testing.T) {
			whole := answer(func(w harness.Wire) []string { return append(first(w), w.Tool(0, "", "", `öln"}`)) })
			one.Plays(cut(first), whole)
			two.Plays(whole)
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			if tr.Code != "ai_error" || tr.Done || strings.Contains(tr.Calls[0].Arguments, "öln") || strings.Count(tr.Calls[0].Arguments, "{") > 1 {
				t.Errorf("error %q, end mark %v, %s", tr.Code, tr.Done, tr.Frames)
			}
			tr.WantOne(t)
			tr.wantCalls(t, 1, 0)
		})
	}
	t.Run("a tool call after spliced text comes from the second answer", func(t *testing.T) {
		one.Plays(cut(func(w harness.Wire) []string { return []string{w.Text("Let me ")} }), harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Text("Let me look."), w.Tool(0, "call-a", "weather", `{"city":`), w.Tool(0, "", "", `"Köln"}`), w.Finish("tool_calls"), w.Usage(11, 5), harness.EndMark}
		}))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		if tr.Text != "Let me look." || tr.Finish != "tool_calls" || !tr.Done || tr.Calls[0].Arguments != `{"city":"Köln"}` || tr.Calls[0].ID != "call-a" {
			t.Errorf("%s", tr.Frames)
		}
		tr.WantOne(t)
		tr.wantCalls(t, 2, 0)
		tr.wantBilled(t, "one", 11, 5)
	})
}
