package aigateway

import (
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
)

// shared answers a request with the answer of its Idempotency-Key, from the
// cache, or with a model call.
func (h *Handler) shared(x *chat.Exchange, req *request, choice route.Choice) error {
	key, err := sharedanswer.ClientKey(x.R.Header)
	if err != nil {
		return err
	}
	if key == "" {
		if err := req.gates.Enter(); err != nil {
			return err
		}
		return h.cached(x, req, choice)
	}
	release, err := x.Lease()
	if err != nil {
		return err
	}
	defer release()
	k := &sharedanswer.KeyedRequest{
		Request:  sharedanswer.Request{Exchange: x, Stream: req.stream, Frame: h.frame(x, req)},
		Key:      key,
		Gates:    req.gates,
		Numbered: record.Path(x.R) == sharedanswer.CompletionsPath,
		Same:     [][]byte{req.sent()},
		Continue: true, // a client that sends a key may come back for the answer
	}
	if sent := req.sentHeader(); sent != "" {
		k.Same = append(k.Same, []byte(sent))
	}
	return h.keys.Serve(k, func(x *chat.Exchange) error { return h.cached(x, req, choice) })
}

// resume serves GET /v1/chat/completions/{turn}, the rest of a stream under an
// Idempotency-Key.
func (h *Handler) resume(x *chat.Exchange) error {
	release, err := x.Lease()
	if err != nil {
		return err
	}
	defer release()
	turn, _ := sharedanswer.TurnOf(record.Path(x.R))
	return h.keys.Resume(&sharedanswer.Request{Exchange: x, Stream: true}, turn)
}
