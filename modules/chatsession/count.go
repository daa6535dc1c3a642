package chatsession

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// countPath is where Anthropic's clients have the tokens of a request counted.
const countPath = "/v1/messages/count_tokens"

// count has the tokens of a request counted together with the history that its session
// would put before its messages. ai_gateway counts all of it. To the count of any other
// handler, which is of the sent messages, an estimate of the history is added.
func (h *Handler) count(x *chat.Exchange, next caddyhttp.Handler) error {
	body, err := x.ReadBody(h.maxCompletion(), time.Duration(h.ReadTimeout))
	if err != nil {
		return err
	}
	call, err := messages.OpenCount(body)
	if err != nil {
		return apierror.FromProvider(err)
	}
	req, err := parseCall(call.Completion(), call, nil)
	if err != nil {
		return err
	}
	past, err := h.pastOf(x, req)
	if err != nil {
		return err
	}
	c := &talk{h: h, req: req, call: call}
	before, err := h.context(x, c, past)
	if err != nil {
		return err
	}
	x.Rec.Prompt, x.Rec.Beside = req.with(before), c.beside(before)

	var answer bytes.Buffer
	w := caddyhttp.NewResponseRecorder(x.W, &answer, func(int, http.Header) bool { return true })
	r := nextRequest(x.R.Context(), x, body)
	r.URL.Path = countPath
	if err := next.ServeHTTP(w, r); err != nil {
		return nextError{err}
	}
	if !w.Buffered() {
		return nil
	}
	if n := gjson.GetBytes(answer.Bytes(), "input_tokens"); x.Rec.Prompt != nil && w.Status() == http.StatusOK && n.Type == gjson.Number {
		with, err := sjson.SetBytes(answer.Bytes(), "input_tokens", n.Int()+estimate(before))
		if err != nil {
			return apierror.AIError().Because(err)
		}
		answer.Reset()
		answer.Write(with)
		w.Header().Set("X-Ai-Estimated", "true")
		w.Header().Set("Content-Length", strconv.Itoa(len(with)))
	}
	return w.WriteResponse()
}

// pastOf returns the stored messages that come before those of a request which does not
// take a turn.
func (h *Handler) pastOf(x *chat.Exchange, req *sentCompletion) ([]*store.Message, error) {
	known := len(req.messages)
	var first store.Begun
	var err error
	first.Past, first.More, err = x.Store.History(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x),
		store.Range{Limit: max(1, *h.ContextMessages+known), Bytes: h.maxCompletion()})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, h.storeError("history", err)
	}
	t := &turn{h: h, x: x, ctx: x.R.Context(), limits: h.limits()}
	past, err := t.past(known, goesOn(req.messages), &first)
	if err != nil {
		return nil, err
	}
	_, from := repeated(past, req.messages)
	return past[:from], nil
}
