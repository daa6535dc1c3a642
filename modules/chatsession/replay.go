package chatsession

import (
	"encoding/json"
	"errors"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// join follows the turn that answers the key, and says whether that was an
// answer. Where it was none the key is free, or the answer kept.
func (o *once) join() (answered bool, err error) {
	turn, evs, err := o.follow("", 0)
	if err != nil || len(evs) == 0 || evs[0].N != eventBegun {
		return false, err
	}
	var b begun
	if err := json.Unmarshal(evs[0].Data, &b); err != nil {
		return false, o.h.storeError("follow", err)
	}
	if b.Digest != o.digest {
		return false, apierror.IdempotencyKeyReused()
	}
	if *o.m.Stream {
		return o.stream(turn)
	}
	return false, o.outcome(turn)
}

// follow waits for what the key's turn tells after an event. It is nothing
// where the turn has ended, or is forgotten.
func (o *once) follow(turn string, n int) (string, []store.Event, error) {
	turn, evs, err := o.x.store.Follow(o.x.R.Context(), o.x.Rec.Tenant.ID, o.lock, turn, n)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, o.h.storeError("follow", err)
	}
	return turn, evs, nil
}

// outcome waits for the end of the turn that answers the key, and returns the
// error that it was answered with, if any.
func (o *once) outcome(turn string) error {
	newest, evs, err := o.follow(turn, eventBegun)
	if err != nil || len(evs) == 0 || newest != turn {
		return err
	}
	var end over
	if err := json.Unmarshal(evs[0].Data, &end); err != nil {
		return o.h.storeError("follow", err)
	}
	if end.Failed != nil {
		return end.Failed
	}
	return nil
}

// stream sends the events of the turn that answers the key, those that have
// been and those that are still to come.
func (o *once) stream(turn string) (answered bool, err error) {
	ctx, tenant := o.x.R.Context(), o.x.Rec.Tenant.ID
	s := o.h.newEventStream(ctx, o.x, turn)
	defer s.Close()
	n, sent := 0, 0
	for {
		newest, evs, err := o.x.store.Follow(ctx, tenant, o.x.session(), turn, n)
		if err != nil || len(evs) == 0 || newest != turn {
			break
		}
		if n == 0 && evs[0].Kind == eventError {
			// without a word before it, this may have been an answer with a status
			if err := o.outcome(turn); err != nil && !s.Stop() {
				return false, err
			}
		}
		for _, ev := range evs {
			s.send(ev)
			n = ev.N
			switch ev.Kind {
			case eventText:
				sent += len(ev.Data)
			case eventDone:
				return true, nil
			}
		}
	}
	if started := s.Stop(); !started || ctx.Err() != nil {
		return false, ctx.Err()
	}
	// another turn has taken its place; what is left is in the store
	if kept, err := o.recall(); err == nil && kept != nil {
		o.sendRest(s, kept, sent)
	}
	return true, nil
}

// replay answers with what is kept.
func (o *once) replay(kept *answered) error {
	if !*o.m.Stream {
		return o.x.document(kept.text, kept.Finish, kept.Usage)
	}
	s := o.h.newEventStream(o.x.R.Context(), o.x, kept.Turn)
	defer s.Close()
	s.SetHeader("X-Model-Id", kept.Usage.ModelID)
	o.sendRest(s, kept, 0)
	return nil
}

// sendRest sends what is kept behind the first bytes of the text, with the
// numbers that end the turn.
func (o *once) sendRest(s *eventStream, kept *answered, sent int) {
	n := kept.Last
	if kept.Failure != nil {
		n--
	}
	if rest := kept.text[min(sent, len(kept.text)):]; rest != "" {
		s.send(store.Event{N: n - 1, Kind: eventText, Data: []byte(rest)})
	}
	if f := kept.Failure; f != nil {
		f.TraceID = o.x.Rec.TraceID
		s.send(store.Event{N: n, Kind: eventError, Data: encode(f)})
	}
	s.send(store.Event{N: kept.Last, Kind: eventDone, Data: encode(doneEvent{true, kept.Finish, kept.Usage})})
}
