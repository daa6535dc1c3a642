package chat

import (
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// AdviseOfScope warns of a rule that counts per placeholder which neither Caddy nor the
// chain knows: it would be empty, so that all requests of a tenant are counted together.
// It is no error, since other handlers have placeholders of their own.
func AdviseOfScope(d *caddyfile.Dispenser, option, scope string) {
	name, ok := strings.CutPrefix(scope, "{")
	if name = strings.TrimSuffix(name, "}"); ok && !isPlaceholder(name) {
		advice.Warn(d, "%s: per %s: no placeholder of this name is known: unless another handler sets it, all requests of a tenant are counted together", option, scope)
	}
}

// isPlaceholder reports whether a request can have a placeholder of that name.
func isPlaceholder(name string) bool {
	if record.IsPlaceholder(name) {
		return true
	}
	if _, known := sampleRequest().Get(name); known {
		return true
	}
	if rest, ok := strings.CutPrefix(name, "http."); ok {
		for _, some := range [...]string{"tls.", "host.labels.", "remote.host", "local"} { // of a connection
			if strings.HasPrefix(rest, "request."+some) {
				return true
			}
		}
		return !strings.HasPrefix(rest, "request.") // a handler's
	}
	return false
}

// sampleRequest has the placeholders that Caddy gives every request.
var sampleRequest = sync.OnceValue(func() *caddy.Replacer {
	repl := caddy.NewReplacer()
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Host: "localhost", RemoteAddr: "127.0.0.1:1", Header: http.Header{}}
	caddyhttp.PrepareRequest(r, repl, nil, nil)
	return repl
})
