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

// endLost ends a session's turn if the node that ran it is gone, and stores what it
// had published of the answer. Of several callers, one does.
func (h *Handler) endLost(x *chat.Exchange, s store.SessionKey) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.R.Context()), settleTimeout)
	defer cancel()
	turn, n, text, raws, err := readLost(ctx, x, s)
	if err != nil || turn == "" {
		return err
	}
	e := apierror.NodeGone()
	u := usage{ModelID: x.Rec.Tenant.Model, TokensOut: provider.EstimateTokens(len(text)), TotalTokens: provider.EstimateTokens(len(text)), Estimated: true}
	var answer []*store.Message
	if text != "" {
		m := newMessage(roleAssistant, text)
		m.Time, m.Status = time.Now(), store.StatusPartial
		answer = append(answer, m)
	}
	ended, err := x.Store.EndLost(ctx, x.Rec.Tenant.ID, s, store.Ending{
		Turn:          turn,
		Keep:          time.Duration(h.ResumeWindow),
		Last:          failed(n+1, raws, e, u, x.Rec.TraceID),
		AppendOptions: h.appendOptions(x.Rec.Tenant, false),
	}, answer...)
	if ended {
		h.failKept(ctx, x, s, turn, e)
		h.log.Warn("ended a turn whose node is gone", zap.String("turn", turn), zap.String("tenant", x.Rec.Tenant.ID), zap.Int("events", n))
	}
	return err
}

// endedLost ends the turn of the request's session if its node is gone, and reports
// whether it did. An error is only logged: what the client asked for can be read.
func (h *Handler) endedLost(x *chat.Exchange) bool {
	lost, err := x.Store.Lost(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x))
	if err == nil && lost {
		err = h.endLost(x, sessionKey(x))
	}
	h.warnOfLost(x, err)
	return lost && err == nil
}

// endedLostOf does the same for those of a list of the user's sessions.
func (h *Handler) endedLostOf(x *chat.Exchange, list []store.Session) (ended bool) {
	for _, s := range list {
		if !s.Lost {
			continue
		}
		err := h.endLost(x, store.SessionKey{User: x.Rec.User, ID: s.ID})
		h.warnOfLost(x, err)
		ended = ended || err == nil
	}
	return ended
}

func (h *Handler) warnOfLost(x *chat.Exchange, err error) {
	if err != nil && !x.ClientGone() {
		h.log.Warn("ending a turn whose node is gone", zap.String("tenant", x.Rec.Tenant.ID), zap.Error(err))
	}
}

// readLost reads all of the newest turn. turn is empty if the turn has ended
// meanwhile. raws says that it is a stream under /v1.
func readLost(ctx context.Context, x *chat.Exchange, s store.SessionKey) (turn string, n int, text string, raws bool, err error) {
	var b strings.Builder
	var chunks chunkReader
	for {
		id, events, err := x.Store.Follow(ctx, x.Rec.Tenant.ID, s, turn, n)
		switch {
		case errors.Is(err, store.ErrLost):
			return id, n, b.String(), raws, nil
		case err != nil, len(events) == 0:
			return "", 0, "", false, err
		}
		turn = id
		for _, ev := range events {
			n = ev.N
			switch ev.Kind {
			case eventText:
				b.Write(ev.Data)
			case eventRaw:
				raws = true
				b.WriteString(chunks.text(ev.Data))
			}
		}
		if events[len(events)-1].Kind == eventDone {
			return "", 0, "", false, nil
		}
	}
}

// running returns a response whose turn was running when it was read: as it is now, or as
// one that has failed if its node is gone.
func (h *Handler) running(x *chat.Exchange, k *keptResponse) (*keptResponse, error) {
	ctx, tenant, session := x.R.Context(), x.Rec.Tenant.ID, k.session(x)
	_, err := x.Store.FindTurn(ctx, tenant, session.User, k.Turn)
	gone := errors.Is(err, store.ErrNotFound)
	if err != nil && !gone {
		return nil, err
	}
	if !gone {
		lost, err := x.Store.Lost(ctx, tenant, session)
		if err != nil || !lost {
			return k, err
		}
		if err := h.endLost(x, session); err != nil {
			return nil, err
		}
	}
	// it may have ended since it was read
	now, err := h.readKept(ctx, x, k.Session, k.Turn)
	if err == nil && gone && len(now.Response) == 0 {
		now.Response = failedResponse(now.document(), apierror.NodeGone())
	}
	return now, err
}

// failKept ends the response of a turn whose node is gone, if it is one.
func (h *Handler) failKept(ctx context.Context, x *chat.Exchange, s store.SessionKey, turn string, e *apierror.Error) {
	k, err := h.readKept(ctx, x, s.ID, turn)
	if err == nil && len(k.Response) == 0 {
		h.endFor(ctx, x, k, failedResponse(k.document(), e))
	}
	if !errors.Is(err, store.ErrNotFound) {
		h.warnOfLost(x, err)
	}
}
