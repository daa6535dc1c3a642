package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestStreamUsage(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	globex := harness.NewClient(c, "globex", "ann")

	for _, tc := range []struct {
		name   string
		events []string
	}{
		{"in a chunk of its own", []string{harness.Role, harness.Content("Hello"), harness.Finished, harness.WithUsage(strings.Replace(harness.Counted, `,"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}`, "", 1), harness.UsageOf(7, 3)), harness.EndMark}},
		{"beside the finish reason", []string{harness.Role, harness.Content("Hello"), harness.WithUsage(harness.Finished, harness.UsageOf(7, 3)), harness.EndMark}},
		{"in every chunk", []string{harness.WithUsage(harness.Role, harness.UsageOf(7, 0)), harness.WithUsage(harness.Content("Hello"), harness.UsageOf(7, 2)), harness.WithUsage(harness.Finished, harness.UsageOf(7, 3)), harness.EndMark}},
		{"null in every other chunk", []string{harness.WithUsage(harness.Role, "null"), harness.WithUsage(harness.Content("Hello"), "null"), harness.WithUsage(harness.Finished, "null"), harness.WithUsage(strings.Replace(harness.Counted, `,"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}`, "", 1), harness.UsageOf(7, 3)), harness.EndMark}},
		{"without an end mark", []string{harness.Content("Hello"), harness.Finished, harness.WithUsage(harness.Finished, harness.UsageOf(7, 3))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up.Plays(harness.Sends(tc.events...))
			a := globex.Complete(harness.NewQuestion("fast").Streamed())
			a.WantWhole(t, "Hello")
			if all := strings.Join(a.Frames, "\n"); strings.Contains(all, "usage") || strings.Contains(all, "prompt_tokens") {
				t.Errorf("unrequested usage:\n%s", all)
			}
			a = globex.Complete(harness.NewQuestion("fast").WithUsage())
			a.WantWhole(t, "Hello")
			wantUsageLast(t, a)
			if a.Usage.Raw != harness.UsageOf(7, 3) {
				t.Errorf("usage %s, want the provider's, %s", a.Usage.Raw, harness.UsageOf(7, 3))
			}
			got := globex.Say(harness.NewSession(), "hi")
			if u := got.Done.Usage; u.TokensIn != 7 || u.TokensOut != 3 || u.TotalTokens != 10 || u.Estimated {
				t.Errorf("/chat: %+v", u)
			}
		})
	}

	t.Run("is estimated if the provider reports none", func(t *testing.T) {
		up.Plays(harness.Sends(harness.Content("Hello, wörld"), harness.Finished, harness.EndMark))
		a := globex.Complete(harness.NewQuestion("fast").WithUsage())
		wantUsageLast(t, a)
		wantEstimate(t, a.Usage, 4)
		if u := globex.Say(harness.NewSession(), "hi").Done.Usage; !u.Estimated || u.TokensOut != 4 || u.TokensIn < 1 || u.TotalTokens != u.TokensIn+4 {
			t.Errorf("/chat: %+v", u)
		}
	})
}

// TestAbsurdUsage has providers whose usage cannot be that of their answer.
func TestAbsurdUsage(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	globex := harness.NewClient(c, "globex", "ann")
	for name, usage := range map[string]string{
		"nothing":  `{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`,
		"negative": `{"prompt_tokens":-5,"completion_tokens":-5,"total_tokens":-10}`,
		"absurd":   `{"prompt_tokens":1000000000000000000,"completion_tokens":1000000000000000000,"total_tokens":2000000000000000000}`,
	} {
		t.Run(name, func(t *testing.T) {
			before := c.Metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`]
			up.Plays(harness.Sends(harness.Content("Hello, wörld"), harness.WithUsage(harness.Finished, usage), harness.EndMark))
			a := globex.Complete(harness.NewQuestion("fast").WithUsage())
			a.WantWhole(t, "Hello, wörld")
			wantUsageLast(t, a)
			wantEstimate(t, a.Usage, 4)
			if u := globex.Say(harness.NewSession(), "hi").Done.Usage; !u.Estimated || u.TokensOut != 4 || u.TokensIn < 1 || u.TokensIn > 100 {
				t.Errorf("/chat: %+v", u)
			}
			up.Plays(harness.Document(http.StatusOK, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello, wörld"},"finish_reason":"stop"}],"usage":`+usage+`}`))
			a = globex.Complete(harness.NewQuestion("fast"))
			wantEstimate(t, a.Usage, 4)
			if after := c.Metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`]; after != before+12 {
				t.Errorf("%v output tokens are counted, want 12", after-before)
			}

			up.Plays(harness.Document(http.StatusOK, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m","usage":`+usage+`}`))
			var vectors struct{ Usage json.RawMessage }
			globex.Call(http.MethodPost, "/v1/embeddings", map[string]string{"model": "fast", "input": "Hello, wörld"}, &vectors)
			if got := string(vectors.Usage); got != `{"prompt_tokens":4,"total_tokens":4,"estimated":true}` {
				t.Errorf("usage of embeddings %s, want an estimate", got)
			}
		})
	}
}

// wantUsageLast checks that only the last chunk before the end mark has the usage,
// and has nothing else.
func wantUsageLast(t testing.TB, a harness.Completion) {
	t.Helper()
	last := len(a.Frames) - 2
	for i, frame := range a.Frames {
		u := gjson.Get(frame, "usage")
		if (i == last) != u.IsObject() {
			t.Errorf("frame %d of %d: %s", i, len(a.Frames), frame)
		}
	}
	chunk := gjson.Parse(a.Frames[last])
	if choices := chunk.Get("choices"); choices.Raw != "[]" || chunk.Get("id").Str != "c-1" || chunk.Get("model").Str != "up-1" {
		t.Errorf("the usage is in %s", chunk)
	}
}

func wantEstimate(t testing.TB, u gjson.Result, out int64) {
	t.Helper()
	in := u.Get("prompt_tokens").Int()
	if !u.Get("estimated").Bool() || in < 1 || u.Get("completion_tokens").Int() != out || u.Get("total_tokens").Int() != in+out {
		t.Errorf("usage %s, want an estimate of %d tokens out", u, out)
	}
}

func TestWholeUsage(t *testing.T) {
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeAnswer))
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	globex := harness.NewClient(c, "globex", "ann")

	t.Run("is the provider's", func(t *testing.T) {
		a := globex.Complete(harness.NewQuestion("fast"))
		if a.Status != http.StatusOK || a.Frames[0] != harness.WholeAnswer {
			t.Errorf("%d, %s; want the provider's answer unchanged", a.Status, a.Frames)
		}
	})
	t.Run("is estimated if the provider reports none", func(t *testing.T) {
		without, _, _ := strings.Cut(harness.WholeAnswer, `,"usage"`)
		for _, answer := range []string{without + "}", without + `,"usage":null}`} {
			up.Plays(harness.Document(http.StatusOK, answer))
			a := globex.Complete(harness.NewQuestion("fast"))
			if a.Text != "Hello" {
				t.Errorf("%d, %s", a.Status, a.Frames)
			}
			wantEstimate(t, a.Usage, 2)
		}
	})
}
