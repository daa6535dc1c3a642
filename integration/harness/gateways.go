package harness

import (
	"fmt"
	"strings"
)

// HeaderCache is the header that tells a hit from a miss.
const HeaderCache = "X-Ai-Cache"

// CacheTenants have a budget that one answer of WholeAnswer's size uses up.
const CacheTenants = `
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

// CacheSite is a gateway with a cache, and a price for one model.
func CacheSite(f *Upstream, more ...string) string {
	return GatewaySite(f, append([]string{"cache 10m\nmodel priced {\nto openai/up-priced\nprice 1000000 1000000\n}"}, more...)...)
}

// OpenAIVectors is an answer with two embeddings, as numbers.
const OpenAIVectors = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-0.25]},{"object":"embedding","index":1,"embedding":[0.125,1]}],"model":"up-1","usage":{"prompt_tokens":5,"total_tokens":5}}`

// GatewayTenants are tenants with settings of their own, and one without.
const GatewayTenants = `
	chat {
		tenant acme {
			model smart
			models fast smart ghost openai/up-9
			credential openai acme-upstream-key
		}
		tenant globex {
		}
		tenant initech {
			model smart
		}
		tenant keyed {
			api_key keyed-client-key
		}
	}
`

// GatewaySite is chat_session and a gateway in front of a provider; more are
// lines of the gateway's block. It calls the provider once for each request,
// whether that fails or not.
func GatewaySite(f *Upstream, more ...string) string {
	return fmt.Sprintf(`
	tenant_resolve
	chat_session
	ai_gateway {
		provider openai {
			base_url %s
			api_key own-upstream-key
			header X-Team ops
		}
		provider local openai {
			base_url %[1]s
		}
		model fast {
			to openai/up-fast
		}
		model smart {
			to openai/up-smart
		}
		model hidden {
			to local/up-hidden
		}
		retries 0
		rescue off
		circuit_breaker off
		%s
	}
`, f.URL, strings.Join(more, "\n\t\t"))
}
