package failover

import (
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestRescueByContinuing has a target that can continue an assistant message.
func TestRescueByContinuing(t *testing.T) {
	t.Parallel()
	const text = "Once upon a time, in a grün land"
	targets := harness.NewTargets(t, "one")
	one := targets[0]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Provider: "continue on", Gateway: harness.Patient})

	for _, tc := range []struct {
		name  string
		begin []string
		asks  string // the assistant message that the target continues
	}{
		{"within a word", []string{"Once ", "up"}, "Once up"},
		{"after a word", []string{"Once ", "upon"}, "Once upon"},
		{"after white space", []string{"Once ", "upon "}, "Once upon"},
		{"after a comma", []string{"Once ", "upon a time,"}, "Once upon a time,"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one.Plays(harness.Steps(harness.Begins(tc.begin...), harness.Reset), harness.Knows(11, 5, text))
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantText(t, text)
			tr.wantCalls(t, 2)
			body := one.Last().Body
			if n := gjson.Get(body, "messages.#").Int(); n != 2 || gjson.Get(body, "messages.1.role").Str != "assistant" ||
				gjson.Get(body, "messages.1.content").Str != tc.asks {
				t.Errorf("want the assistant message %q, the target got %s", tc.asks, body)
			}
			carried := float64((len(tc.asks) + 3) / 4)
			if out := tr.logged["tokens_out"]; out != 5+carried {
				t.Errorf("%v tokens out are logged, want %v", out, 5+carried)
			}
			if u := tr.Usage; u.Get("completion_tokens").Num != 5+carried || !u.Get("estimated").Bool() {
				t.Errorf("usage %s, want an estimate of %v tokens out", u, 5+carried)
			}

			one.Plays(harness.Steps(harness.Begins(tc.begin...), harness.Reset), harness.Knows(11, 5, text))
			tn := s.turn(t)
			tn.wantStored(t, s.Globex, text)
			tn.wantCalls(t, 2)
		})
	}
	t.Run("white space alone is not continued", func(t *testing.T) {
		one.Plays(harness.Steps(harness.Begins("\n\n"), harness.Reset), harness.Knows(11, 5, "\n\nOnce upon a time"))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "\n\nOnce upon a time")
		tr.wantCalls(t, 2)
	})
	t.Run("a target that refuses to continue is asked for the whole answer", func(t *testing.T) {
		one.Plays(harness.Steps(harness.Begins("Once ", "upon "), harness.Reset), harness.Refuses(400, "x"), harness.Says(11, 5, text))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, text)
		tr.wantCalls(t, 3)
		tr.wantBilled(t, "one", 11, 5)
	})
	t.Run("a cut continuation is rescued", func(t *testing.T) {
		one.Plays(harness.Steps(harness.Begins("Once "), harness.Reset), harness.Steps(harness.Begins(" upon"), harness.Reset), harness.Says(11, 5, text))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, text)
		tr.wantCalls(t, 3)
		tr.wantBilled(t, "one", 11, 5)
	})
	t.Run("rescues are limited", func(t *testing.T) {
		one.Plays(harness.Steps(harness.Begins("Once"), harness.Reset), harness.Steps(harness.Begins(" upon"), harness.Reset), harness.Steps(harness.Begins("Once upon a"), harness.Reset), harness.Says(11, 5, text))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantCut(t, "Once upon a", "ai_error")
		tr.WantOne(t)
		tr.wantCalls(t, 3)
	})
}
