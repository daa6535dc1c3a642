package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/rueidis"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// ClaimKey implements store.Turns.
func (d *db) ClaimKey(ctx context.Context, tenant string, c store.KeyClaim, over bool, takes []store.Take) (value []byte, cancelled <-chan struct{}, err error) {
	if err := d.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer d.leave()
	k := turnKey{tenant, c.Session}
	if err := d.writeBefore(ctx, k); err != nil {
		return nil, nil, err
	}
	flag := "0"
	if over {
		flag = "1"
	}
	args := appendEvents([]string{session(c.Session), c.Turn, d.node, micros(c.Lease), cached(c.Key), flag}, []store.Event{c.First})
	slot := d.nextSlot()
	args = appendSlots(args, slot, takes)
	t, err := d.claim(k, c.Turn, c.Lease, func() error {
		answer, err := d.runClaim(ctx, claimKeyScript, tenant, args)
		if len(answer) > 1 {
			var readErr error
			value, readErr = answer[1].AsBytes()
			value = append([]byte{}, value...) // an empty one is a value, too
			err = errors.Join(err, readErr)
		}
		return err
	})
	if errors.Is(err, store.ErrKeyTaken) {
		return value, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("claiming a key: %w", err)
	}
	d.slots.add(tenant, takes, slot)
	return value, t.cancelled, nil
}

// Begin implements store.Turns.
func (d *db) Begin(ctx context.Context, tenant string, s store.SessionKey, b store.Beginning, msgs ...*store.Message) (begun store.Begun, err error) {
	if err := d.enter(ctx); err != nil {
		return begun, err
	}
	defer d.leave()
	k := turnKey{tenant, s}
	if err := d.writeBefore(ctx, k); err != nil {
		return begun, err
	}
	slot := d.nextSlot()
	args, err := d.beginArgs(s, b, slot, msgs)
	if err != nil {
		return begun, err
	}
	var answer []rueidis.RedisMessage
	begin := func() (err error) {
		answer, err = d.runClaim(ctx, beginScript, tenant, args)
		return err
	}
	if c := b.Key; c != nil {
		alone, ofKey := begin, turnKey{tenant, c.Session}
		if err := d.writeBefore(ctx, ofKey); err != nil {
			return begun, err
		}
		begin = func() error {
			t, err := d.claim(ofKey, c.Turn, c.Lease, alone)
			if err == nil {
				begun.KeyLeft = t.cancelled
			}
			return err
		}
	}
	t, err := d.claim(k, b.Turn, b.Lease, begin)
	if err != nil {
		return store.Begun{}, fmt.Errorf("beginning a turn: %w", err)
	}
	if len(answer) < 3 {
		return store.Begun{}, fmt.Errorf("beginning a turn: %w", errAnswer)
	}
	first, err := answer[1].AsInt64()
	if err == nil {
		begun.Past, begun.More, err = readHistory(answer[2:])
	}
	if err != nil {
		return store.Begun{}, fmt.Errorf("beginning a turn: %w", err)
	}
	if first > 0 {
		for i, m := range msgs {
			m.Seq = uint64(first) + uint64(i)
		}
	}
	slices.Reverse(begun.Past)
	d.slots.add(tenant, b.Takes, slot)
	begun.Cancelled = t.cancelled
	return begun, nil
}

// beginArgs are the arguments of the script that begins a turn.
func (d *db) beginArgs(s store.SessionKey, b store.Beginning, slot string, msgs []*store.Message) ([]string, error) {
	last, further := "", "0"
	if len(msgs) > 0 {
		last = msgs[len(msgs)-1].ID
	}
	if b.Further {
		further = "1"
	}
	args := []string{
		session(s), s.User, s.ID, b.Turn, d.node, micros(b.Lease), number(b.Past.Limit), number(b.Past.Bytes),
		b.Title, number(b.MaxMessages), last, seqNumber(b.After), further,
	}
	if c := b.Key; c != nil {
		args = append(args, session(c.Session), c.Turn, micros(c.Lease), cached(c.Key))
		args = appendEvents(args, []store.Event{c.First})
	} else {
		args = append(args, "", "", "", "", "", "", "")
	}
	return appendMessages(appendSlots(args, slot, b.Takes), b.Retention, msgs)
}

// appendSlots adds slots to the arguments of a script.
func appendSlots(args []string, slot string, takes []store.Take) []string {
	args = append(args, slot, micros(slotLease), number(len(takes)))
	for _, t := range takes {
		args = append(args, t.Key, number(t.Slots))
	}
	return args
}

// runClaim runs a script that claims, and returns its answer, of which the first value is
// the code, and the error that this stands for.
func (d *db) runClaim(ctx context.Context, script *rueidis.Lua, tenant string, args []string) ([]rueidis.RedisMessage, error) {
	answer, err := d.run(ctx, script, tenant, args...).ToArray()
	if err != nil {
		return nil, err
	}
	if len(answer) == 0 {
		return nil, errAnswer
	}
	code, err := answer[0].AsInt64()
	if err != nil {
		return nil, err
	}
	return answer, d.claimError(code)
}
