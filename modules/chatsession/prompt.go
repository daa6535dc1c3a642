package chatsession

import (
	"cmp"
	"context"
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

// maxCompletion returns the largest chat completions request, in bytes, both of
// those received and of those built here. It is at least ai_gateway's default
// limit.
func (h *Handler) maxCompletion() int64 { return max(h.MaxBody, 10<<20) }

// prompt returns the messages for the model: the system prompt, as much of the
// past as the limits allow, and the question.
func (h *Handler) prompt(x *chat.Exchange, past []*store.Message, question *store.Message) []*store.Message {
	msgs := h.system(x)
	room := h.maxCompletion() - int64(2*len(question.Content)) // it may be escaped
	before, _ := h.limits().remembered(past, nil, room)
	return append(append(msgs, withWords(before)...), question)
}

// system returns the system prompt, if there is one.
func (h *Handler) system(x *chat.Exchange) []*store.Message {
	if text := cmp.Or(x.Rec.Tenant.System, h.System); text != "" {
		return []*store.Message{newMessage(roleSystem, text)}
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

// request returns the client's request with another body and the turn's context.
// It removes headers that would compress, shorten or suppress the answer, and
// those that chat_session itself has handled.
func (t *turn) request(body []byte) *http.Request {
	t.sent = len(body)
	return nextRequest(t.ctx, t.x, body)
}

func nextRequest(ctx context.Context, x *chat.Exchange, body []byte) *http.Request {
	r := x.R.Clone(ctx)
	chat.SetCheckedBody(r, body)
	for _, name := range []string{
		"Accept-Encoding", "Connection", "Content-Encoding", "Expect", "Range", "Upgrade",
		"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range",
		sharedanswer.HeaderKey, headerSession,
	} {
		r.Header.Del(name)
	}
	r.URL.Path, r.URL.RawPath = completionsPath, "" // without the slashes that were forgiven
	r.Header.Set(record.HeaderTenant, x.Rec.Tenant.ID)
	r.Header.Set(record.HeaderUser, x.Rec.User)
	// as ai_gateway's providers do, in case this is a reverse_proxy to a model
	r.Header.Set("X-Request-Id", x.Rec.TraceID)
	return r
}
