package chatsession

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// keptResponse is what is stored of a response beside the messages of its session.
type keptResponse struct {
	Session  string          `json:"session"`
	Turn     string          `json:"turn"`
	Seq      uint64          `json:"seq,omitempty"`      // of its last message in the session; 0 if that is not known
	Asked    string          `json:"asked,omitempty"`    // the id of its question while it is running; empty if nothing of it was stored
	Alone    bool            `json:"alone,omitempty"`    // its session began with it
	Request  json.RawMessage `json:"request,omitempty"`  // as the client sent it
	Response json.RawMessage `json:"response,omitempty"` // empty while it is running
	Previous string          `json:"previous,omitempty"` // the response that it goes on from, in a session that no client has named
	Events   int             `json:"events,omitempty"`   // how many its stream has; 0 if that is not known
	Deleted  bool            `json:"deleted,omitempty"`

	// Apart says that its session did not exist when it ended: nothing of the turn
	// was stored there.
	Apart bool `json:"apart,omitempty"`

	cancelled bool
}

// session is where the turn of a response of the request's user is.
func (k *keptResponse) session(x *chat.Exchange) store.SessionKey {
	return store.SessionKey{User: x.Rec.User, ID: k.Session}
}

func (k *keptResponse) id() string { return keptPrefix + keptID(k.Session, k.Turn) }

// ended notes how the turn ended.
func (k *keptResponse) ended(e ending) {
	k.cancelled, k.Asked = e.finish == finishCancelled, ""
	if e.last != nil {
		k.Seq = e.last.Seq
	}
}

// isLast reports whether the newest messages of the session are the last of the response.
// One whose node is gone has its question, and perhaps a part of the answer.
func (k *keptResponse) isLast(newest []store.Message) bool {
	n := len(newest) - 1
	switch {
	case k.Seq > 0:
		return newest[n].Seq == k.Seq
	case k.Asked == "":
		return false
	}
	return newest[n].ID == k.Asked || n > 0 && newest[n-1].ID == k.Asked && newest[n].Status == store.StatusPartial
}

// keptKey is where a response of the request's user is stored.
func keptKey(x *chat.Exchange, session, turn string) string {
	return sharedanswer.KeyOf("response", x.Rec.User, session, turn)
}

// keptByID returns a response. Its session may have been deleted since then, and the
// response with it.
func (h *Handler) keptByID(x *chat.Exchange, id string) (*keptResponse, error) {
	session, turn, ok := readKeptID(id)
	if !ok {
		return nil, store.ErrNotFound
	}
	k, err := h.readKept(x.R.Context(), x, session, turn)
	if err != nil || len(k.Response) > 0 {
		return k, err
	}
	return h.running(x, k)
}

// readKept returns a response as it is stored, unless it was deleted.
func (h *Handler) readKept(ctx context.Context, x *chat.Exchange, session, turn string) (*keptResponse, error) {
	k, err := h.loadKept(ctx, x, session, turn)
	if err == nil && k.Deleted {
		return nil, store.ErrNotFound
	}
	return k, err
}

// loadKept returns a response as it is stored, or what is left of one.
func (h *Handler) loadKept(ctx context.Context, x *chat.Exchange, session, turn string) (*keptResponse, error) {
	b, err := x.Store.CacheGet(ctx, x.Rec.Tenant.ID, keptKey(x, session, turn))
	if err != nil {
		return nil, err
	}
	k := new(keptResponse)
	if err := json.Unmarshal(b, k); err != nil {
		return nil, fmt.Errorf("reading a kept response: %w", err)
	}
	return k, nil
}

// keep stores a response.
func (h *Handler) keep(ctx context.Context, x *chat.Exchange, k *keptResponse) error {
	return x.Store.CachePut(ctx, x.Rec.Tenant.ID, keptKey(x, k.Session, k.Turn), provider.Encode(k), h.keptTTL(x))
}

// keepBegun stores a response that runs. A failure does not fail the answer, which is kept
// when it ends.
func (h *Handler) keepBegun(x *chat.Exchange, k *keptResponse) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.R.Context()), settleTimeout)
	defer cancel()
	err := x.Store.CacheKeep(ctx, x.Rec.Tenant.ID, k.session(x), keptKey(x, k.Session, k.Turn), provider.Encode(k), h.keptTTL(x))
	if err != nil {
		h.app.StoreFailed("cache put")
		h.log.Warn("keeping a response that has begun", zap.String("turn", k.Turn), zap.Error(err))
	}
}

func (h *Handler) keptTTL(x *chat.Exchange) time.Duration {
	return cmp.Or(x.Rec.Tenant.Retention, time.Duration(h.Retention))
}

// keepEnd stores the response of a turn that has ended. Its messages are stored, so a
// failure here does not fail the answer.
func (h *Handler) keepEnd(x *chat.Exchange, k *keptResponse, doc []byte) {
	k.Response = doc
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.R.Context()), settleTimeout)
	defer cancel()
	if ended, deleted := h.hasEnded(ctx, x, k); ended {
		if deleted {
			h.forgetLate(ctx, x, k)
		}
		return
	}
	if k.Seq == 0 {
		_, _, err := x.Store.History(ctx, x.Rec.Tenant.ID, k.session(x), store.Range{Limit: 1})
		k.Apart = errors.Is(err, store.ErrNotFound)
	}
	err := x.Store.CacheKeep(ctx, x.Rec.Tenant.ID, k.session(x), keptKey(x, k.Session, k.Turn), k.whole(), h.keptTTL(x))
	if err != nil {
		h.app.StoreFailed("cache put")
		h.log.Error("keeping a response", zap.String("turn", k.Turn), zap.Error(err))
		return
	}
	h.keepItems(ctx, x, k)
}

// whole returns the JSON of a response that has ended. Of one that no store takes it keeps
// that it was too long.
func (k *keptResponse) whole() []byte {
	b := provider.Encode(k)
	if len(b) > maxDocument {
		k.Response = nil
		k.Response = failedResponse(k.document(), apierror.FromProvider(provider.TooLong("the answer", maxDocument)))
		b = provider.Encode(k)
	}
	return b
}

// hasEnded reports whether a response was deleted while it was made, or ended by a node
// that took this one's for gone: it stays what others were told.
func (h *Handler) hasEnded(ctx context.Context, x *chat.Exchange, k *keptResponse) (ended, deleted bool) {
	b, err := x.Store.CacheGet(ctx, x.Rec.Tenant.ID, keptKey(x, k.Session, k.Turn))
	if err != nil {
		return false, false
	}
	deleted = gjson.GetBytes(b, "deleted").Bool()
	return deleted || gjson.GetBytes(b, "response").Exists(), deleted
}

// forgetLate deletes the messages of a response that was deleted before its turn has stored
// them all.
func (h *Handler) forgetLate(ctx context.Context, x *chat.Exchange, k *keptResponse) {
	if err := h.forget(ctx, x, k); err != nil && !errors.Is(err, store.ErrNotFound) {
		h.app.StoreFailed("delete")
		h.log.Error("deleting the messages of a response", zap.String("turn", k.Turn), zap.Error(err))
	}
}

// serveKept serves the routes of a response that is kept.
func (h *Handler) serveKept(x *chat.Exchange, path string) error {
	id, rest, _ := strings.Cut(path, "/")
	allowed := []string{http.MethodGet, http.MethodHead}
	_, _, named := readKeptID(id)
	switch rest {
	case "":
		allowed = []string{http.MethodDelete, http.MethodGet, http.MethodHead}
	case "cancel":
		allowed = []string{http.MethodPost}
	case "input_items":
	default:
		return apierror.NotFound()
	}
	if !slices.Contains(allowed, x.R.Method) {
		if !named {
			return apierror.NotFound() // a route that is not served here, such as compact
		}
		return apierror.MethodNotAllowed(strings.Join(allowed, ", "))
	}
	k, err := h.keptByID(x, id)
	if errors.Is(err, store.ErrNotFound) {
		return apierror.ResponseNotFound()
	}
	if err != nil {
		return h.storeError("cache get", err)
	}
	x.Rec.Session = k.Session
	if _, _, err := x.Store.History(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), store.Range{Limit: 1}); err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			return h.storeError("history", err)
		}
		if !k.Apart {
			return apierror.ResponseNotFound()
		}
	}
	switch {
	case rest == "cancel":
		return h.cancelKept(x, k)
	case rest == "input_items":
		return inputItems(x, k)
	case x.R.Method == http.MethodDelete:
		return h.deleteKept(x, id, k)
	}
	switch stream := x.R.URL.Query().Get("stream"); stream {
	case "true":
		return h.followKept(x, k)
	case "", "false":
		return writeDocument(x, k.document())
	default:
		return apierror.InvalidRequest("stream", "want true or false")
	}
}

// document returns the response as it is now.
func (k *keptResponse) document() []byte {
	if len(k.Response) > 0 {
		return k.Response
	}
	call, err := k.reopened()
	if err != nil {
		return []byte("{}")
	}
	return call.Begun()
}

// unanswered returns the response as one that has failed without an answer, or was cancelled.
func (k *keptResponse) unanswered(e *apierror.Error) []byte {
	doc := failedResponse(k.document(), e)
	if k.cancelled {
		return cancelledResponse(doc)
	}
	return doc
}

// reopened returns the request's call, to which the answer belongs.
func (k *keptResponse) reopened() (door.Kept, error) {
	c, err := responses.Door{Stored: true}.Open(k.Request)
	if err != nil {
		return nil, fmt.Errorf("reading a kept request: %w", err)
	}
	call, ok := c.(door.Kept)
	if !ok {
		return nil, errors.New("reading a kept request: it is of another API")
	}
	k.name(call)
	return call, nil
}

// name gives the answer of a call its id, which holds when it began.
func (k *keptResponse) name(call door.Kept) {
	id, _ := uuid.Parse(k.Turn) // it is one of ours
	call.Keep(keptID(k.Session, k.Turn), time.Unix(id.Time().UnixTime()))
}

func writeDocument(x *chat.Exchange, doc []byte) error {
	h := x.W.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(doc)))
	x.W.WriteHeader(http.StatusOK)
	_, _ = x.W.Write(doc) //nolint:gosec // our own JSON
	return nil
}

// deleteKept deletes a response. One that is running is cancelled, and deleted once it has
// ended: only then it is known what it has stored. If its node does not hear of it, that node
// deletes the rest when it ends the turn.
func (h *Handler) deleteKept(x *chat.Exchange, id string, k *keptResponse) error {
	ctx, tenant := x.R.Context(), x.Rec.Tenant.ID
	running := false
	var err error
	if len(k.Response) == 0 {
		if running, err = x.Store.CancelTurn(ctx, tenant, sessionKey(x), k.Turn); err != nil {
			return h.storeError("cancel", err)
		}
		k, err = h.keptEnd(x, id, cancelWait)
		if errors.Is(err, store.ErrNotFound) {
			return apierror.ResponseNotFound()
		}
		if err != nil {
			return h.storeError("cache get", err)
		}
	}
	if len(k.Response) > 0 {
		err = h.forget(ctx, x, k)
	} else if running && k.Alone {
		err = x.Store.Delete(ctx, tenant, sessionKey(x))
	}
	if err == nil || errors.Is(err, store.ErrNotFound) {
		gone := &keptResponse{Session: k.Session, Turn: k.Turn, Seq: k.Seq, Alone: k.Alone, Previous: k.Previous, Deleted: true}
		err = h.keep(ctx, x, gone)
	}
	if err != nil {
		return h.storeError("delete", err)
	}
	return apierror.WriteJSON(x.W, http.StatusOK, map[string]any{"id": id, "object": "response", "deleted": true})
}

// forget deletes the messages of a response that its session ends with, and of those before
// it that were deleted earlier: all of the session where nothing else is in it. Those of a
// session that a client has named are left.
func (h *Handler) forget(ctx context.Context, x *chat.Exchange, k *keptResponse) error {
	tenant, session := x.Rec.Tenant.ID, k.session(x)
	newest, _, err := x.Store.History(ctx, tenant, session, store.Range{Limit: 2})
	if err != nil || !k.isLast(newest) {
		return err
	}
	needed := false // by one that was not deleted
	for !k.Alone {
		_, turn, ok := readKeptID(k.Previous)
		if !ok {
			return nil
		}
		if k, err = h.loadKept(ctx, x, k.Session, turn); err != nil {
			return err
		}
		needed = needed || !k.Deleted
		if k.Seq == 0 {
			continue // where its messages end is not known
		}
		if err := h.retractTo(ctx, x, session, k.Seq); err != nil || needed {
			return err
		}
	}
	if needed {
		return nil
	}
	return x.Store.Delete(ctx, tenant, session)
}

// retractTo deletes the newest messages of a session, down to one that stays.
func (h *Handler) retractTo(ctx context.Context, x *chat.Exchange, session store.SessionKey, seq uint64) error {
	tenant := x.Rec.Tenant.ID
	newest, _, err := x.Store.History(ctx, tenant, session, store.Range{Limit: 1})
	if err != nil {
		return err
	}
	return x.Store.Retract(ctx, tenant, session, seq+1, newest[0].Seq)
}

// endedPoll is how often a response is looked for whose turn ends.
const endedPoll = 50 * time.Millisecond

// keptEnd returns a response once it has ended, or as it is after a time.
func (h *Handler) keptEnd(x *chat.Exchange, id string, wait time.Duration) (*keptResponse, error) {
	ctx, cancel := context.WithTimeout(x.R.Context(), wait)
	defer cancel()
	poll := time.NewTicker(endedPoll)
	defer poll.Stop()
	for {
		k, err := h.keptByID(x, id)
		if err != nil || len(k.Response) > 0 {
			return k, err
		}
		select {
		case <-ctx.Done():
			return k, nil
		case <-poll.C:
		}
	}
}
