package aigateway

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
)

func TestSystemOf(t *testing.T) {
	for _, tc := range []struct {
		kind, base string
		want       attribute.KeyValue
	}{
		{"openai", "https://api.openai.com/v1", semconv.GenAIProviderNameOpenAI},
		{"anthropic", "https://api.anthropic.com", semconv.GenAIProviderNameAnthropic},
		{"gemini", "https://generativelanguage.googleapis.com/v1beta", semconv.GenAIProviderNameGCPGemini},
		{"gemini", "http://127.0.0.1:8080/v1beta", semconv.GenAIProviderNameGCPGemini},
		{"gemini", "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/publishers/google", semconv.GenAIProviderNameGCPVertexAI},
		{"gemini", "https://europe-west1-aiplatform.googleapis.com/v1/projects/p", semconv.GenAIProviderNameGCPVertexAI},
		{"bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com", semconv.GenAIProviderNameAWSBedrock},
		{"ollama", "http://127.0.0.1:11434", semconv.GenAIProviderNameKey.String("ollama")},
		{"cloudflare", "https://gateway.ai.cloudflare.com/v1/a/g/compat", semconv.GenAIProviderNameKey.String("cloudflare")},
		{"echo", "", semconv.GenAIProviderNameKey.String("echo")},

		// those that are called as OpenAI is
		{"openai", "http://127.0.0.1:8000/v1", semconv.GenAIProviderNameOpenAI},
		{"openai", "https://acme.openai.azure.com", semconv.GenAIProviderNameAzureAIOpenAI},
		{"openai", "https://acme.services.ai.azure.com", semconv.GenAIProviderNameAzureAIOpenAI},
		{"openai", "https://acme.cognitiveservices.azure.com", semconv.GenAIProviderNameAzureAIOpenAI},
		{"openai", "https://generativelanguage.googleapis.com/v1beta/openai", semconv.GenAIProviderNameGCPGemini},
		{"openai", "https://api.mistral.ai/v1", semconv.GenAIProviderNameMistralAI},
		{"openai", "https://API.Mistral.ai:443/v1", semconv.GenAIProviderNameMistralAI},
		{"openai", "https://api.deepseek.com/beta", semconv.GenAIProviderNameDeepseek},
		{"openai", "https://api.groq.com/openai/v1", semconv.GenAIProviderNameGroq},
		{"openai", "https://api.x.ai/v1", semconv.GenAIProviderNameXAI},
		{"openai", "https://api.perplexity.ai", semconv.GenAIProviderNamePerplexity},
		{"openai", "https://api.cohere.ai/compatibility/v1", semconv.GenAIProviderNameCohere},

		// what only looks like one of them
		{"openai", "https://api.mistral.ai.example.com/v1", semconv.GenAIProviderNameOpenAI},
		{"openai", "https://notapi.mistral.ai/v1", semconv.GenAIProviderNameOpenAI},
		{"openai", "https://openai.azure.com", semconv.GenAIProviderNameOpenAI},
		{"openai", "https://example.com/api.groq.com", semconv.GenAIProviderNameOpenAI},
		{"openai", "://", semconv.GenAIProviderNameOpenAI},
	} {
		if got := systemOf(tc.kind, tc.base); got != tc.want.Value.AsString() {
			t.Errorf("%s at %s: %q, want %q", tc.kind, tc.base, got, tc.want.Value.AsString())
		}
	}
}
