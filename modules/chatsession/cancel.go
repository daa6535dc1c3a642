package chatsession

import "github.com/caddy-chat/caddy-chat/modules/chat"

// cancel serves POST /chat/{sessionId}/cancel.
func (h *Handler) cancel(x *chat.Exchange) error {
	if err := h.exists(x); err != nil {
		return err
	}
	running, err := x.Store.CancelTurn(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), "")
	if err != nil {
		return h.storeError("cancel", err)
	}
	return x.OK(map[string]any{"sessionId": x.Rec.Session, "cancelled": running})
}
