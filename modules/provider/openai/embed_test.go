package openai

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

func TestEmbed(t *testing.T) {
	const list = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2e-3]},{"object":"embedding","index":1,"embedding":"AAAA"}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}`
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL).(provider.Embedder)

	t.Run("bytes_pass_both_ways", func(t *testing.T) {
		replay.Answer(200, nil, []byte("\n"+list+"\n"), providertest.Bytes)
		preq := &provider.Request{Model: "text-embedding-3-small", Body: []byte(`{ "input":["a","b"], "model":"alias","encoding_format":"float","x":1.50}`)}
		c, err := p.Embed(t.Context(), preq)
		if err != nil {
			t.Fatal(err)
		}
		if string(c.Body) != list || c.Model != "text-embedding-3-small" || c.Usage == nil || *c.Usage != (provider.Usage{Input: 8}) {
			t.Errorf("got %s, %+v", c.Body, c.Facts)
		}
		requests, bodies := replay.Requests()
		if requests[0].URL.Path != "/v1/embeddings" || requests[0].Header.Get("Authorization") != "Bearer key-1" {
			t.Errorf("called %s with %q", requests[0].URL.Path, requests[0].Header.Get("Authorization"))
		}
		if want := `{ "input":["a","b"], "model":"text-embedding-3-small","encoding_format":"float","x":1.50}`; string(bodies[0]) != want {
			t.Errorf("sent %s, want %s", bodies[0], want)
		}
	})
	t.Run("numbers_where_base64_was_asked_for", func(t *testing.T) {
		replay.Answer(200, nil, []byte(`{"data":[{"index":0,"embedding":[0.5, -0.25]},{"index":1,"embedding":"AAAAPwAAgL4="}],"model":"m"}`), providertest.Whole)
		c, err := p.Embed(t.Context(), &provider.Request{Model: "m", Body: []byte(`{"input":["a","b"],"encoding_format":"base64"}`)})
		if err != nil {
			t.Fatal(err)
		}
		if want := `{"data":[{"index":0,"embedding":"AAAAPwAAgL4="},{"index":1,"embedding":"AAAAPwAAgL4="}],"model":"m"}`; string(c.Body) != want {
			t.Errorf("got %s, want %s", c.Body, want)
		}
	})
	for _, tc := range []struct {
		name, body string
		status     int
		reason     provider.Reason
	}{
		{"no_list", `{"object":"list"}`, 200, provider.ReasonBadAnswer},
		{"empty_list", `{"data":[]}`, 200, provider.ReasonBadAnswer},
		{"list_of_something_else", `{"data":[{"embedding":[1]},{"id":"gpt-4o"}]}`, 200, provider.ReasonBadAnswer},
		{"chat_completion", `{"choices":[{"message":{"content":"hi"}}]}`, 200, provider.ReasonBadAnswer},
		{"html", `<html>`, 200, provider.ReasonBadAnswer},
		{"nothing", ``, 200, provider.ReasonBadAnswer},
		{"cut_off", list[:60], 200, provider.ReasonBadAnswer},
		{"brackets", strings.Repeat("[", 1<<20), 200, provider.ReasonBadAnswer},
		{"error_with_status_200", `{"error":{"message":"slow down","code":429}}`, 200, provider.ReasonRateLimited},
		{"too_long", `{"error":{"message":"This model's maximum context length is 8192 tokens"}}`, 400, provider.ReasonContextLength},
		{"key", `{"error":{"message":"no"}}`, 401, provider.ReasonCredentials},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay.Answer(tc.status, nil, []byte(tc.body), providertest.Whole)
			_, err := p.Embed(t.Context(), &provider.Request{Model: "m", Body: []byte(`{"input":"a"}`)})
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.reason {
				t.Errorf("got %v, want reason %d", err, tc.reason)
			}
		})
	}
}
