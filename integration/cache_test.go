package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

const headerCache = "X-Ai-Cache"

// cacheTenants have a budget that one answer of wholeAnswer's size uses up.
const cacheTenants = `
	chat {
		tenant acme {
			models fast smart
		}
		tenant globex
		tenant thrifty {
			budget 20 tokens/day
		}
		tenant spender {
			budget 100 tokens/day
		}
	}
`

// cacheSite is a gateway with a cache, and a price for one model.
func cacheSite(f *fakeProvider, more ...string) string {
	return gatewaySite(f, append([]string{"cache 10m\nmodel priced {\nto openai/up-priced\nprice 1000000 1000000\n}"}, more...)...)
}

// wantCache checks what an answer says of the cache.
func wantCache(t testing.TB, header http.Header, want string) {
	t.Helper()
	if got := header.Get(headerCache); got != want {
		t.Errorf("%s %q, want %q", headerCache, got, want)
	}
}

// asks is a question with that text.
func asks(text string) question {
	q := newQuestion("fast")
	q.Messages[0].Content = text
	return q
}

// answersAll answers streams and documents, each with its own text.
func answersAll(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "text/event-stream" {
			sendEvents(w, []string{role, content(text), finished, counted, endMark})
			return
		}
		document(http.StatusOK, strings.Replace(wholeAnswer, "Hello", text, 1))(w, r)
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	up := newFakeProvider(t, answersAll("Hello"))
	c := startCaddy(t, cacheTenants, cacheSite(up))
	globex := newClient(c, "globex", "ann")

	for name, q := range map[string]question{"a document": asks("whole"), "a stream": asks("streamed").streamed(), "a stream with usage": asks("streamed").withUsage()} {
		t.Run(name+" is given again", func(t *testing.T) {
			before := up.count()
			first := globex.complete(q, "X-Trace-Id", "trace-1")
			wantCache(t, first.header, "miss")
			counts := ours(c.metrics())
			tokens := c.metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="input"}`]
			second := newClient(c, "globex", "bob").complete(q, "X-Trace-Id", "trace-2")
			wantCache(t, second.header, "hit")
			if !slices.Equal(first.frames, second.frames) || second.Text != "Hello" {
				t.Errorf("got\n%v\nwant\n%v", second.frames, first.frames)
			}
			for _, name := range []string{"Content-Type", "Cache-Control", "X-Accel-Buffering", "X-Ai-Provider", "X-Model-Id", "X-Tenant-Id"} {
				if got, want := second.header.Values(name), first.header.Values(name); !slices.Equal(got, want) {
					t.Errorf("%s %q, want %q", name, got, want)
				}
			}
			wantHeader(t, first.header, map[string]string{"X-Trace-Id": "trace-1"})
			wantHeader(t, second.header, map[string]string{"X-Trace-Id": "trace-2"})
			if n := up.count() - before; n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
			if got := c.metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="input"}`]; got != tokens {
				t.Errorf("the repeated answer is counted: %v tokens, want %v", got, tokens)
			}
			if now := ours(c.metrics()); len(now) > len(counts)+1 {
				t.Errorf("new series: %v, had %v", now, counts)
			}
		})
	}

	t.Run("what differs is another answer", func(t *testing.T) {
		globex.complete(asks("differs"))
		differs := asks("differs")
		for name, ask := range map[string]func() completion{
			"tenant": func() completion { return newClient(c, "acme", "ann").complete(differs) },
			"model":  func() completion { q := differs; q.Model = "smart"; return globex.complete(q) },
			"stream": func() completion { return globex.complete(differs.streamed()) },
			"usage":  func() completion { return globex.complete(differs.withUsage()) },
			"white space": func() completion {
				return globex.complete(`{"model":"fast", "messages":[{"role":"user","content":"differs"}]}`)
			},
			"unknown field": func() completion {
				return globex.complete(`{"model":"fast","messages":[{"role":"user","content":"differs"}],"x":1}`)
			},
		} {
			before := up.count()
			a := ask()
			wantCache(t, a.header, "miss")
			if a.status != http.StatusOK || up.count() != before+1 {
				t.Errorf("another %s: status %d, %d calls, want 1", name, a.status, up.count()-before)
			}
		}
	})

	t.Run("no-cache passes the cache by and refreshes it", func(t *testing.T) {
		defer up.answers(answersAll("Hello"))
		q := asks("fresh")
		globex.complete(q)
		for i, value := range []string{"no-cache", "max-age=0, No-Cache"} {
			text := fmt.Sprint("Answer ", i)
			up.answers(answersAll(text))
			a := globex.complete(q, "Cache-Control", value)
			wantCache(t, a.header, "miss")
			again := globex.complete(q)
			wantCache(t, again.header, "hit")
			if a.Text != text || again.Text != text {
				t.Errorf("got %q, then %q, want %q", a.Text, again.Text, text)
			}
		}
		up.answers(answersAll("never asked"))
		if a := globex.complete(q, "Cache-Control", "max-age=0"); a.Text != "Answer 1" {
			t.Errorf("got %q", a.Text)
		}
	})

	t.Run("what is not whole is not kept", func(t *testing.T) {
		defer up.answers(answersAll("Hello"))
		for name, tc := range map[string]struct {
			q      question
			answer http.HandlerFunc
		}{
			"an error":           {asks("error"), document(http.StatusInternalServerError, "{}")},
			"a refusal":          {asks("refusal"), document(http.StatusBadRequest, `{"error":{"message":"no","code":"content_filter"}}`)},
			"an error of stream": {asks("error").streamed(), document(http.StatusInternalServerError, "{}")},
			"a cut stream":       {asks("cut").streamed(), sends(role, content("Hel"))},
			"no chat completion": {asks("odd"), document(http.StatusOK, "{}")},
		} {
			up.answers(tc.answer)
			before := up.count()
			for range 2 {
				a := globex.complete(tc.q)
				wantCache(t, a.header, "miss")
				if a.code == "" {
					t.Errorf("%s: no error", name)
				}
			}
			up.answers(answersAll("Hello"))
			a := globex.complete(tc.q)
			wantCache(t, a.header, "miss")
			if n := up.count() - before; n != 3 || a.Text != "Hello" {
				t.Errorf("%s: %d calls, and then %q", name, n, a.Text)
			}
		}
	})

	t.Run("embeddings", func(t *testing.T) {
		defer up.answers(answersAll("Hello"))
		up.answers(document(http.StatusOK, openAIVectors))
		before := up.count()
		for i, want := range []string{"miss", "hit"} {
			resp := globex.do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":["a","b"]}`)
			if text := readAll(t, resp); resp.StatusCode != http.StatusOK || text != openAIVectors {
				t.Errorf("%d: %d %s", i, resp.StatusCode, text)
			}
			wantCache(t, resp.Header, want)
		}
		if n := up.count() - before; n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})

	t.Run("a hit costs nothing of a budget", func(t *testing.T) {
		thrifty := newClient(c, "thrifty", "ann")
		q := asks("once")
		first := thrifty.complete(q)
		wantCache(t, first.header, "miss")
		other := thrifty.complete(asks("too much"))
		other.wantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
		for range 2 {
			a := thrifty.complete(q)
			wantCache(t, a.header, "hit")
			if a.status != http.StatusOK || a.Text != "Hello" {
				t.Errorf("status %d, %q", a.status, a.Text)
			}
		}
	})

	t.Run("what a budget has ended is not kept, but under a key", func(t *testing.T) {
		defer up.answers(answersAll("Hello"))
		spender := newClient(c, "spender", "ann")
		var long []string
		for range 30 {
			long = append(long, content(strings.Repeat("word", 10)))
		}
		up.answers(sends(append(long, finished, endMark)...))
		q := asks("tell me everything").streamed()
		first := spender.complete(q, "Idempotency-Key", "long")
		if first.Finish != "length" || !first.done {
			t.Fatalf("finish %q, %v", first.Finish, first.frames)
		}
		again := spender.complete(q)
		again.wantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
		wantCache(t, again.header, "miss")
		if a := spender.complete(q, "Idempotency-Key", "long"); !slices.Equal(a.frames, first.frames) {
			t.Errorf("got %v, want %v", a.frames, first.frames)
		}
	})

	t.Run("under /chat", func(t *testing.T) {
		for _, stream := range []bool{true, false} {
			before := up.count()
			var costs []float64
			for _, want := range []string{"miss", "hit"} {
				session := newSession()
				resp := globex.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "shared", ModelID: "priced", Stream: &stream})
				wantCache(t, resp.Header, want)
				var text string
				var u usage
				if stream {
					a := readEvents(t, resp).rest()
					if a.done == nil || a.failed != nil || a.done.FinishReason != "stop" {
						t.Fatalf("%s: %+v", want, a.events)
					}
					text, u = a.text, a.done.Usage
				} else {
					doc := gjson.Parse(readAll(t, resp))
					text = doc.Get("data.message").Str
					u = usage{ModelID: doc.Get("data.usage.modelId").Str, TokensIn: doc.Get("data.usage.tokensIn").Int(), TokensOut: doc.Get("data.usage.tokensOut").Int(), CostUSD: doc.Get("data.usage.costUsd").Num}
				}
				if text != "Hello" || u.ModelID != "priced" || u.TokensIn != 7 || u.TokensOut != 3 {
					t.Errorf("%s: %q, %+v", want, text, u)
				}
				costs = append(costs, u.CostUSD)
				wantList(t, "history", contents(globex.history(session)), []string{"user: shared", "assistant: Hello"})
			}
			if n := up.count() - before; n != 1 || costs[0] != 10 || costs[1] != 0 {
				t.Errorf("%d calls that cost %v, want 1, and no cost of the hit", n, costs)
			}
		}
	})

	t.Run("is counted", func(t *testing.T) {
		acme := newClient(c, "acme", "ann")
		before := c.metrics()
		q := asks("counted")
		acme.complete(q)
		acme.complete(q)
		acme.complete(q, "Cache-Control", "no-cache")
		acme.complete(q)
		for result, n := range map[string]float64{"hit": 2, "miss": 1, "bypass": 1} {
			name := fmt.Sprintf("caddy_ai_cache_total{result=%q,tenant=%q}", result, "acme")
			c.wantMetrics(map[string]float64{name: before[name] + n})
		}
	})
}

func TestCacheOff(t *testing.T) {
	t.Parallel()
	up := newFakeProvider(t, answersAll("Hello"))
	c := startCaddy(t, cacheTenants, gatewaySite(up))
	globex := newClient(c, "globex", "ann")
	for range 2 {
		wantCache(t, globex.complete(newQuestion("fast")).header, "")
	}
	if up.count() != 2 {
		t.Errorf("%d calls, want 2", up.count())
	}
}

func TestCacheLasts(t *testing.T) {
	t.Parallel()
	up := newFakeProvider(t, answersAll("Hello"))
	c := startCaddy(t, cacheTenants, cacheSite(up))
	globex := newClient(c, "globex", "ann")

	t.Run("beyond a restart and a kill", func(t *testing.T) {
		for _, q := range []question{asks("kept"), asks("kept").streamed()} {
			globex.complete(q)
		}
		c.stop()
		c.restart()
		before := up.count()
		for _, q := range []question{asks("kept"), asks("kept").streamed()} {
			a := globex.complete(q)
			wantCache(t, a.header, "hit")
			if a.Text != "Hello" || a.Finish != "stop" {
				t.Errorf("%+v", a.frames)
			}
		}
		c.kill()
		c.restart()
		wantCache(t, globex.complete(asks("kept")).header, "hit")
		if n := up.count() - before; n != 0 {
			t.Errorf("%d calls", n)
		}
	})
	t.Run("not beyond a change of the gateway", func(t *testing.T) {
		globex.complete(asks("changed"))
		c.writeConfig(cacheTenants, cacheSite(up, "default_model smart"))
		c.reload()
		wantCache(t, globex.complete(asks("changed")).header, "miss")
	})
	t.Run("not beyond its time", func(t *testing.T) {
		c.writeConfig(cacheTenants, gatewaySite(up, "cache 1s"))
		c.reload()
		globex.complete(asks("short"))
		up.answers(answersAll("Later"))
		eventually(t, "the answer expires", func() bool { return globex.complete(asks("short")).Text == "Later" })
	})
}

// TestCacheWithoutTenant has answers that are nobody's.
func TestCacheWithoutTenant(t *testing.T) {
	t.Parallel()
	up := newFakeProvider(t, answersAll("Hello"))
	site := fmt.Sprintf("ai_gateway {\nprovider openai {\nbase_url %s\n}\ncache 10m\ntenant none\n}", up.url)
	c := startCaddy(t, "", site)
	for _, want := range []string{"miss", "hit"} {
		wantCache(t, newClient(c, "", "").complete(newQuestion("up-1")).header, want)
	}
	c.wantMetrics(map[string]float64{
		`caddy_ai_cache_total{result="hit",tenant=""}`:  1,
		`caddy_ai_cache_total{result="miss",tenant=""}`: 1,
	})
}
