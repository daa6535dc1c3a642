package openai

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// begun is how a server like vLLM is asked to go on.
const begun = `{
	"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Once upon"}],
	"continue_final_message":true,"add_generation_prompt":false
}`

func TestConform(t *testing.T) {
	t.Run("openai", func(t *testing.T) {
		d := providertest.OpenAI()
		d.Column = "openai"
		d.New = func(t testing.TB, u upstream.Upstream) provider.Provider {
			return providertest.Provisioned(t, &OpenAI{Upstream: u, Responses: new(true)})
		}
		d.ResponsesPath = "/responses"
		d.Continued = begun
		providertest.Conform(t, d)
	})
	t.Run("azure", func(t *testing.T) {
		d := providertest.OpenAI()
		d.New = func(t testing.TB, u upstream.Upstream) provider.Provider {
			return providertest.Provisioned(t, &OpenAI{Upstream: u, Azure: new(Azure), Responses: new(true)})
		}
		d.ResponsesPath = "/openai/v1/responses"
		d.Path, d.StreamPath, d.EmbedPath = "/openai/v1/chat/completions", "/openai/v1/chat/completions", "/openai/v1/embeddings"
		d.Keys = providertest.KeyIn("Api-Key", "")
		d.Continued = begun
		d.Filtered = azureFiltered
		providertest.Conform(t, d)
	})
	t.Run("azure_by_version", func(t *testing.T) {
		const path = "/openai/deployments/{model}/chat/completions?api-version=2024-10-21"
		d := providertest.OpenAI()
		d.New = func(t testing.TB, u upstream.Upstream) provider.Provider {
			return providertest.Provisioned(t, &OpenAI{Upstream: u, Azure: &Azure{APIVersion: "2024-10-21"}})
		}
		d.Path, d.StreamPath = path, path
		d.EmbedPath = "/openai/deployments/{model}/embeddings?api-version=2024-10-21"
		d.Keys = providertest.KeyIn("Api-Key", "")
		d.Continued = begun
		d.Filtered = azureFiltered
		providertest.Conform(t, d)
	})
}

var azureFiltered = providertest.Refusal{Status: 400, Body: `{"error":{
	"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.",
	"type":null,"param":"prompt","code":"content_filter","status":400,
	"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}`}
