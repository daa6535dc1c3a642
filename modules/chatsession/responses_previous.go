package chatsession

import (
	"errors"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const fieldPrevious = "previous_response_id"

// goOnFrom makes the session of the previous response that of the request, which may not
// name another one. The session has to end with that response when the turn begins.
func (h *Handler) goOnFrom(x *chat.Exchange, c *talk) error {
	k, err := h.keptByID(x, c.keeping.Previous)
	if errors.Is(err, store.ErrNotFound) {
		return apierror.NoPreviousResponse()
	}
	if err != nil {
		return h.storeError("cache get", err)
	}
	if named := x.Rec.Session; named != "" && named != k.Session {
		return apierror.InvalidRequest(fieldPrevious, "want a response of the session of "+headerSession+", or no such header")
	}
	if len(k.Response) == 0 {
		return apierror.SessionBusy()
	}
	x.Rec.Session, c.after = k.Session, k.Seq
	if k.Seq == 0 { // nothing of it is in the session
		_, _, err := x.Store.History(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), store.Range{Limit: 1})
		if errors.Is(err, store.ErrNotFound) {
			return apierror.NoPreviousResponse()
		}
		if err != nil {
			return h.storeError("history", err)
		}
	}
	if k.Alone || k.Previous != "" {
		c.kept.Previous = c.keeping.Previous
	}
	return nil
}

// elsewhere prepares another try of a turn that could not go on from the previous response:
// once that one's turn is over, or in a session of its own. It waits only if waits is true.
func (h *Handler) elsewhere(x *chat.Exchange, c *talk, why error, waits bool) error {
	if errors.Is(why, store.ErrNotFound) {
		return apierror.NoPreviousResponse()
	}
	if waits && errors.Is(why, store.ErrBusy) {
		if over, err := h.waitForPrevious(x, c); over || err != nil {
			return err
		}
	}
	named, err := namedSession(x.R.Header, c.keeping.Conversation)
	switch {
	case err != nil:
		return err
	case named == "":
		return h.fork(x, c)
	case errors.Is(why, store.ErrBusy):
		return apierror.SessionBusy()
	}
	return apierror.InvalidRequest(fieldPrevious, "want the last response of the session of "+headerSession+", or no such header")
}

// waitForPrevious waits for the end of the previous response's turn, which comes soon after
// the response is kept. It reports false if it is another turn that runs.
func (h *Handler) waitForPrevious(x *chat.Exchange, c *talk) (over bool, err error) {
	_, previous, _ := readKeptID(c.keeping.Previous)
	for n := 0; ; {
		turn, events, err := x.Store.Follow(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), previous, n)
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrLost):
			return true, nil // the turn that begins next sees to that
		case err != nil:
			return false, h.storeError("follow", err)
		case turn != previous:
			return false, nil
		case len(events) == 0:
			return true, nil
		}
		n = events[len(events)-1].N
	}
}

// fork makes a session that begins with what was said up to the previous response, because
// its own has gone on since then, or goes on now.
func (h *Handler) fork(x *chat.Exchange, c *talk) error {
	before, err := h.before(x, c)
	if err != nil {
		return err
	}
	x.Rec.Session, c.made, c.after, c.kept.Previous = uuid.NewString(), true, 0, ""
	c.name(x)
	if len(before) == 0 {
		return nil
	}
	for _, m := range before {
		m.ID = record.NewID() // they are copies
	}
	opts := h.appendOptions(x.Rec.Tenant, true)
	opts.Title = title(before)
	if err := x.Store.Append(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), opts, before...); err != nil {
		return h.storeError("append", err)
	}
	return nil
}

// before returns what was said up to the previous response.
func (h *Handler) before(x *chat.Exchange, c *talk) ([]*store.Message, error) {
	r := store.Range{Limit: max(1, c.limits().messages), Bytes: h.maxCompletion()}
	if c.after > 0 {
		r.Before = c.after + 1
	}
	msgs, _, err := x.Store.History(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), r)
	if errors.Is(err, store.ErrNotFound) {
		return nil, apierror.NoPreviousResponse()
	}
	if err != nil {
		return nil, h.storeError("history", err)
	}
	list := make([]*store.Message, len(msgs))
	for i := range msgs {
		list[i] = &msgs[i]
	}
	return list, nil
}

// answerUnkept answers a request that goes on from a response and is not kept itself: it
// has what was said before, and leaves nothing behind.
func (h *Handler) answerUnkept(x *chat.Exchange, c *talk) error {
	if err := h.place(x, c); err != nil {
		return err
	}
	past, err := h.before(x, c)
	if err != nil {
		return err
	}
	if err := c.gates.Enter(); err != nil {
		return err
	}
	key := x.R.Header.Get(sharedanswer.HeaderKey) // for the next handler
	x.Rec.Session, x.Rec.Translated = "", true
	before, err := h.context(x, c, past)
	if err != nil {
		return err
	}
	x.Rec.Beside = c.beside(before)
	ctx, cancel := chat.CallContext(x.R.Context(), c.req.stream)
	defer cancel(nil)
	w := newDoorWriter(h, x, c.call, c.sent)
	w.cancel = cancel
	defer w.stream.Close()
	r := nextRequest(ctx, x, c.req.with(before))
	if key != "" {
		r.Header.Set(sharedanswer.HeaderKey, key)
	}
	err = w.serve(func() error { return c.next.ServeHTTP(w, r) })
	if err != nil && w.status == 0 {
		return nextError{err}
	}
	return w.end(err)
}
