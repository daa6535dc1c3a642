package ollama

import (
	"errors"
	"slices"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func TestEmbed(t *testing.T) {
	const answer = `{"model":"nomic-embed-text","embeddings":[[0.5,-1],[1,2]],"total_duration":14143917,"load_duration":1019500,"prompt_eval_count":8}`
	replay := providertest.NewReplay(t)
	o := newOllama(t, upstream.Upstream{BaseURL: replay.URL})

	t.Run("has_the_shape_of_OpenAI", func(t *testing.T) {
		replay.Answer(200, nil, []byte(answer), providertest.Bytes)
		preq := &provider.Request{Model: "nomic", Body: []byte(`{"model":"alias","input":["a","b"],"dimensions":2,"user":"u"}`)}
		c, err := o.Embed(t.Context(), preq)
		if err != nil {
			t.Fatal(err)
		}
		if want := `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1]},{"object":"embedding","index":1,"embedding":[1,2]}],"model":"nomic-embed-text","usage":{"prompt_tokens":8,"total_tokens":8}}`; string(c.Body) != want {
			t.Errorf("got %s, want %s", c.Body, want)
		}
		if *c.Usage != (provider.Usage{Input: 8}) || !slices.Equal(preq.Dropped, []string{"user"}) {
			t.Errorf("usage %+v, dropped %q", c.Usage, preq.Dropped)
		}
		requests, bodies := replay.Requests()
		if requests[0].URL.Path != "/api/embed" || string(bodies[0]) != `{"model":"nomic","input":["a","b"],"dimensions":2,"truncate":false}` {
			t.Errorf("called %s with %s", requests[0].URL.Path, bodies[0])
		}
	})
	t.Run("uncounted_tokens_are_estimated", func(t *testing.T) {
		replay.Answer(200, nil, []byte(`{"embeddings":[[0.5]]}`), providertest.Whole)
		c, err := o.Embed(t.Context(), &provider.Request{Model: "nomic", Body: []byte(`{"input":"12345","encoding_format":"base64"}`)})
		if err != nil || *c.Usage != (provider.Usage{Input: 2, Estimated: true}) || c.Model != "nomic" || gjson.GetBytes(c.Body, "data.0.embedding").Str != "AAAAPw==" {
			t.Errorf("got %s, %+v, %v", c.Body, c.Usage, err)
		}
	})
	for _, tc := range []struct {
		name, in, body string
		status         int
		reason         provider.Reason
	}{
		{"fewer_than_texts", `{"input":["a","b"]}`, `{"embeddings":[[1]]}`, 200, provider.ReasonBadAnswer},
		{"another_length", `{"input":"a","dimensions":2}`, `{"embeddings":[[1,2,3]]}`, 200, provider.ReasonBadAnswer},
		{"empty_vector", `{"input":"a"}`, `{"embeddings":[[]]}`, 200, provider.ReasonBadAnswer},
		{"no_numbers", `{"input":"a"}`, `{"embeddings":[["x"]]}`, 200, provider.ReasonBadAnswer},
		{"none", `{"input":"a"}`, `{}`, 200, provider.ReasonBadAnswer},
		{"cut_off", `{"input":"a"}`, `{"embeddings":[[1`, 200, provider.ReasonBadAnswer},
		{"nothing", `{"input":"a"}`, ``, 200, provider.ReasonBadAnswer},
		{"error_with_status_200", `{"input":"a"}`, `{"error":"boom"}`, 200, provider.ReasonUnavailable},
		{"too_long", `{"input":"a"}`, `{"error":"the input length exceeds the context length"}`, 400, provider.ReasonContextLength},
		{"tokens_for_text", `{"input":[1,2]}`, answer, 200, provider.ReasonUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay.Answer(tc.status, nil, []byte(tc.body), providertest.Whole)
			_, err := o.Embed(t.Context(), &provider.Request{Model: "m", Body: []byte(tc.in)})
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.reason {
				t.Errorf("got %v, want reason %d", err, tc.reason)
			}
		})
	}
}
