package aigateway

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// keyFor returns the credential with which a tenant's calls go to a provider.
func keyFor(t *tenant.Tenant, provider string) route.Key {
	if t == nil || t.Credentials[provider] == "" {
		return route.Key{Provider: provider}
	}
	return route.Key{Provider: provider, Owner: t.ID, Digest: sha256.Sum256([]byte(t.Credentials[provider]))}
}

// keyRefused reports to the circuit breakers that the provider refuses the key. A
// 403 may be about the model alone.
func (a *attempt) keyRefused(err error) {
	pe, ok := errors.AsType[*provider.Error](err)
	if !ok || pe.Reason != provider.ReasonCredentials {
		return
	}
	if a.key.Refused(time.Now(), pe.Status != http.StatusForbidden) {
		a.logCircuit("a circuit opens: the provider refuses the key, which is not used for a while", a.owner())
	}
}

// owner is a log field with the tenant whose own key the call uses; empty for the
// gateway's.
func (a *attempt) owner() zap.Field {
	return zap.String("tenant", keyFor(a.c.x.Rec.Tenant, a.hop.Target.Provider).Owner)
}
