package chatsession

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// responsesPath is where OpenAI's Responses API is. Its answers are kept, unless a
// request says otherwise: each is a turn of a session.
const responsesPath = "/v1/responses"

// stores reports whether a request may be about a response that is kept here.
func stores(r *http.Request) bool {
	path := record.Path(r)
	return path == responsesPath && r.Method == http.MethodPost || strings.HasPrefix(path, responsesPath+"/")
}

// serveResponses answers a request of the Responses API, or returns why it could not.
func (h *Handler) serveResponses(x *chat.Exchange, next caddyhttp.Handler) error {
	if err := x.RequireTenant(h.Tenant); err != nil {
		return err
	}
	release, err := h.lease(x, "")
	if err != nil {
		return err
	}
	defer release()
	if path := record.Path(x.R); path != responsesPath {
		return h.serveKept(x, strings.TrimPrefix(path, responsesPath+"/"))
	}
	body, gates, err := x.ReadGated(h.maxCompletion(), time.Duration(h.ReadTimeout))
	if err != nil {
		return err
	}
	keeping, err := responses.ReadKeeping(body)
	if err != nil {
		return apierror.FromProvider(err)
	}
	if keeping.Store || needsKept(keeping, x.R) {
		return h.respond(x, body, keeping, gates, next)
	}
	return h.passUnkept(x, body, gates, next)
}

// needsKept reports whether a request cannot be answered unless answers are kept.
func needsKept(k responses.Keeping, r *http.Request) bool {
	return k.Background || k.Previous != "" || k.Conversation != "" || len(r.Header[headerSession]) > 0
}

// passUnkept lets the next handler answer a request, whose answer is not kept.
func (h *Handler) passUnkept(x *chat.Exchange, body []byte, gates record.Gates, next caddyhttp.Handler) error {
	if err := gates.Enter(); err != nil {
		return err
	}
	chat.SetCheckedBody(x.R, body)
	return h.passOn(x, next)
}

// respond takes a turn whose answer is kept.
func (h *Handler) respond(x *chat.Exchange, body []byte, keeping responses.Keeping, gates record.Gates, next caddyhttp.Handler) error {
	if keeping.Background && !keeping.Store {
		return apierror.InvalidRequest("store", "want true, or none: a response in the background is kept")
	}
	key, err := sharedanswer.ClientKey(x.R.Header)
	if err != nil {
		return err
	}
	if body, err = h.withItems(x, body); err != nil {
		return err
	}
	call, err := responses.Door{Stored: true}.Open(body)
	if err != nil {
		return apierror.FromProvider(err)
	}
	if call.Refusal() != nil && !needsKept(keeping, x.R) && !h.app.HasGateway() {
		return h.passUnkept(x, body, gates, next) // to a server that has this itself
	}
	c, err := h.opened(call, body, keeping, next)
	if err != nil {
		return err
	}
	c.gates = gates
	if !keeping.Store && keeping.Conversation == "" && len(x.R.Header[headerSession]) == 0 {
		return h.answerUnkept(x, c)
	}
	take := func(x *chat.Exchange) error {
		err := h.answerKept(x, c)
		if errors.Is(err, store.ErrKeyTaken) {
			x.Rec.Session = "" // only the first request with the key gets a session
		}
		return err
	}
	if key == "" {
		return take(x)
	}
	return h.once(x, c.keyed(x, key), c.gates, take)
}

// answerKept takes the turn in its session.
func (h *Handler) answerKept(x *chat.Exchange, c *talk) error {
	if err := h.place(x, c); err != nil {
		return err
	}
	c.name(x)
	answer := c.turn
	if c.keeping.Background {
		answer = func(x *chat.Exchange) error { return h.inBackground(x, c) }
	}
	err := answer(x)
	for waits := true; ; waits = false {
		at, ok := errors.AsType[elsewhere](err)
		if !ok {
			break
		}
		if err = h.elsewhere(x, c, at.error, waits); err == nil {
			err = answer(x)
		}
	}
	if err != nil && c.made {
		h.drop(x)
	}
	return err
}

// opened reads a request whose answer is kept.
func (h *Handler) opened(call door.Call, body []byte, keeping responses.Keeping, next caddyhttp.Handler) (c *talk, err error) {
	c = &talk{h: h, next: next, sent: body, call: call, kept: new(keptResponse), keeping: keeping}
	c.followed = gjson.GetBytes(body, "stream").Bool()
	made := call.Completion()
	if keeping.Background {
		made, err = sjson.SetBytes(made, "stream", true) // so that it can be followed
	}
	if err == nil {
		made, err = withUsageOf(made)
	}
	if err != nil {
		return nil, err
	}
	o := new(opening)
	if k, ok := call.(door.Kept); ok {
		o.alone, o.said = k.Opening()
	}
	c.req, err = parseCall(made, call, o)
	return c, err
}

// place finds the session of a request.
func (h *Handler) place(x *chat.Exchange, c *talk) error {
	named, err := namedSession(x.R.Header, c.keeping.Conversation)
	if err != nil {
		return err
	}
	x.Rec.Session = named
	*c.kept, c.made, c.after = keptResponse{}, false, 0
	switch {
	case c.keeping.Previous != "":
		err = h.goOnFrom(x, c)
	case named == "":
		x.Rec.Session, c.kept.Alone, c.made = uuid.NewString(), true, true
	}
	return err
}

// name gives the answer the id by which it is kept.
func (c *talk) name(x *chat.Exchange) {
	c.turnID = record.NewID()
	c.kept.Session, c.kept.Turn, c.kept.Request = x.Rec.Session, c.turnID, c.sent
	if k, ok := c.call.(door.Kept); ok {
		c.kept.name(k)
	}
}

// namedSession returns the session that a request names by its header or conversation,
// or nothing.
func namedSession(header http.Header, conversation string) (id string, err error) {
	if len(header[headerSession]) > 0 {
		if id, err = sessionOf(header); err != nil {
			return "", err
		}
	}
	if conversation == "" {
		return id, nil
	}
	named, ok := canonicalID(strings.TrimPrefix(conversation, "conv_"))
	if !ok {
		return "", apierror.InvalidRequest("conversation", "want the UUID of a session")
	}
	if id != "" && id != named {
		return "", apierror.InvalidRequest("conversation", "want the session of "+headerSession+", or no such header")
	}
	return named, nil
}

// keptID is the id of a response without its prefix: its session and its turn.
func keptID(session, turn string) string {
	return strings.ReplaceAll(session, "-", "") + strings.ReplaceAll(turn, "-", "")
}

const (
	keptPrefix = "resp_"
	keptIDSize = 4 * len(uuid.UUID{}) // two in hex
)

// readKeptID returns the session and the turn of a response.
func readKeptID(id string) (session, turn string, ok bool) {
	b, err := hex.DecodeString(strings.TrimPrefix(id, keptPrefix))
	if err != nil || len(b) != 2*len(uuid.UUID{}) || !strings.HasPrefix(id, keptPrefix) {
		return "", "", false
	}
	return uuid.UUID(b[:16]).String(), uuid.UUID(b[16:]).String(), true
}

// drop deletes the session that was made for a request that was not answered: its client
// does not know it.
func (h *Handler) drop(x *chat.Exchange) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.R.Context()), settleTimeout)
	defer cancel()
	if err := x.Store.Delete(ctx, x.Rec.Tenant.ID, sessionKey(x)); err != nil && !errors.Is(err, store.ErrNotFound) {
		h.app.StoreFailed("delete")
		h.log.Error("deleting the session of a response that failed", zap.Error(err))
	}
}

// failedFrame returns the events that report a failure of the call in its own API.
func (c *talk) failedFrame(e *apierror.Error, traceID string) []byte {
	return c.call.Stream().Fail(nil, apierror.FailureFor(c.call.API(), e, traceID))
}

// withUsageOf asks for the usage of a stream, which other APIs always have.
func withUsageOf(body []byte) ([]byte, error) {
	if !gjson.GetBytes(body, "stream").Bool() {
		return body, nil
	}
	return sjson.SetBytes(body, "stream_options.include_usage", true)
}

// statusCancelled is the status of a response that was cancelled.
const statusCancelled = "cancelled"

// failedResponse returns a response as one that has failed before its answer began.
func failedResponse(doc []byte, e *apierror.Error) []byte {
	doc, err := sjson.SetBytes(doc, "status", "failed")
	if err == nil {
		doc, err = sjson.SetBytes(doc, "error", map[string]string{"code": e.Code, "message": e.Message})
	}
	if err != nil {
		return provider.Encode(map[string]string{"status": "failed"})
	}
	return doc
}

// cancelledResponse returns a response as one that was cancelled.
func cancelledResponse(doc []byte) []byte {
	doc, err := sjson.SetBytes(doc, "status", statusCancelled)
	if err == nil {
		doc, err = sjson.SetRawBytes(doc, "error", []byte("null"))
	}
	if err == nil {
		doc, err = sjson.SetRawBytes(doc, "incomplete_details", []byte("null"))
	}
	if err != nil {
		return provider.Encode(map[string]string{"status": statusCancelled})
	}
	return doc
}
