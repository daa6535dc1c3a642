package chatsession

// cancel serves POST /chat/{sessionId}/cancel.
func (h *Handler) cancel(x *exchange) error {
	if err := h.exists(x); err != nil {
		return err
	}
	running, err := x.store.CancelTurn(x.R.Context(), x.Rec.Tenant.ID, x.session())
	if err != nil {
		return h.storeError("cancel", err)
	}
	return x.OK(map[string]any{"sessionId": x.Rec.Session, "cancelled": running})
}
