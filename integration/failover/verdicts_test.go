package failover

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// document answers with choices, and with the usage of an answer.
func document(choices string) harness.Script {
	return harness.Document(http.StatusOK, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[`+choices+`],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}`)
}

// deadStreams say nothing of an answer.
func deadStreams(w harness.Wire) map[string][]string {
	choice := func(rest string) string { return w.Envelope(`[{"index":0,"delta":{},`+rest+`}]`, "") }
	return map[string][]string{
		"the end mark alone":          {harness.EndMark},
		"a role and the end mark":     {w.Role(), harness.EndMark},
		"a usage and the end mark":    {w.Role(), w.Usage(11, 5), harness.EndMark},
		"no choice":                   {w.Envelope("[]", ""), w.Usage(11, 5), harness.EndMark},
		"finish reason error":         {w.Role(), w.Finish("error"), w.Usage(11, 5), harness.EndMark},
		"finish reason abort":         {w.Role(), w.Finish("abort"), harness.EndMark},
		"an error in a choice":        {choice(`"finish_reason":"stop","error":{"code":400,"message":"upstream-words"}`), harness.EndMark},
		"an error in a delta":         {w.Event(`{"error":{"message":"upstream-words"}}`, ""), harness.EndMark},
		"an event that is not whole":  {w.Role(), `data: {"choices":[{"index":0,"delta":{"content":"x` + "\n\n", w.Finish("stop"), harness.EndMark},
		"an error frame after a role": {w.Role(), "data: {\"error\":{\"message\":\"upstream-words\",\"code\":502}}\n\n", harness.EndMark},
	}
}

var deadDocuments = map[string]string{
	"no choice":             ``,
	"an empty message":      `{"index":0,"message":{"role":"assistant","content":""},"finish_reason":null}`,
	"finish reason error":   `{"index":0,"message":{"content":""},"finish_reason":"error","error":{"code":502}}`,
	"no message":            `{"index":0,"message":null,"finish_reason":"stop"}`,
	"finish reason timeout": `{"index":0,"message":{"content":"Hel"},"finish_reason":"timeout"}`,
	"text and an error":     `{"index":0,"message":{"content":"Hel"},"finish_reason":"error"}`,
	"an error in the text":  `{"index":0,"message":{"content":"Hel","error":{"message":"upstream-words"}},"finish_reason":"stop"}`,
	"more than asked for":   `{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":"b"},"finish_reason":"stop"}`,
	"40,000 choices":        strings.TrimSuffix(strings.Repeat(`{"message":{"content":[{"type":"text","text":"a"}]}},`, 40_000), ","),
}

// TestDeadAnswers has answers with status 200 that are failures: the target is
// called again, and then the next one.
func TestDeadAnswers(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	refused := harness.Refuses(http.StatusInternalServerError, "x")

	wantRescued := func(t *testing.T, q harness.Question) {
		t.Helper()
		two.Plays(harness.Says(7, 3, "Hello"))
		tr := s.try(t, q)
		tr.WantText(t, "Hello")
		tr.wantCalls(t, 2, 1)
		tr.wantFrom(t, "two", 3, true)
		tr.wantBilled(t, "two", 7, 3)

		two.Plays(refused)
		tr = s.try(t, q)
		tr.WantRefused(t, http.StatusBadGateway, "ai_error")
		tr.wantCalls(t, 2, 2)
		tr.wantNothingBilled(t)
		if all := fmt.Sprint(tr.Frames); strings.Contains(all, "upstream-words") {
			t.Errorf("the provider's message reached the client: %s", all)
		}
	}
	for name := range deadStreams(harness.Wire{}) {
		t.Run("stream/"+name, func(t *testing.T) {
			one.Plays(harness.SendsOf(func(w harness.Wire) []string { return deadStreams(w)[name] }))
			wantRescued(t, harness.NewQuestion("fast").WithUsage())
		})
	}
	for name, choices := range deadDocuments {
		t.Run("document/"+name, func(t *testing.T) {
			one.Plays(document(choices))
			wantRescued(t, harness.NewQuestion("fast"))
		})
	}
	t.Run("as many choices as asked for are an answer", func(t *testing.T) {
		one.Plays(document(deadDocuments["more than asked for"]))
		resp := s.Globex.Do(http.MethodPost, harness.CompletionsPath, `{"model":"fast","n":2,"messages":[{"role":"user","content":"hi"}]}`)
		if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"b"`) {
			t.Errorf("status %d: %s", resp.StatusCode, body)
		}
	})
}

// TestFailedAfterContent has streams that fail after text: another call completes
// them.
func TestFailedAfterContent(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
	for name, more := range map[string]func(harness.Wire) []string{
		"finish reason error":  func(w harness.Wire) []string { return []string{w.Finish("error"), harness.EndMark} },
		"an error in a choice": func(w harness.Wire) []string { return deadStreams(w)["an error in a choice"] },
		"a cut event": func(w harness.Wire) []string {
			return []string{`data: {"id":"g","choices":[{"index":0,"delta":{"content":"lo"},"fini` + "\n\n", w.Finish("stop"), harness.EndMark}
		},
	} {
		t.Run(name, func(t *testing.T) {
			one.Plays(
				harness.SendsOf(func(w harness.Wire) []string { return append([]string{w.Role(), w.Text("Hel")}, more(w)...) }),
				harness.Says(11, 5, "Hello"))
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantText(t, "Hello")
			tr.wantCalls(t, 2, 0)

			one.Plays(harness.SendsOf(func(w harness.Wire) []string { return append([]string{w.Role(), w.Text("Hel")}, more(w)...) }))
			two.Plays(harness.Refuses(http.StatusInternalServerError, "x"))
			tr = s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantCut(t, "Hel", "ai_error")
			tn := s.turn(t)
			harness.WantCutTurn(t, s.Globex, tn.session, tn.Answered, "Hel", "ai_error")
		})
	}
}
