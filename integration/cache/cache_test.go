package cache

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// wantCache checks the cache header of an answer.
func wantCache(t testing.TB, header http.Header, want string) {
	t.Helper()
	if got := header.Get(harness.HeaderCache); got != want {
		t.Errorf("%s %q, want %q", harness.HeaderCache, got, want)
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.AnswersAll("Hello"))
	c := harness.Start(t, harness.CacheTenants, harness.CacheSite(up))
	globex := harness.NewClient(c, "globex", "ann")

	for name, q := range map[string]harness.Question{"a document": harness.QuestionOf("whole"), "a stream": harness.QuestionOf("streamed").Streamed(), "a stream with usage": harness.QuestionOf("streamed").WithUsage()} {
		t.Run(name+" is repeated", func(t *testing.T) {
			before := up.Count()
			first := globex.Complete(q, "X-Trace-Id", "trace-1")
			wantCache(t, first.Header, "miss")
			counts := harness.OurMetrics(c.Metrics())
			tokens := c.Metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="input"}`]
			second := harness.NewClient(c, "globex", "bob").Complete(q, "X-Trace-Id", "trace-2")
			wantCache(t, second.Header, "hit")
			if !slices.Equal(first.Frames, second.Frames) || second.Text != "Hello" {
				t.Errorf("got\n%v\nwant\n%v", second.Frames, first.Frames)
			}
			for _, name := range []string{"Content-Type", "Cache-Control", "X-Accel-Buffering", "X-Ai-Provider", "X-Model-Id", "X-Tenant-Id"} {
				if got, want := second.Header.Values(name), first.Header.Values(name); !slices.Equal(got, want) {
					t.Errorf("%s %q, want %q", name, got, want)
				}
			}
			harness.WantHeader(t, first.Header, map[string]string{"X-Trace-Id": "trace-1"})
			harness.WantHeader(t, second.Header, map[string]string{"X-Trace-Id": "trace-2"})
			if n := up.Count() - before; n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
			if got := c.Metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="input"}`]; got != tokens {
				t.Errorf("the repeated answer is counted: %v tokens, want %v", got, tokens)
			}
			if now := harness.OurMetrics(c.Metrics()); len(now) > len(counts)+1 {
				t.Errorf("new series: %v, had %v", now, counts)
			}
		})
	}

	t.Run("any difference in the request is a miss", func(t *testing.T) {
		globex.Complete(harness.QuestionOf("differs"))
		differs := harness.QuestionOf("differs")
		for name, ask := range map[string]func() harness.Completion{
			"tenant": func() harness.Completion { return harness.NewClient(c, "acme", "ann").Complete(differs) },
			"model":  func() harness.Completion { q := differs; q.Model = "smart"; return globex.Complete(q) },
			"stream": func() harness.Completion { return globex.Complete(differs.Streamed()) },
			"usage":  func() harness.Completion { return globex.Complete(differs.WithUsage()) },
			"white space": func() harness.Completion {
				return globex.Complete(`{"model":"fast", "messages":[{"role":"user","content":"differs"}]}`)
			},
			"unknown field": func() harness.Completion {
				return globex.Complete(`{"model":"fast","messages":[{"role":"user","content":"differs"}],"x":1}`)
			},
		} {
			before := up.Count()
			a := ask()
			wantCache(t, a.Header, "miss")
			if a.Status != http.StatusOK || up.Count() != before+1 {
				t.Errorf("different %s: status %d, %d calls, want 1", name, a.Status, up.Count()-before)
			}
		}
	})

	t.Run("no-cache bypasses the cache and refreshes it", func(t *testing.T) {
		defer up.Plays(harness.AnswersAll("Hello"))
		q := harness.QuestionOf("fresh")
		globex.Complete(q)
		for i, value := range []string{"no-cache", "max-age=0, No-Cache"} {
			text := fmt.Sprint("Answer ", i)
			up.Plays(harness.AnswersAll(text))
			a := globex.Complete(q, "Cache-Control", value)
			wantCache(t, a.Header, "miss")
			again := globex.Complete(q)
			wantCache(t, again.Header, "hit")
			if a.Text != text || again.Text != text {
				t.Errorf("got %q, then %q, want %q", a.Text, again.Text, text)
			}
		}
		up.Plays(harness.AnswersAll("never asked"))
		if a := globex.Complete(q, "Cache-Control", "max-age=0"); a.Text != "Answer 1" {
			t.Errorf("got %q", a.Text)
		}
	})

	t.Run("an incomplete answer is not cached", func(t *testing.T) {
		defer up.Plays(harness.AnswersAll("Hello"))
		for name, tc := range map[string]struct {
			q      harness.Question
			answer harness.Script
		}{
			"an error":           {harness.QuestionOf("error"), harness.Document(http.StatusInternalServerError, "{}")},
			"a refusal":          {harness.QuestionOf("refusal"), harness.Document(http.StatusBadRequest, `{"error":{"message":"no","code":"content_filter"}}`)},
			"an error of stream": {harness.QuestionOf("error").Streamed(), harness.Document(http.StatusInternalServerError, "{}")},
			"a cut stream":       {harness.QuestionOf("cut").Streamed(), harness.Sends(harness.Role, harness.Content("Hel"))},
			"no chat completion": {harness.QuestionOf("odd"), harness.Document(http.StatusOK, "{}")},
		} {
			up.Plays(tc.answer)
			before := up.Count()
			for range 2 {
				a := globex.Complete(tc.q)
				wantCache(t, a.Header, "miss")
				if a.Code == "" {
					t.Errorf("%s: no error", name)
				}
			}
			up.Plays(harness.AnswersAll("Hello"))
			a := globex.Complete(tc.q)
			wantCache(t, a.Header, "miss")
			if n := up.Count() - before; n != 3 || a.Text != "Hello" {
				t.Errorf("%s: %d calls, then %q", name, n, a.Text)
			}
		}
	})

	t.Run("embeddings", func(t *testing.T) {
		defer up.Plays(harness.AnswersAll("Hello"))
		up.Plays(harness.Document(http.StatusOK, harness.OpenAIVectors))
		before := up.Count()
		for i, want := range []string{"miss", "hit"} {
			resp := globex.Do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":["a","b"]}`)
			if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || text != harness.OpenAIVectors {
				t.Errorf("%d: %d %s", i, resp.StatusCode, text)
			}
			wantCache(t, resp.Header, want)
		}
		if n := up.Count() - before; n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})

	t.Run("a hit costs no budget", func(t *testing.T) {
		thrifty := harness.NewClient(c, "thrifty", "ann")
		q := harness.QuestionOf("once")
		first := thrifty.Complete(q)
		wantCache(t, first.Header, "miss")
		other := thrifty.Complete(harness.QuestionOf("too much"))
		other.WantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
		for range 2 {
			a := thrifty.Complete(q)
			wantCache(t, a.Header, "hit")
			if a.Status != http.StatusOK || a.Text != "Hello" {
				t.Errorf("status %d, %q", a.Status, a.Text)
			}
		}
	})

	t.Run("an answer that a budget ended is kept only under an idempotency key", func(t *testing.T) {
		defer up.Plays(harness.AnswersAll("Hello"))
		spender := harness.NewClient(c, "spender", "ann")
		var long []string
		for range 30 {
			long = append(long, harness.Content(strings.Repeat("word", 10)))
		}
		up.Plays(harness.Sends(append(long, harness.Finished, harness.EndMark)...))
		q := harness.QuestionOf("tell me everything").Streamed()
		first := spender.Complete(q, "Idempotency-Key", "long")
		if first.Finish != "length" || !first.Done {
			t.Fatalf("finish %q, %v", first.Finish, first.Frames)
		}
		again := spender.Complete(q)
		again.WantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
		wantCache(t, again.Header, "miss")
		if a := spender.Complete(q, "Idempotency-Key", "long"); !slices.Equal(a.Frames, first.Frames) {
			t.Errorf("got %v, want %v", a.Frames, first.Frames)
		}
	})

	t.Run("under /chat", func(t *testing.T) {
		for _, stream := range []bool{true, false} {
			before := up.Count()
			var costs []float64
			for _, want := range []string{"miss", "hit"} {
				session := harness.NewSession()
				resp := globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "shared", ModelID: "priced", Stream: &stream})
				wantCache(t, resp.Header, want)
				var text string
				var u harness.Usage
				if stream {
					a := harness.ReadEvents(t, resp).Rest()
					if a.Done == nil || a.Failed != nil || a.Done.FinishReason != "stop" {
						t.Fatalf("%s: %+v", want, a.Events)
					}
					text, u = a.Text, a.Done.Usage
				} else {
					doc := gjson.Parse(harness.ReadAll(t, resp))
					text = doc.Get("data.message").Str
					u = harness.Usage{ModelID: doc.Get("data.usage.modelId").Str, TokensIn: doc.Get("data.usage.tokensIn").Int(), TokensOut: doc.Get("data.usage.tokensOut").Int(), CostUSD: doc.Get("data.usage.costUsd").Num}
				}
				if text != "Hello" || u.ModelID != "priced" || u.TokensIn != 7 || u.TokensOut != 3 {
					t.Errorf("%s: %q, %+v", want, text, u)
				}
				costs = append(costs, u.CostUSD)
				harness.WantList(t, "history", harness.Contents(globex.History(session)), []string{"user: shared", "assistant: Hello"})
			}
			if n := up.Count() - before; n != 1 || costs[0] != 10 || costs[1] != 0 {
				t.Errorf("%d calls that cost %v, want one call and a free hit", n, costs)
			}
		}
	})

	t.Run("hits, misses and bypasses are counted", func(t *testing.T) {
		acme := harness.NewClient(c, "acme", "ann")
		before := c.Metrics()
		q := harness.QuestionOf("counted")
		acme.Complete(q)
		acme.Complete(q)
		acme.Complete(q, "Cache-Control", "no-cache")
		acme.Complete(q)
		for result, n := range map[string]float64{"hit": 2, "miss": 1, "bypass": 1} {
			name := fmt.Sprintf("caddy_ai_cache_total{result=%q,tenant=%q}", result, "acme")
			c.WantMetrics(map[string]float64{name: before[name] + n})
		}
	})
}

func TestCacheOff(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.AnswersAll("Hello"))
	c := harness.Start(t, harness.CacheTenants, harness.GatewaySite(up))
	globex := harness.NewClient(c, "globex", "ann")
	for range 2 {
		wantCache(t, globex.Complete(harness.NewQuestion("fast")).Header, "")
	}
	if up.Count() != 2 {
		t.Errorf("%d calls, want 2", up.Count())
	}
}

func TestCacheLasts(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.AnswersAll("Hello"))
	c := harness.Start(t, harness.CacheTenants, harness.CacheSite(up))
	globex := harness.NewClient(c, "globex", "ann")

	t.Run("across a restart and a kill", func(t *testing.T) {
		for _, q := range []harness.Question{harness.QuestionOf("kept"), harness.QuestionOf("kept").Streamed()} {
			globex.Complete(q)
		}
		c.Stop()
		c.Restart()
		before := up.Count()
		for _, q := range []harness.Question{harness.QuestionOf("kept"), harness.QuestionOf("kept").Streamed()} {
			a := globex.Complete(q)
			wantCache(t, a.Header, "hit")
			if a.Text != "Hello" || a.Finish != "stop" {
				t.Errorf("%+v", a.Frames)
			}
		}
		c.Kill()
		c.Restart()
		wantCache(t, globex.Complete(harness.QuestionOf("kept")).Header, "hit")
		if n := up.Count() - before; n != 0 {
			t.Errorf("%d calls", n)
		}
	})
	t.Run("not across a change of the configuration", func(t *testing.T) {
		globex.Complete(harness.QuestionOf("changed"))
		c.WriteConfig(harness.CacheTenants, harness.CacheSite(up, "default_model smart"))
		c.Reload()
		wantCache(t, globex.Complete(harness.QuestionOf("changed")).Header, "miss")
	})
	t.Run("not longer than configured", func(t *testing.T) {
		c.WriteConfig(harness.CacheTenants, harness.GatewaySite(up, "cache 1s"))
		c.Reload()
		globex.Complete(harness.QuestionOf("short"))
		up.Plays(harness.AnswersAll("Later"))
		harness.Eventually(t, "the answer expires", func() bool { return globex.Complete(harness.QuestionOf("short")).Text == "Later" })
	})
}

// TestCacheWithoutTenant caches answers that belong to no tenant.
func TestCacheWithoutTenant(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.AnswersAll("Hello"))
	site := fmt.Sprintf("ai_gateway {\nprovider openai {\nbase_url %s\n}\ncache 10m\ntenant none\n}", up.URL)
	c := harness.Start(t, "", site)
	for _, want := range []string{"miss", "hit"} {
		wantCache(t, harness.NewClient(c, "", "").Complete(harness.NewQuestion("up-1")).Header, want)
	}
	c.WantMetrics(map[string]float64{
		`caddy_ai_cache_total{result="hit",tenant=""}`:  1,
		`caddy_ai_cache_total{result="miss",tenant=""}`: 1,
	})
}
