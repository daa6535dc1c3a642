package cloudflare

import (
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func TestConform(t *testing.T) {
	d := providertest.OpenAI()
	d.Column = "cloudflare"
	d.Headers = http.Header{"Cf-Aig-Metadata": {`{"tenantId":"tenant-1","traceId":"trace-1","sessionId":"session-1","userId":"user-1","route":"alias"}`}}
	d.Continued = `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Once upon"}]}`
	t.Run("workers", func(t *testing.T) {
		d.New = func(t testing.TB, u upstream.Upstream) provider.Provider {
			return providertest.Provisioned(t, &Cloudflare{Upstream: u})
		}
		providertest.Conform(t, d)
	})
	t.Run("gateway", func(t *testing.T) {
		d.New = func(t testing.TB, u upstream.Upstream) provider.Provider {
			return providertest.Provisioned(t, &Cloudflare{Upstream: u, GatewayID: "prod"})
		}
		d.Keys = func(configured, own string) http.Header {
			h := make(http.Header)
			if configured != "" {
				h.Set(gatewayKey, "Bearer "+configured)
			}
			if own != "" {
				h.Set("Authorization", "Bearer "+own)
			}
			return h
		}
		d.Failure = func(_ int, message string) []byte {
			return providertest.JSON(providertest.Object{
				"success": false, "result": []any{}, "messages": []any{},
				"error": []any{providertest.Object{"code": 2005, "message": message}},
			})
		}
		d.Filtered = providertest.Refusal{Status: http.StatusFailedDependency,
			Body: `{"success":false,"result":[],"messages":[],"error":[{"code":2016,"message":"Prompt blocked due to security configurations"}]}`}
		providertest.Conform(t, d)
	})
}
