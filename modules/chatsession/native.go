package chatsession

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/go-json-experiment/json"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// post serves POST /chat.
func (h *Handler) post(x *chat.Exchange, next caddyhttp.Handler) error {
	m, err := h.readMessage(x)
	if err != nil {
		return err
	}
	key, err := sharedanswer.ClientKey(x.R.Header)
	if err != nil {
		return err
	}
	if key == "" {
		return h.say(x, m, next)
	}
	k := &sharedanswer.KeyedRequest{Key: key, Same: [][]byte{m.body}}
	k.Stream = *m.Stream
	k.Frame = func(e *apierror.Error) []byte { return failureFrame(e, x.Rec.TraceID) }
	return h.once(x, k, m.gates, func(x *chat.Exchange) error { return h.say(x, m, next) })
}

// say takes a turn under /chat.
func (h *Handler) say(x *chat.Exchange, m *message, next caddyhttp.Handler) error {
	t := h.newTurn(x)
	t.retry, t.gates = t.retry || *m.Retry, m.gates
	question := newMessage(roleUser, *m.Message)
	past, end, err := t.begin(*m.Stream, question)
	if err != nil {
		return err
	}
	defer end()
	return t.take(m, past, question, next)
}

// take carries out a turn under /chat that has begun.
func (t *turn) take(m *message, past []*store.Message, question *store.Message, next caddyhttp.Handler) error {
	msgs := t.h.prompt(t.x, past, question)
	t.tokensIn = estimate(msgs)
	if m.ModelID != nil {
		t.asked = *m.ModelID
	}
	t.x.Rec.Turn = &record.Turn{Model: t.asked}
	t.model = cmp.Or(t.asked, t.x.Rec.Tenant.Model)

	out := t.newOutput(*m.Stream)
	defer out.stop()
	return t.settle(t.ask(msgs, out, next), out)
}

// The members of a request for a stream. Only with the second one do all servers
// tell its usage.
const (
	streamed  = `"stream":true`
	withUsage = `,"stream_options":{"include_usage":true}`
)

// ask has the next handler answer. A server that refuses stream_options, which the
// client has not sent, is asked once more without them.
func (t *turn) ask(msgs []*store.Message, out *output, next caddyhttp.Handler) *answer {
	if out.stream == nil {
		return t.askWith("", msgs, out, next)
	}
	if t.h.usageRefused.Load() {
		return t.askWith(streamed, msgs, out, next)
	}
	a := t.askWith(streamed+withUsage, msgs, out, next)
	if !a.refusesUsage() {
		return a
	}
	a = t.askWith(streamed, msgs, out, next)
	if a.failure == nil {
		t.h.usageRefused.Store(true)
	}
	return a
}

// askWith sends the messages and these members to the next handler.
func (t *turn) askWith(members string, msgs []*store.Message, out *output, next caddyhttp.Handler) *answer {
	r := t.request(completion(t.model, msgs, members))
	r.Method = http.MethodPost
	r.URL.RawQuery, r.RequestURI = "", completionsPath
	r.Header.Del("Accept")
	r.Header.Del("Last-Event-Id")
	r.Header.Set("Content-Type", "application/json")
	a := newAnswer(out)
	a.end(serveNext(next, a, r))
	return a
}

// completion returns the body of a chat completions request with these messages and
// members.
func completion(model string, msgs []*store.Message, members string) []byte {
	size := 128 + len(model)
	for _, m := range msgs {
		size += len(m.Content) + len(m.Raw) + 64
	}
	b := append(make([]byte, 0, size), '{')
	if model != "" {
		b = append(appendString(append(b, `"model":`...), model), ',')
	}
	b = append(b, `"messages":[`...)
	for i, m := range msgs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendWire(b, m)
	}
	b = append(b, ']')
	if members != "" {
		b = append(append(b, ','), members...)
	}
	return append(b, '}')
}

// message is the body of POST /chat.
type message struct {
	SessionID *string `json:"sessionId"`
	Message   *string `json:"message"`
	Stream    *bool   `json:"stream"`
	ModelID   *string `json:"modelId"`
	UserID    *string `json:"userId"`
	Retry     *bool   `json:"retry"`

	body  []byte       // the raw JSON
	gates record.Gates // to be passed when the turn begins
}

// readMessage reads and checks the body, and sets the session and the user in
// the record.
func (h *Handler) readMessage(x *chat.Exchange) (*message, error) {
	body, gates, err := x.ReadGated(h.MaxBody, time.Duration(h.ReadTimeout))
	if err != nil {
		return nil, err
	}
	m, err := parseMessage(body, h.MaxMessageChars)
	if err != nil {
		return nil, err
	}
	m.body, m.gates = body, gates
	x.Rec.Session = *m.SessionID
	if m.UserID != nil && x.Rec.User == record.Anonymous {
		x.Rec.User = *m.UserID
	}
	return m, nil
}

// parseMessage parses a body, one JSON object, and checks its fields. SessionID,
// Message, Stream and Retry of the result are not nil.
func parseMessage(body []byte, maxChars int) (*message, error) {
	m := new(message)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, badField(err)
	}
	if m.SessionID == nil {
		return nil, apierror.InvalidRequest("sessionId", "required, a UUID")
	}
	id, ok := canonicalID(*m.SessionID)
	if !ok {
		return nil, apierror.InvalidRequest("sessionId", "want a UUID")
	}
	m.SessionID = &id
	if m.Message == nil {
		return nil, apierror.InvalidRequest("message", "required, a string")
	}
	if n := utf8.RuneCountInString(*m.Message); n < 1 || n > maxChars {
		return nil, apierror.InvalidRequest("message", fmt.Sprintf("want 1 to %d characters, not %d", maxChars, n))
	}
	if m.Stream == nil {
		m.Stream = new(true)
	}
	if m.Retry == nil {
		m.Retry = new(false)
	}
	if m.ModelID != nil && !chat.ValidModel(*m.ModelID) {
		return nil, apierror.InvalidRequest("modelId", chat.WantModel)
	}
	if m.UserID != nil && !chat.ValidUser(*m.UserID) {
		return nil, apierror.InvalidRequest("userId", "want 1 to 128 characters, no control characters")
	}
	return m, nil
}

var fieldTypes = map[string]string{
	"sessionId": "want a string, a UUID",
	"message":   "want a string",
	"stream":    "want true or false",
	"modelId":   "want a string",
	"userId":    "want a string",
	"retry":     "want true or false",
}

// badField turns a decoding error into one that names the field.
func badField(err error) error {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return apierror.InvalidJSON(err)
	}
	field := strings.TrimPrefix(string(semantic.JSONPointer), "/")
	want, known := fieldTypes[field]
	if !known {
		return apierror.InvalidRequest("body", "want a JSON object")
	}
	return apierror.InvalidRequest(field, want)
}
