package record

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/price"
)

const metadataPrefix = "chat.tenant.metadata."

// providePlaceholders makes {chat.*} known to the request's replacer. What is
// not known yet is empty.
func (rec *Record) providePlaceholders(r *http.Request) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Map(func(key string) (any, bool) {
		if !strings.HasPrefix(key, "chat.") {
			return nil, false
		}
		rec.mu.Lock()
		defer rec.mu.Unlock()
		return rec.placeholder(key)
	})
}

// IsPlaceholder reports whether there is a placeholder {chat.*} of that name.
func IsPlaceholder(name string) bool {
	_, known := new(Record).placeholder(name)
	return known
}

func (rec *Record) placeholder(key string) (any, bool) {
	switch key {
	case "chat.tenant.id":
		return rec.TenantID(), true
	case "chat.tenant.source":
		return rec.Source, true
	case "chat.user.id":
		return rec.User, true
	case "chat.session.id":
		return rec.Session, true
	case "chat.trace_id":
		return rec.TraceID, true
	case "chat.model":
		return rec.Call.Model, true
	case "chat.provider":
		return rec.Call.Provider, true
	case "chat.tokens.in":
		return rec.Call.Usage.Input, true
	case "chat.tokens.out":
		return rec.Call.Usage.Output, true
	case "chat.cost_usd":
		return price.Dollars(rec.Call.CostUSD).String(), true
	case "chat.error.code":
		return rec.ErrorCode, true
	}
	name, ok := strings.CutPrefix(key, metadataPrefix)
	if !ok || rec.Tenant == nil {
		return "", ok
	}
	return rec.Tenant.Metadata[name], true
}
