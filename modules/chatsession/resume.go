package chatsession

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// follow serves GET /chat/{sessionId}/stream. It sends the events of the newest
// turn, running or finished, that come after the one that the client saw last, and
// ends the stream after the turn's last event.
func (h *Handler) follow(x *chat.Exchange) error {
	if err := h.exists(x); err != nil {
		return err
	}
	turn, n := lastSeen(x.R)
	return h.followFrom(x, h.newEventStream(x.R.Context(), x, turn), turn, n)
}

// resume serves GET /v1/chat/completions/{turn}, which is follow for the chunks of one
// turn. What is no turn of a session is for the next handler.
func (h *Handler) resume(x *chat.Exchange, turn string, next caddyhttp.Handler) error {
	s, err := x.Store.FindTurn(x.R.Context(), x.Rec.Tenant.ID, x.Rec.User, turn)
	if errors.Is(err, store.ErrNotFound) {
		return h.passOn(x, next)
	}
	if err != nil {
		return h.storeError("find", err)
	}
	x.Rec.Session = s.ID
	n, err := sharedanswer.LastSeen(x.R, turn)
	if err != nil {
		return err
	}
	stream := h.newEventStream(x.R.Context(), x, turn)
	stream.v1 = true
	return h.followFrom(x, stream, turn, n)
}

func (h *Handler) followFrom(x *chat.Exchange, s *eventStream, turn string, n int) error {
	defer s.Close()
	newest, events, err := h.beginFollow(x, s, turn, n)
	for {
		if errors.Is(err, store.ErrLost) {
			if err = h.endLost(x, sessionKey(x)); err == nil {
				newest, events, err = x.Store.Follow(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), newest, n)
			}
		}
		if err == nil && s.v1 && (newest != turn || len(events) > 0 && events[0].Kind == eventText) {
			err = store.ErrNotFound
		}
		if err != nil || len(events) == 0 {
			return h.endFollow(x, s, n, err)
		}
		turn = newest
		s.of(turn) // it may differ from the one in Last-Event-ID
		s.send(events...)
		last := events[len(events)-1]
		if n = last.N; last.Kind == eventDone || x.R.Method == http.MethodHead {
			if !s.Stop() {
				x.W.WriteHeader(http.StatusNoContent)
			}
			return nil
		}
		newest, events, err = x.Store.Follow(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), turn, n)
	}
}

// firstWait is how long the header of a stream waits for its first events. Before
// that, a session without anything to follow can still be answered by a status.
const firstWait = 50 * time.Millisecond

// beginFollow returns the first events to send. If a turn is running that has none
// yet, it begins the answer before it waits for them.
func (h *Handler) beginFollow(x *chat.Exchange, s *eventStream, turn string, n int) (newest string, events []store.Event, err error) {
	ctx, cancel := context.WithTimeout(x.R.Context(), firstWait)
	defer cancel()
	newest, events, err = x.Store.Follow(ctx, x.Rec.Tenant.ID, sessionKey(x), turn, n)
	if !errors.Is(err, context.DeadlineExceeded) {
		return newest, events, err
	}
	s.Begin()
	if err := s.Flush(); err != nil || x.R.Method == http.MethodHead {
		return "", nil, err
	}
	return x.Store.Follow(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), turn, n)
}

// endFollow ends the stream when there are no more events after number n. If there
// never were any, it answers 204 or with err.
func (h *Handler) endFollow(x *chat.Exchange, s *eventStream, n int, err error) error {
	started, gone := s.Stop(), apierror.Ended(x.R.Context())
	switch {
	case gone != nil && started && s.v1:
		x.Rec.ErrorCode = gone.Code
		apierror.Log(h.log, x.Rec, gone)
		_ = s.Send(apierror.OpenAIFrame(gone, x.Rec.TraceID)) // without an id: the event is not part of the turn
		return nil
	case gone != nil && started:
		x.Rec.ErrorCode = gone.Code
		apierror.Log(h.log, x.Rec, gone)
		s.send(
			store.Event{N: n + 1, Kind: eventError, Data: provider.Encode(errorEvent{gone.Code, gone.Message, x.Rec.TraceID})},
			store.Event{N: n + 2, Kind: eventDone, Data: provider.Encode(doneEvent{Done: true, FinishReason: finishError})})
		return nil
	case gone != nil:
		return gone
	case started && err != nil && !errors.Is(err, store.ErrNotFound) && !x.ClientGone():
		// it ends without done, so that the client comes back
		apierror.Log(h.log, x.Rec, apierror.From(h.storeError("follow", err)))
		return nil
	case started, x.ClientGone():
		return nil
	}
	if errors.Is(err, store.ErrNotFound) && s.v1 {
		return apierror.NotFound()
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return h.storeError("follow", err)
	}
	x.W.WriteHeader(http.StatusNoContent)
	return nil
}

// lastSeen returns the event after which the client goes on. The header wins: an
// EventSource that reconnects sends it with the address of its first connection.
func lastSeen(r *http.Request) (turn string, n int) {
	return lastEventID(cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")))
}

// lastEventID parses <turn>:<n>. Anything else counts as no id.
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
