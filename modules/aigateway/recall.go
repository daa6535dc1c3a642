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

// answer has a request answered by an earlier answer where there is one, else
// by call.
func (h *Handler) answer(x *exchange, req *request, choice route.Choice, call func(*exchange) error) error {
	key, err := sharedanswer.ClientKey(x.r.Header)
	if err != nil {
		return err
	}
	if h.Cache > 0 {
		call = h.cached(x, req, choice, call)
	}
	if key == "" {
		return call(x)
	}
	rc := sharedanswer.ByClientKey(x.rec, x.r.URL.Path, key, string(req.body))
	rc.Lasts = true // whoever sends a key means to come back for the answer
	_, err = h.through(x, req, rc, call)
	return err
}

// cached has call answered from the cache.
func (h *Handler) cached(x *exchange, req *request, choice route.Choice, call func(*exchange) error) func(*exchange) error {
	rc := sharedanswer.Recall{
		Key:   sharedanswer.KeyOf("cache", h.fingerprint, x.r.URL.Path, choice.Name, choice.Primary.String(), string(req.body)),
		Keep:  time.Duration(h.Cache),
		Fresh: strings.Contains(strings.ToLower(strings.Join(x.r.Header.Values("Cache-Control"), ",")), "no-cache"),
	}
	return func(x *exchange) error {
		x.rec.SetHeader(x.w, sharedanswer.HeaderCache, chat.CacheMiss)
		hit, err := h.through(x, req, rc, call)
		result := chat.CacheMiss
		switch {
		case hit:
			result = chat.CacheHit
		case rc.Fresh:
			result = chat.CacheBypass
		}
		h.app.Cached(x.rec.TenantID(), result)
		return err
	}
}

// through has a request answered by an answer that is there or on its way,
// else by call, and says whether nothing was called for it.
func (h *Handler) through(x *exchange, req *request, rc sharedanswer.Recall, call func(*exchange) error) (hit bool, err error) {
	asks := &sharedanswer.Request{W: x.w, R: x.r, Rec: x.rec, Stream: req.stream}
	return h.replays.Answer(asks, rc, func(f *sharedanswer.Flight, r *http.Request, rec *record.Record) error {
		return call(&exchange{w: f, r: r, rec: rec, flight: f})
	})
}
