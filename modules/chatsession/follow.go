package chatsession

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// follow serves GET /chat/{sessionId}/stream: the events of the running or
// just finished turn after the one that Last-Event-ID names, and those that
// are still to come. The turn's last event ends the stream.
func (h *Handler) follow(x *exchange) error {
	if err := h.exists(x); err != nil {
		return err
	}
	turn, n := lastEventID(x.r.Header.Get("Last-Event-ID"))
	s := h.newEventStream(x, turn)
	defer s.close()
	for {
		newest, events, err := x.store.Follow(x.r.Context(), x.rec.Tenant.ID, x.session(), turn, n)
		if err != nil || len(events) == 0 {
			return h.endFollow(x, s, err)
		}
		turn = newest
		for _, ev := range events {
			n = ev.N
			s.resume(h, turn, ev)
			if ev.Kind == eventDone {
				return nil
			}
		}
	}
}

// resume sends an event of a turn that may not be the one that the client
// had asked for.
func (s *eventStream) resume(h *Handler, turn string, ev store.Event) {
	s.turn = turn
	s.send(h, ev)
}

// endFollow answers when there is nothing more to follow, or never was.
func (h *Handler) endFollow(x *exchange, s *eventStream, err error) error {
	if started := s.stop(); started || x.r.Context().Err() != nil {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return h.storeError("follow", err)
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// lastEventID reads <turn>:<n>. What is not of that form counts as none.
func lastEventID(s string) (turn string, n int) {
	turn, num, ok := strings.Cut(s, ":")
	if !ok {
		return "", 0
	}
	n, err := strconv.Atoi(num)
	if err != nil || n < 0 {
		return "", 0
	}
	return turn, n
}

// cancel serves POST /chat/{sessionId}/cancel.
func (h *Handler) cancel(x *exchange) error {
	if err := h.exists(x); err != nil {
		return err
	}
	running, err := x.store.CancelTurn(x.r.Context(), x.rec.Tenant.ID, x.session())
	if err != nil {
		return h.storeError("cancel", err)
	}
	return x.ok(map[string]any{"sessionId": x.rec.Session, "cancelled": running})
}
