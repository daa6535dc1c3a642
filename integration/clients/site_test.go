package clients

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// clientProviders are the providers behind the gateway.
var clientProviders = []clientProvider{
	{name: "openai", typ: "openai", shape: "openai", block: "base_url %s/v1", vectors: harness.OpenAIVectors},
	{name: "azure", typ: "openai", shape: "openai", only: "azure-", block: "base_url %s\nazure", vectors: harness.OpenAIVectors},
	{name: "cloudflare", typ: "cloudflare", shape: "openai", only: "openai-", block: "base_url %s/compat\ngateway_id prod", vectors: harness.OpenAIVectors},
	{name: "anthropic", typ: "anthropic", shape: "anthropic", block: "base_url %s"},
	{name: "gemini", typ: "gemini", shape: "gemini", block: "base_url %s/v1beta", vectors: `{"embeddings":[{"values":[0.5,-0.25]},{"values":[0.125,1]}]}`},
	{name: "bedrock", typ: "bedrock", made: bedrockStreams, block: "base_url %s\nregion us-east-1"},
	{name: "ollama", typ: "ollama", shape: "ollama", made: ollamaStreams, block: "base_url %s", vectors: `{"embeddings":[[0.5,-0.25],[0.125,1]],"prompt_eval_count":5}`},
}

// clientProvider is a provider and its recordings.
type clientProvider struct {
	name, typ string
	shape     string                                    // of its recordings
	only      string                                    // the prefix of their names
	made      func(testing.TB) []providertest.Recording // handwritten ones
	block     string                                    // its options, with %s for the upstream's URL
	vectors   string                                    // its answer with two embeddings, if it has them
}

// clientVectors are the embeddings, exact in 32 bits.
var clientVectors = [][]float64{{0.5, -0.25}, {0.125, 1}}

// clientTenants returns tenants, each with a key. A budget belongs to a tenant, not
// a user, so each client needs a tenant with a budget of its own.
func clientTenants() string {
	var poor strings.Builder
	for _, o := range officialClients {
		fmt.Fprintf(&poor, "tenant poor-%[1]s {\napi_key %[1]s-poor-client-key\nbudget 20 tokens/day\n}\n", o.name)
	}
	return `
	chat {
		tenant acme {
			api_key acme-client-key
		}
		tenant listed {
			api_key listed-client-key
			models fast
		}
		tenant limited {
			api_key limited-client-key
			requests 1 1h
		}
		tenant waiting {
			api_key waiting-client-key
			requests 1 1s
		}
		` + poor.String() + `
	}
`
}

func clientSite(up *replays) string {
	var blocks strings.Builder
	for _, p := range clientProviders {
		fmt.Fprintf(&blocks, "provider %s %s {\napi_key upstream-key\n%s\n}\n", p.name, p.typ, fmt.Sprintf(p.block, up.up.Origin()))
	}
	return fmt.Sprintf(`
	tenant_resolve
	chat_ratelimit {
		requests 100000 1m
	}
	ai_gateway {
		%s
		model fast {
			to openai/openai.fast
		}
		passthrough
		retries 0
		rescue off
		circuit_breaker off
	}
	handle_path /broken/* {
		ai_gateway {
			provider openai {
				base_url %s/v1
			}
			model broken {
				to openai/openai.broken
			}
			retries 0
			circuit_breaker 1 1h
		}
	}
`, &blocks, up.up.Origin())
}

// openCircuit makes the gateway under /broken fail, so that its circuit opens.
func openCircuit(t *testing.T, c *harness.Caddy) {
	t.Helper()
	cl := harness.NewClient(c, "", "ann")
	cl.URL += "/broken"
	cl.Key = "acme-client-key"
	a := cl.Complete(harness.NewQuestion("broken"))
	a.WantRefused(t, http.StatusBadGateway, "ai_error")
}
