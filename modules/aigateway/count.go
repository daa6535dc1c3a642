package aigateway

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// countTimeout bounds the wait for a provider's count. Clients count before they ask,
// so an estimate in time is worth more.
const countTimeout = 5 * time.Second

// tokenCount is the answer of Anthropic's count_tokens.
type tokenCount struct {
	InputTokens int64 `json:"input_tokens"`
}

// countTokens serves POST /v1/messages/count_tokens with the count of the provider that
// would be asked first, if it has one, or else with our estimate.
func (h *Handler) countTokens(x *chat.Exchange) error {
	body, err := x.ReadBody(h.MaxBody, time.Duration(h.ReadTimeout))
	if err != nil {
		return err
	}
	req, err := countRequest(x, body)
	if err != nil {
		return err
	}
	h.forgets(x)
	choice, err := h.choose(x, req)
	if err != nil {
		return err
	}
	x.Rec.SetCall(record.Call{Model: choice.Name})
	x.SetHeader("X-Model-Id", choice.Name)

	n, counted, err := h.counted(x, req, choice)
	switch {
	case err != nil:
		return err
	case !counted:
		n = req.inputTokens
		x.W.Header().Set("X-Ai-Estimated", "true")
	}
	return apierror.WriteJSON(x.W, http.StatusOK, tokenCount{n})
}

// countRequest returns the request to count: that of chat_session, or the body alone.
func countRequest(x *chat.Exchange, body []byte) (*request, error) {
	prompt, beside := x.Rec.Prompt, x.Rec.Beside
	x.Rec.Prompt, x.Rec.Beside = nil, nil
	switch {
	case prompt == nil:
		call, err := messages.OpenCount(body)
		if err != nil {
			return nil, apierror.FromProvider(err)
		}
		prompt = call.Completion()
	case beside == nil:
		body = nil
	default:
		body = beside.Native.Body
	}
	req, err := parseRequest(prompt)
	if err == nil && body != nil {
		req.native = nativeOf(x, provider.APIMessages, body)
	}
	return req, err
}

// counted asks the provider for its count. An error says that the request is at fault;
// other failures are logged, and nothing is counted.
func (h *Handler) counted(x *chat.Exchange, req *request, choice route.Choice) (n int64, ok bool, err error) {
	target := choice.Order(time.Now())[0].Target
	from, ok := h.providers[target.Provider].(provider.Counter)
	if !ok || req.native == nil || door.Sealed(req.native.Body) {
		return 0, false, nil
	}
	preq := &provider.Request{Model: target.Model, Native: req.native, Betas: x.R.Header[betaHeader], TraceID: x.Rec.TraceID}
	if t := x.Rec.Tenant; t != nil {
		preq.APIKey = t.Credentials[target.Provider]
	}
	ctx, cancel := context.WithTimeout(x.R.Context(), countTimeout)
	defer cancel()
	n, err = from.CountTokens(ctx, preq)
	switch {
	case err == nil:
		return n, true, nil
	case reasonOf(err) == provider.ReasonInvalid && added(err) == "":
		return 0, false, apierror.FromProvider(hidden(h.providers[target.Provider], preq, err))
	}
	h.log.Warn("asking a provider for a count of tokens", zap.String("provider", target.Provider),
		zap.String("upstream_model", target.Model), zap.String("trace_id", x.Rec.TraceID), zap.Error(err))
	return 0, false, nil
}
