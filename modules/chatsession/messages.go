package chatsession

import (
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// beginning says how a turn with these messages begins, and how many of what it reads
// may be among them.
func (t *turn) beginning(sent []*store.Message) (b store.Beginning, known int) {
	known = len(sent)
	if t.retry {
		known++ // a partial answer to them
	}
	for _, m := range sent {
		m.Time = t.begun
	}
	b = store.Beginning{Turn: t.id, Lease: turnLease, After: t.after, AppendOptions: t.options(true)}
	b.Past = store.Range{Limit: max(1, t.limits.messages+known), Bytes: t.h.maxCompletion()}
	return b, known
}

// newOf returns those of the sent messages that are likely to be new: a single one, or of a
// conversation that is sent as a whole what comes after its last answer.
func newOf(sent []*store.Message) []*store.Message {
	for i, m := range slices.Backward(sent) {
		if m.Role == roleAssistant {
			return sent[i+1:]
		}
	}
	if len(sent) == 1 {
		return sent
	}
	return nil
}

// began returns the messages before the sent ones, of which the turn has stored some as it
// began. If others turn out to be new, those are taken back, and the new ones are stored.
func (t *turn) began(past, sent, stored []*store.Message) ([]*store.Message, error) {
	if len(stored) == 0 || stored[0].Seq == 0 {
		return t.keep(past, sent)
	}
	t.stored = stored
	again, from := repeated(past, sent)
	if again == len(sent)-len(stored) {
		return past[:from], nil
	}
	t.retract()
	t.stored = nil
	return t.keep(past, sent)
}

// keep stores the sent messages, except those that the session already has, and
// returns the messages before them.
func (t *turn) keep(past, sent []*store.Message) ([]*store.Message, error) {
	if t.retry {
		past, t.failed = withoutFailed(past, sent)
	}
	again, from := repeated(past, sent)
	t.begins = len(past) == 0 && len(sent) == 0
	return past[:from], t.store(apart(sent[again:]))
}

// apart returns new messages, of which the first ones do not say any more that what they were
// made of is with one before: that is stored without.
func apart(msgs []*store.Message) []*store.Message {
	for _, m := range msgs {
		if !isWithBefore(m) {
			break
		}
		m.Raw = withoutNative(m.Raw)
	}
	return msgs
}

// withoutFailed splits the past before its last message, if that is a partial
// answer to the sent messages.
func withoutFailed(past, sent []*store.Message) (before []*store.Message, failed *store.Message) {
	if len(past) <= len(sent) {
		return past, nil
	}
	before, failed = past[:len(past)-1], past[len(past)-1]
	if failed.Role != roleAssistant || failed.Status != store.StatusPartial {
		return past, nil
	}
	if again, _ := repeated(before, sent); again < len(sent) {
		return past, nil
	}
	return before, failed
}

func (t *turn) store(msgs []*store.Message) error {
	opts := t.options(true)
	if most := opts.MaxMessages; most > 0 && len(msgs) > most {
		msgs = msgs[len(msgs)-most:]
	}
	if len(msgs) == 0 {
		return nil
	}
	opts.Title = title(msgs)
	if err := t.x.Store.Append(t.ctx, t.tenant, t.session, opts, msgs...); err != nil {
		return t.h.storeError("append", err)
	}
	t.stored = msgs
	return nil
}

// retract deletes the stored messages of a turn that was refused. Otherwise they
// would be sent, and refused, again with every later message.
func (t *turn) retract() {
	if len(t.stored) == 0 {
		return
	}
	ctx, cancel := t.settleContext()
	defer cancel()
	err := t.x.Store.Retract(ctx, t.tenant, t.session, t.stored[0].Seq, t.stored[len(t.stored)-1].Seq)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.h.app.StoreFailed("retract")
		t.h.log.Error("deleting refused messages", zap.Error(err))
	}
}
