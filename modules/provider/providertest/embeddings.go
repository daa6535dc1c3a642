package providertest

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"net/http"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

var vectors = [][]float32{{0.5, -1}, {0.25, 2}}

// embeddings checks the calls for embeddings, if the provider has any.
func embeddings(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey, Headers: teams})
	e, ok := s.Provider.(provider.Embedder)
	if ok != (d.Embeddings != nil) {
		t.Fatalf("a provider.Embedder: %v, but the dialect has embeddings: %v", ok, d.Embeddings != nil)
	}
	if !ok {
		t.Skip("there are none")
	}
	for _, tc := range []struct {
		name, body string
		texts      int
		base64     bool
	}{
		{"text", `{"model":"alias","input":"a"}`, 1, false},
		{"list", `{"model":"alias","input":["a","b"]}`, 2, false},
		{"as_base64", `{"model":"alias","input":["a","b"],"encoding_format":"base64"}`, 2, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.Answer(http.StatusOK, jsonType, d.Embeddings([]byte(tc.body), vectors[:tc.texts], 7), Bytes)
			c, err := e.Embed(t.Context(), d.request(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			got, body := s.sent(t)
			if !isPath(got, d.EmbedPath, d.Model) {
				t.Errorf("called %s with %s, want %s", got.RequestURI, body, d.EmbedPath)
			}
			s.headers(t, "a list of embeddings", got, d.Keys(configuredKey, ""))
			isEmbeddings(t, c, vectors[:tc.texts], tc.base64)
		})
	}
	t.Run("failures", func(t *testing.T) {
		for _, tc := range []struct {
			status int
			body   []byte
			reason provider.Reason
		}{
			{http.StatusTooManyRequests, d.Failure(http.StatusTooManyRequests, "slow down"), provider.ReasonRateLimited},
			{http.StatusOK, d.Failure(http.StatusServiceUnavailable, "out of order"), provider.ReasonUnavailable},
			{http.StatusOK, []byte("<html>"), provider.ReasonBadAnswer},
			{http.StatusOK, nil, provider.ReasonBadAnswer},
			{http.StatusOK, []byte(`{"ok":true}`), provider.ReasonBadAnswer},
			{http.StatusOK, d.Embeddings([]byte(`{}`), nil, 7), provider.ReasonBadAnswer},
		} {
			s.Answer(tc.status, jsonType, tc.body, Whole)
			_, err := e.Embed(t.Context(), d.request(`{"model":"alias","input":"a"}`))
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.reason {
				t.Errorf("%d %s: failed with %v, want reason %d", tc.status, tc.body, err, tc.reason)
			}
		}
	})
}

func isEmbeddings(t *testing.T, c *provider.Completion, want [][]float32, asBase64 bool) {
	t.Helper()
	root := gjson.ParseBytes(c.Body)
	list := root.Get("data").Array()
	if root.Get("object").Str != "list" || len(list) != len(want) {
		t.Fatalf("got %s, want a list of %d embeddings", c.Body, len(want))
	}
	for i, v := range list {
		embedding := v.Get("embedding")
		if v.Get("object").Str != "embedding" || v.Get("index").Int() != int64(i) || embedding.IsArray() == asBase64 {
			t.Errorf("an embedding is %s", v.Raw)
		}
		numbers := embedding.Array()
		if asBase64 {
			if embedding.Str != packed(want[i]) {
				t.Errorf("an embedding is %s, want %s", v.Raw, packed(want[i]))
			}
			continue
		}
		for j, n := range numbers {
			if len(numbers) != len(want[i]) || float32(n.Num) != want[i][j] {
				t.Errorf("an embedding is %s, want %v", v.Raw, want[i])
				break
			}
		}
	}
	if c.Usage == nil || *c.Usage != (provider.Usage{Input: 7}) || root.Get("usage.total_tokens").Int() != 7 {
		t.Errorf("usage is %+v, in %s; want 7 tokens", c.Usage, root.Get("usage").Raw)
	}
}

// packed returns a vector in base64, as OpenAI writes it.
func packed(vector []float32) string {
	var b []byte
	for _, f := range vector {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return base64.StdEncoding.EncodeToString(b)
}
