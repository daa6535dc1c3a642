package chatsession

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// endLost ends the session's turn if the node that ran it is gone, and stores what it
// had published of the answer. Of several callers, one does.
func (h *Handler) endLost(x *chat.Exchange) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.R.Context()), settleTimeout)
	defer cancel()
	turn, n, text, err := h.readLost(ctx, x)
	if err != nil || turn == "" {
		return err
	}
	e := apierror.NodeGone()
	u := usage{ModelID: x.Rec.Tenant.Model, TokensOut: provider.EstimateTokens(len(text)), TotalTokens: provider.EstimateTokens(len(text)), Estimated: true}
	ended, err := x.Store.EndLost(ctx, x.Rec.Tenant.ID, sessionKey(x), turn, time.Duration(h.ResumeWindow),
		store.Event{N: n + 1, Kind: eventError, Data: provider.Encode(errorEvent{e.Code, e.Message, x.Rec.TraceID})},
		store.Event{N: n + 2, Kind: eventDone, Data: provider.Encode(doneEvent{true, finishError, u})})
	if err != nil || !ended {
		return err
	}
	h.log.Warn("ended a turn whose node is gone", zap.String("turn", turn), zap.String("tenant", x.Rec.Tenant.ID), zap.Int("events", n))
	if text == "" {
		return nil
	}
	m := newMessage(roleAssistant, text)
	m.Time, m.Status = time.Now(), store.StatusPartial
	err = x.Store.Append(ctx, x.Rec.Tenant.ID, sessionKey(x), h.appendOptions(x.Rec.Tenant, false), m)
	if errors.Is(err, store.ErrNotFound) {
		return nil // the session was deleted meanwhile
	}
	return err
}

// readLost reads all of the newest turn. turn is empty if the turn has ended
// meanwhile.
func (h *Handler) readLost(ctx context.Context, x *chat.Exchange) (turn string, n int, text string, err error) {
	var b strings.Builder
	for {
		id, events, err := x.Store.Follow(ctx, x.Rec.Tenant.ID, sessionKey(x), turn, n)
		switch {
		case errors.Is(err, store.ErrLost):
			return id, n, b.String(), nil
		case err != nil, len(events) == 0:
			return "", 0, "", err
		}
		turn = id
		for _, ev := range events {
			if n = ev.N; ev.Kind == eventText {
				b.Write(ev.Data)
			}
		}
		if events[len(events)-1].Kind == eventDone {
			return "", 0, "", nil
		}
	}
}
