package aigateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
)

// shared answers a request whose answer may be shared: with the one that its
// Idempotency-Key or the cache knows, else with a call.
func (h *Handler) shared(x *chat.Exchange, req *request, choice route.Choice) error {
	key, err := sharedanswer.ClientKey(x.R.Header)
	if err != nil {
		return err
	}
	if key == "" {
		return h.cached(x, req, choice)
	}
	rc := sharedanswer.ByClientKey(x.Rec, x.R.URL.Path, key, string(req.body))
	rc.Lasts = true // whoever sends a key means to come back for the answer
	_, err = h.through(x, req, rc, func(x *chat.Exchange) error { return h.cached(x, req, choice) })
	return err
}

// cached answers a request from the cache where that is on, else with a call.
func (h *Handler) cached(x *chat.Exchange, req *request, choice route.Choice) error {
	if h.Cache <= 0 {
		return h.call(x, req, choice)
	}
	rc := sharedanswer.Recall{
		Key:   sharedanswer.KeyOf("cache", h.fingerprint, x.R.URL.Path, choice.Name, choice.Primary.String(), string(req.body)),
		Keep:  time.Duration(h.Cache),
		Fresh: strings.Contains(strings.ToLower(strings.Join(x.R.Header.Values("Cache-Control"), ",")), "no-cache"),
	}
	x.SetHeader(sharedanswer.HeaderCache, chat.CacheMiss)
	hit, err := h.through(x, req, rc, func(x *chat.Exchange) error { return h.call(x, req, choice) })
	result := chat.CacheMiss
	switch {
	case hit:
		result = chat.CacheHit
	case rc.Fresh:
		result = chat.CacheBypass
	}
	h.app.Cached(x.Rec.TenantID(), result)
	return err
}

// through answers a request with an answer that is there or on its way, else
// with call, and says whether it was the former.
func (h *Handler) through(x *chat.Exchange, req *request, rc sharedanswer.Recall, call func(*chat.Exchange) error) (hit bool, err error) {
	asks := &sharedanswer.Request{W: x.W, R: x.R, Rec: x.Rec, Stream: req.stream}
	return h.replays.Answer(asks, rc, func(f *sharedanswer.Flight, r *http.Request, rec *record.Record) error {
		return call(h.app.NewExchange(f, r, rec))
	})
}
