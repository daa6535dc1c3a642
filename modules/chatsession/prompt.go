package chatsession

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/caddy-chat/caddy-chat/modules/chatctx"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// completionsPath is where the next handler expects the request.
const completionsPath = "/v1/chat/completions"

// completion is the request that goes to the next handler.
type completion struct {
	Model         string         `json:"model,omitempty"`
	Messages      []turnMessage  `json:"messages"`
	Stream        bool           `json:"stream,omitempty"`
	StreamOptions *streamOptions `json:"stream_options,omitempty"`
}

type turnMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// past loads the stored messages that may go to the model, oldest first, and
// the unanswered question at their end where there is one.
func (t *turn) past() (msgs []store.Message, unanswered *store.Message, err error) {
	limit := *t.h.ContextMessages + 1
	msgs, _, err = t.x.store.History(t.ctx, t.tenant, t.session, store.Range{Limit: limit})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, t.h.storeError("history", err)
	}
	if n := len(msgs); n > 0 && msgs[n-1].Role == roleUser {
		unanswered = &msgs[n-1]
	}
	return msgs, unanswered, nil
}

// prompt builds the messages for the model: the system prompt, as much of
// the past as the limits allow, and the question.
func (h *Handler) prompt(x *exchange, past []store.Message, question string) []turnMessage {
	var msgs []turnMessage
	if system := cmp.Or(x.rec.Tenant.System, h.System); system != "" {
		msgs = append(msgs, turnMessage{"system", system})
	}
	for _, m := range fitting(past, *h.ContextMessages, *h.ContextTokens) {
		if m.Content != "" {
			msgs = append(msgs, turnMessage{m.Role, m.Content})
		}
	}
	return append(msgs, turnMessage{roleUser, question})
}

// fitting returns the newest of the messages that fit both limits.
func fitting(msgs []store.Message, most, tokens int) []store.Message {
	if len(msgs) > most {
		msgs = msgs[len(msgs)-most:]
	}
	left := int64(tokens)
	for i, m := range slices.Backward(msgs) {
		left -= provider.EstimateTokens(len(m.Content))
		if left < 0 {
			return msgs[i+1:]
		}
	}
	return msgs
}

func estimate(msgs []turnMessage) int64 {
	bytes := 0
	for _, m := range msgs {
		bytes += len(m.Content)
	}
	return provider.EstimateTokens(bytes)
}

// forward makes the request for the next handler. Headers that would have
// its answer compressed, cut or left out are taken off.
func (t *turn) forward(m *message, msgs []turnMessage) (*http.Request, error) {
	req := completion{Messages: msgs, Stream: *m.Stream}
	if m.ModelID != nil {
		req.Model = *m.ModelID
	}
	t.x.rec.Turn = &chatctx.Turn{Model: req.Model}
	req.Model = cmp.Or(req.Model, t.x.rec.Tenant.Model)
	t.model = req.Model
	if *m.Stream {
		req.StreamOptions = &streamOptions{IncludeUsage: true}
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}

	r := t.x.r.Clone(t.ctx)
	r.Method = http.MethodPost
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = completionsPath, "", ""
	r.RequestURI = completionsPath
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Connection", "Content-Encoding", "Expect", "Last-Event-Id", "Range", "Upgrade",
		"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range",
	} {
		r.Header.Del(name)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	r.Header.Set(chatctx.HeaderTenant, t.x.rec.Tenant.ID)
	r.Header.Set(chatctx.HeaderUser, t.x.rec.User)
	// the next handler may be a reverse_proxy, and this a call to a model
	r.Header.Set("X-Request-Id", t.x.rec.TraceID)
	return r, nil
}
