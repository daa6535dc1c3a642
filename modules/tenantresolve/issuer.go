package tenantresolve

import (
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/jwt"
)

// issuers are the issuers whose keys are at a URL. Configurations share them, so
// that a reload neither forgets the keys nor asks for them again.
var issuers = caddy.NewUsagePool()

type issuer struct {
	keys *jwt.Remote
	log  atomic.Pointer[zap.Logger] // of the newest configuration
}

// useIssuer returns the issuer with keys at a URL, until issuers.Delete.
func useIssuer(url string, log *zap.Logger) (*issuer, error) {
	v, _, err := issuers.LoadOrNew(url, func() (caddy.Destructor, error) {
		i := new(issuer)
		i.keys = jwt.NewRemote(url, newTransport(), func(err error) { logKeys(i.log.Load(), err) })
		return i, nil
	})
	if err != nil {
		return nil, err
	}
	i := v.(*issuer)
	i.log.Store(log)
	return i, nil
}

// Destruct has nothing to do: a fetch ends by itself, and no connection is kept.
func (*issuer) Destruct() error { return nil }

// newTransport keeps no connection: keys are fetched too rarely for that, and
// an idle one would outlive the configuration.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	return t
}

func logKeys(log *zap.Logger, err error) {
	log.Error("the keys for tokens cannot be read; the last ones stay in use", zap.Error(err))
}
