package aigateway

import (
	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
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
	st, release, err := h.app.Lease()
	if err != nil {
		return apierror.StorageUnavailable(err)
	}
	defer release()
	k := &sharedanswer.KeyedRequest{
		Request:  sharedanswer.Request{Exchange: x, Stream: req.stream},
		Store:    st,
		Key:      key,
		Same:     [][]byte{req.body},
		Continue: true, // who sends a key means to come back for the answer
	}
	return h.keys.Serve(k, func(x *chat.Exchange, _ *sharedanswer.Recorder) error {
		return h.cached(x, req, choice)
	})
}
