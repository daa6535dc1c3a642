package gemini

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func TestEmbed(t *testing.T) {
	for _, tc := range []struct {
		name, body, answer, call, want string
		usage                          provider.Usage
	}{
		{
			name:   "texts",
			body:   `{"model":"alias","input":["hi","ho"],"dimensions":2}`,
			answer: `{"embeddings":[{"values":[0.5,-1]},{"values":[0.25,1e-3]}],"usageMetadata":{"promptTokenCount":12}}`,
			call: `{"requests":[{"model":"models/e","content":{"parts":[{"text":"hi"}]},"outputDimensionality":2},` +
				`{"model":"models/e","content":{"parts":[{"text":"ho"}]},"outputDimensionality":2}]}`,
			want:  `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1]},{"object":"embedding","index":1,"embedding":[0.25,0.001]}],"model":"e","usage":{"prompt_tokens":12,"total_tokens":12}}`,
			usage: provider.Usage{Input: 12},
		},
		{
			name:   "base64_without_a_count",
			body:   `{"model":"alias","input":"12345","encoding_format":"base64"}`,
			answer: `{"embeddings":[{"values":[1]}]}`,
			call:   `{"requests":[{"model":"models/e","content":{"parts":[{"text":"12345"}]}}]}`,
			want:   `{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPw=="}],"model":"e","usage":{"prompt_tokens":2,"total_tokens":2}}`,
			usage:  provider.Usage{Input: 2, Estimated: true},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(200, nil, []byte(tc.answer), providertest.Whole)
			g := newGemini(t, upstream.Upstream{BaseURL: replay.URL, APIKey: "k"})
			c, err := g.Embed(t.Context(), &provider.Request{Model: "models/e", Body: []byte(tc.body)})
			if err != nil {
				t.Fatal(err)
			}
			requests, bodies := replay.Requests()
			if r := requests[0]; r.RequestURI != "/models/e:batchEmbedContents" || r.Header.Get("X-Goog-Api-Key") != "k" || string(bodies[0]) != tc.call {
				t.Errorf("called %s with %s", r.RequestURI, bodies[0])
			}
			if string(c.Body) != tc.want || *c.Usage != tc.usage {
				t.Errorf("usage %+v\n got %s\nwant %s", c.Usage, c.Body, tc.want)
			}
		})
	}
}

// TestEmbedMany asks for more texts than fit in one call: the vectors come back
// in order, and all tokens are counted.
func TestEmbedMany(t *testing.T) {
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		var body embedRequests
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		var values []string
		for _, q := range body.Requests {
			values = append(values, `{"values":[`+q.Content.Parts[0].Text+`]}`)
		}
		fmt.Fprintf(w, `{"embeddings":[%s],"usageMetadata":{"promptTokenCount":%d}}`, strings.Join(values, ","), len(values))
	}))
	t.Cleanup(srv.Close)
	input := make([]string, 250)
	for i := range input {
		input[i] = fmt.Sprint(i)
	}
	body, _ := json.Marshal(map[string]any{"input": input})
	g := newGemini(t, upstream.Upstream{BaseURL: srv.URL})
	c, err := g.Embed(t.Context(), &provider.Request{Model: "e", Body: body})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range gjson.GetBytes(c.Body, "data").Array() {
		if e.Get("index").Int() != int64(i) || e.Get("embedding").Raw != fmt.Sprintf("[%d]", i) {
			t.Errorf("embedding %d is %s", i, e.Raw)
		}
	}
	if n := gjson.GetBytes(c.Body, "data.#").Int(); n != 250 || calls != 3 || *c.Usage != (provider.Usage{Input: 250}) {
		t.Errorf("%d embeddings of %d calls, usage %+v", n, calls, c.Usage)
	}
}

func TestEmbedFailures(t *testing.T) {
	for _, tc := range []struct {
		name, base, body, answer string
		status                   int
		reason                   provider.Reason
	}{
		{"too_few", "", `{"input":["a","b"]}`, `{"embeddings":[{"values":[1]}]}`, 200, provider.ReasonBadAnswer},
		{"empty_vector", "", `{"input":"a"}`, `{"embeddings":[{}]}`, 200, provider.ReasonBadAnswer},
		{"number_too_large", "", `{"input":"a"}`, `{"embeddings":[{"values":[1e300]}]}`, 200, provider.ReasonBadAnswer},
		{"no_json", "", `{"input":"a"}`, `<html>`, 200, provider.ReasonBadAnswer},
		{"error_with_status_200", "", `{"input":"a"}`, `{"error":{"code":503,"message":"x"}}`, 200, provider.ReasonUnavailable},
		{"unknown_model", "", `{"input":"a"}`, `{"error":{"code":404,"message":"x"}}`, 404, provider.ReasonModel},
		{"tokens", "", `{"input":[1,2]}`, ``, 200, provider.ReasonUnsupported},
		{"vertex", "/v1/projects/p/locations/l/publishers/google", `{"input":"a"}`, ``, 200, provider.ReasonUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(tc.status, nil, []byte(tc.answer), providertest.Whole)
			g := newGemini(t, upstream.Upstream{BaseURL: replay.URL + tc.base})
			_, err := g.Embed(t.Context(), &provider.Request{Model: "e", Body: []byte(tc.body)})
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.reason {
				t.Errorf("failed with %v, want reason %d", err, tc.reason)
			}
			if requests, _ := replay.Requests(); tc.reason == provider.ReasonUnsupported && len(requests) > 0 {
				t.Error("the provider was called all the same")
			}
		})
	}
}
