package dialect

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestParseEmbeddings(t *testing.T) {
	t.Run("takes_one_text_or_many", func(t *testing.T) {
		for body, want := range map[string][]string{
			`{"input":"hi"}`:                    {"hi"},
			`{"input":["hi","ho"],"user":null}`: {"hi", "ho"},
		} {
			req := &provider.Request{Body: []byte(body)}
			e, err := ParseEmbeddings(req)
			if err != nil || !slices.Equal(e.Input, want) || e.Base64 || e.Dimensions != nil || len(req.Dropped) > 0 {
				t.Errorf("%s: got %+v, %v, dropped %q", body, e, err, req.Dropped)
			}
		}
	})
	t.Run("carries_over_what_is_supported", func(t *testing.T) {
		req := &provider.Request{Body: []byte(`{"model":"m","input":"hi","dimensions":256,"encoding_format":"base64","user":"u"}`)}
		e, err := ParseEmbeddings(req, "dimensions")
		if err != nil || *e.Dimensions != 256 || !e.Base64 || !slices.Equal(req.Dropped, []string{"user"}) {
			t.Errorf("got %+v, %v, dropped %q", e, err, req.Dropped)
		}
	})
	for _, tc := range []struct {
		name, body, param string
		reason            provider.Reason
	}{
		{"no_input", `{}`, "input", provider.ReasonInvalid},
		{"empty_text", `{"input":""}`, "input", provider.ReasonInvalid},
		{"empty_list", `{"input":[]}`, "input", provider.ReasonInvalid},
		{"empty_text_in_a_list", `{"input":["a",""]}`, "input.1", provider.ReasonInvalid},
		{"more_than_OpenAI_takes", `{"input":["a"` + strings.Repeat(`,"a"`, 2048) + `]}`, "input", provider.ReasonInvalid},
		{"object", `{"input":{}}`, "input", provider.ReasonInvalid},
		{"number", `{"input":7}`, "input", provider.ReasonInvalid},
		{"tokens", `{"input":[1,2]}`, "input", provider.ReasonUnsupported},
		{"lists_of_tokens", `{"input":[[1,2],[3]]}`, "input", provider.ReasonUnsupported},
		{"unknown_encoding", `{"input":"a","encoding_format":"hex"}`, "encoding_format", provider.ReasonInvalid},
		{"dimensions_of_a_provider_without", `{"input":"a","user":"u","dimensions":3}`, "dimensions", provider.ReasonUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseEmbeddings(&provider.Request{Body: []byte(tc.body)})
			e, ok := errors.AsType[*provider.Error](err)
			if !ok || e.Param != tc.param || e.Reason != tc.reason {
				t.Errorf("got %v, want reason %d of %s", err, tc.reason, tc.param)
			}
		})
	}
	for _, dimensions := range []string{"0", "-1", "1.5", `"3"`, "1e300", "{}"} {
		_, err := ParseEmbeddings(&provider.Request{Body: []byte(`{"input":"a","dimensions":` + dimensions + `}`)}, "dimensions")
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Param != "dimensions" || e.Reason != provider.ReasonInvalid {
			t.Errorf("dimensions %s: got %v", dimensions, err)
		}
	}
}

func TestEmbeddingList(t *testing.T) {
	vectors := [][]float32{{1, -0.5}, {0.1}}
	u := &provider.Usage{Input: 5}
	for _, tc := range []struct {
		name   string
		base64 bool
		usage  *provider.Usage
		want   string
	}{
		{"numbers", false, u, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,-0.5]},{"object":"embedding","index":1,"embedding":[0.1]}],"model":"m","usage":{"prompt_tokens":5,"total_tokens":5}}`},
		{"base64_is_32_bit_floats_least_byte_first", true, nil, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAL8="},{"object":"embedding","index":1,"embedding":"zczMPQ=="}],"model":"m"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := EmbeddingList("m", vectors, tc.base64, tc.usage)
			if string(c.Body) != tc.want || c.Usage != tc.usage || c.Model != "m" {
				t.Errorf("got %s\nwant %s", c.Body, tc.want)
			}
		})
	}
	t.Run("uncounted_usage_is_an_estimate", func(t *testing.T) {
		e := &Embeddings{Input: []string{"12345", "678"}}
		if u := e.EstimateUsage(); *u != (provider.Usage{Input: 2, Estimated: true}) {
			t.Errorf("got %+v", u)
		}
	})
}
