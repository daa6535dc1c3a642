package openai

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func newAzure(t *testing.T, baseURL, version string) *OpenAI {
	t.Helper()
	return providertest.Provisioned(t, &OpenAI{Upstream: upstream.Upstream{BaseURL: baseURL, APIKey: "own"}, Azure: &Azure{APIVersion: version}})
}

func TestAzureRecordings(t *testing.T) {
	var azure []providertest.Recording
	for _, rec := range providertest.Load(t, providertest.Folder(t), "openai") {
		if strings.HasPrefix(rec.Name, "azure-") {
			azure = append(azure, rec)
		}
	}
	providertest.Run(t, func(t *testing.T, baseURL string) provider.Provider {
		return newAzure(t, baseURL, "2024-10-21")
	}, azure)
}

func TestAzureAnswers(t *testing.T) {
	t.Run("what_it_says_of_the_prompt_does_no_harm", func(t *testing.T) {
		replay := providertest.NewReplay(t)
		replay.Answer(200, nil, []byte(`data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}

data: {"choices":[{"content_filter_results":{},"delta":{"content":"","role":"assistant"},"finish_reason":null,"index":0}],"created":1,"id":"chatcmpl-1","model":"gpt-4o","object":"chat.completion.chunk"}

data: {"choices":[{"content_filter_results":{},"delta":{"content":"hi"},"finish_reason":null,"index":0}],"created":1,"id":"chatcmpl-1","model":"gpt-4o","object":"chat.completion.chunk"}

data: {"choices":[{"content_filter_offsets":{"check_offset":1},"content_filter_results":{},"finish_reason":null,"index":0}],"created":0,"id":"","model":"","object":""}

data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}],"created":1,"id":"chatcmpl-1","model":"gpt-4o","object":"chat.completion.chunk"}

data: {"choices":[],"created":1,"id":"chatcmpl-1","model":"gpt-4o","object":"chat.completion.chunk","usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}

data: [DONE]

`), providertest.Whole)
		s, err := newAzure(t, replay.URL, "").Stream(t.Context(), &provider.Request{Model: "prod", Body: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		first, err := s.Next()
		if err != nil || first.Choices == 0 || first.Model != "gpt-4o" {
			t.Errorf("the first chunk is %+v, %v", first, err)
		}
		if s.Skipped() != 0 {
			t.Errorf("%d skipped, want none", s.Skipped())
		}
		a := providertest.Stream(t.Context(), t, newAzure(t, replay.URL, ""))
		if a.Err != nil || a.Text != "hi" || a.Finish != "stop" || a.Chunks != 5 || a.Counted == nil {
			t.Errorf("got %+v", a)
		}
	})
	t.Run("a_filtered_prompt_is_told_apart", func(t *testing.T) {
		replay := providertest.NewReplay(t)
		for _, body := range []string{
			`{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{}}}}`,
			`{"error":{"message":"no","code":"content_filter","status":400}}`,
			`{"error":{"message":"no","code":"400","inner_error":{},"innererror":{"code":"ResponsibleAIPolicyViolation"}}}`,
		} {
			replay.Answer(400, http.Header{"Content-Type": {"application/json"}}, []byte(body), providertest.Whole)
			err := providertest.Stream(t.Context(), t, newAzure(t, replay.URL, "")).Err
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonContentFiltered || e.Status != 400 {
				t.Errorf("%s: got %v, want a filtered request", body, err)
			}
		}
	})
}

func TestAzureProvision(t *testing.T) {
	for _, tc := range []struct{ name, base, version, err string }{
		{"no_base", "", "", "base_url: required by azure: want https://NAME.openai.azure.com"},
		{"base_of_the_v1_API", "https://x.openai.azure.com/openai/v1/", "", "want it without /openai"},
		{"base_with_openai", "https://x.openai.azure.com/openai", "2024-10-21", "want it without /openai"},
		{"base_of_a_deployment", "https://x.openai.azure.com/openai/deployments/y", "2024-10-21", "want it without /openai"},
		{"version", "https://x.openai.azure.com", "latest", `azure: "latest": want an API version`},
		{"fine", "https://x.openai.azure.com", "2024-10-21", ""},
		{"foundry", "https://x.services.ai.azure.com/", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := &OpenAI{Upstream: upstream.Upstream{BaseURL: tc.base}, Azure: &Azure{APIVersion: tc.version}}
			switch err := providertest.Provision(t, o); {
			case tc.err == "" && err != nil, tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("error %v, want %q", err, tc.err)
			case err == nil && o.DefaultModel() != "":
				t.Errorf("default model %q, want none: deployments have names of their own", o.DefaultModel())
			}
		})
	}
}
