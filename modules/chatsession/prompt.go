package chatsession

import (
	"cmp"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// completionsPath is where the next handler expects the request.
const completionsPath = "/v1/chat/completions"

const headerSession = "X-Session-Id"

// maxCompletion is how large a chat completions request may be, in bytes:
// those that come with a session, and those that are made here. It is what
// ai_gateway takes by default.
func (h *Handler) maxCompletion() int64 { return max(h.MaxBody, 10<<20) }

// prompt builds the messages for the model: the system prompt, as much of
// the past as the limits allow, and the question.
func (h *Handler) prompt(x *exchange, past []*store.Message, question *store.Message) []*store.Message {
	msgs := h.system(x)
	room := h.maxCompletion() - int64(2*len(question.Content)) // escaped
	msgs = append(msgs, h.remembered(past, nil, room)...)
	return append(msgs, question)
}

// system returns the system prompt, if there is one.
func (h *Handler) system(x *exchange) []*store.Message {
	if text := cmp.Or(x.Rec.Tenant.System, h.System); text != "" {
		return []*store.Message{newMessage("system", text)}
	}
	return nil
}

func estimate(msgs []*store.Message) int64 {
	bytes := 0
	for _, m := range msgs {
		bytes += weight(m)
	}
	return provider.EstimateTokens(bytes)
}

// request returns the client's request with another body, to live as long as
// the turn. Headers that would have its answer compressed, cut or left out are
// taken off, and those that have been answered here.
func (t *turn) request(body []byte) *http.Request {
	r := t.x.R.Clone(t.ctx)
	chat.SetCheckedBody(r, body)
	for _, name := range []string{
		"Accept-Encoding", "Connection", "Content-Encoding", "Expect", "Range", "Upgrade",
		"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range",
		sharedanswer.HeaderKey, headerSession,
	} {
		r.Header.Del(name)
	}
	r.Header.Set(record.HeaderTenant, t.x.Rec.Tenant.ID)
	r.Header.Set(record.HeaderUser, t.x.Rec.User)
	// the next handler may be a reverse_proxy, and this a call to a model
	r.Header.Set("X-Request-Id", t.x.Rec.TraceID)
	return r
}
