package chatsession

import (
	"context"
	"errors"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// cancelWait is how long the node that makes a response has to end it once it is
// cancelled. One that is gone does not.
const cancelWait = 2 * time.Second

// cancelKept cancels a response that is running, and answers with what there is of it.
func (h *Handler) cancelKept(x *chat.Exchange, k *keptResponse) error {
	if !gjson.GetBytes(k.Request, "background").Bool() {
		return apierror.InvalidRequest("response_id", "want a response in the background: no other can be cancelled here")
	}
	if len(k.Response) > 0 {
		return writeDocument(x, k.Response)
	}
	running, err := x.Store.CancelTurn(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), k.Turn)
	if err != nil {
		return h.storeError("cancel", err)
	}
	k, err = h.keptEnd(x, k.id(), cancelWait)
	if err == nil && running && len(k.Response) == 0 {
		h.endFor(x.R.Context(), x, k, cancelledResponse(k.document()))
		k, err = h.keptByID(x, k.id()) // its node may have been faster
	}
	if errors.Is(err, store.ErrNotFound) {
		return apierror.ResponseNotFound()
	}
	if err != nil {
		return h.storeError("cache get", err)
	}
	return writeDocument(x, k.document())
}

// endFor ends a response in place of its node: as it is in doc, but with what the node has
// published of the answer. The response stays so, whatever becomes of the node.
func (h *Handler) endFor(ctx context.Context, x *chat.Exchange, k *keptResponse, doc []byte) {
	if f, err := h.newKeptFollower(x, k, -1); err == nil {
		f.readSoFar(ctx)
		doc, k.Events = endOf(f.ending(gjson.ParseBytes(doc)))
		doc, _ = sjson.SetRawBytes(doc, "usage", []byte("null")) // it is not known
	}
	h.keepEnd(x, k, doc)
}

// publishedWait is how long the next events of a turn are waited for that its node may not
// end: it is gone, or stands still.
const publishedWait = time.Second

// readSoFar reads the chunks that the turn has published.
func (f *keptFollower) readSoFar(ctx context.Context) {
	for n := 0; ; {
		turn, events, err := f.published(ctx, n)
		if err != nil || turn != f.k.Turn || len(events) == 0 {
			return
		}
		for _, ev := range events {
			n = ev.N
			if ev.Kind == eventRaw {
				f.chunks(nil, ev.Data)
			}
		}
	}
}

// published returns the turn's events after number n, and waits for them only for a moment.
func (f *keptFollower) published(ctx context.Context, n int) (turn string, events []store.Event, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishedWait)
	defer cancel()
	return f.x.Store.Follow(ctx, f.x.Rec.Tenant.ID, f.k.session(f.x), f.k.Turn, n)
}
