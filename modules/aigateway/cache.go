package aigateway

import (
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
)

// cached answers a request from the cache, if it is on, or with a model call.
func (h *Handler) cached(x *chat.Exchange, req *request, choice route.Choice) error {
	if h.Cache <= 0 {
		return h.call(x, req, choice)
	}
	e := sharedanswer.Entry{
		Key:   sharedanswer.KeyOf("cache", h.fingerprint, record.Path(x.R), choice.Name, choice.Primary.String(), string(req.sent()), req.sentHeader()),
		TTL:   time.Duration(h.Cache),
		Fresh: strings.Contains(strings.ToLower(strings.Join(x.R.Header.Values("Cache-Control"), ",")), "no-cache"),
	}
	x.SetHeader(sharedanswer.HeaderCache, chat.CacheMiss)
	asks := &sharedanswer.Request{Exchange: x, Stream: req.stream, KeepAlive: h.keepAlive(req), Frame: h.frame(x, req)}
	hit, err := h.answers.Answer(asks, e, func(x *chat.Exchange) error { return h.call(x, req, choice) })
	result := chat.CacheMiss
	switch {
	case hit:
		result = chat.CacheHit
	case e.Fresh:
		result = chat.CacheBypass
	}
	h.app.Cached(x.Rec.TenantID(), result)
	return err
}
