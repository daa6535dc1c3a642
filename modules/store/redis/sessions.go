package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Append implements store.Sessions.
func (d *db) Append(ctx context.Context, tenant string, s store.SessionKey, opts store.AppendOptions, msgs ...*store.Message) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	if len(msgs) == 0 {
		return nil
	}
	k := turnKey{tenant, s}
	if opts.Turn == "" {
		d.writeSession(ctx, k) // what came before
		if d.later.has(k) {
			return errors.New("appending messages: earlier ones wait for redis to answer")
		}
		return d.append(ctx, k, opts, msgs)
	}
	size := 0
	for _, m := range msgs {
		size += len(m.Content) + len(m.Raw) + 512
	}
	return d.orLater(ctx, k, &write{what: "appending messages", bytes: size, do: func(ctx context.Context) error {
		return d.append(ctx, k, opts, msgs)
	}})
}

// append appends messages once, even if an earlier call whose answer got lost has.
func (d *db) append(ctx context.Context, k turnKey, opts store.AppendOptions, msgs []*store.Message) error {
	s := k.s
	create := "0"
	if opts.Create {
		create = "1"
	}
	args := []string{session(s), s.User, s.ID, create, opts.Title, number(opts.MaxMessages), msgs[len(msgs)-1].ID, opts.Turn}
	args, err := appendMessages(args, opts.Retention, msgs)
	if err != nil {
		return err
	}
	first, err := d.run(ctx, appendScript, k.tenant, args...).AsInt64()
	if rueidis.IsRedisNil(err) {
		return store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("appending messages: %w", err)
	}
	for i, m := range msgs {
		m.Seq = uint64(first) + uint64(i)
	}
	return nil
}

// appendMessages adds messages to the arguments of a script.
func appendMessages(args []string, retention time.Duration, msgs []*store.Message) ([]string, error) {
	for _, m := range msgs {
		expiry := int64(0)
		if retention > 0 {
			expiry = m.Time.Add(retention).UnixMilli()
		}
		record, err := encodeMessage(m)
		if err != nil {
			return nil, fmt.Errorf("encoding a message: %w", err)
		}
		args = append(args, number(expiry), number(m.Time.UnixMilli()), record)
	}
	return args, nil
}

// encodeMessage writes a message as a JSON object and a line end, and Raw behind
// them as it is.
func encodeMessage(m *store.Message) (string, error) {
	head := *m
	head.Raw = nil
	b, err := json.Marshal(&head)
	return string(b) + "\n" + string(m.Raw), err
}

func decodeMessage(record string) (m store.Message, err error) {
	head, raw, ok := strings.Cut(record, "\n")
	if !ok {
		return m, errAnswer
	}
	if err := json.Unmarshal([]byte(head), &m); err != nil {
		return m, err
	}
	if raw != "" {
		m.Raw = json.RawMessage(raw)
	}
	return m, nil
}

// Retract implements store.Sessions.
func (d *db) Retract(ctx context.Context, tenant string, s store.SessionKey, first, last uint64) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	if err := d.run(ctx, retractScript, tenant, session(s), s.User, s.ID, seqNumber(first), seqNumber(last)).Error(); err != nil {
		return fmt.Errorf("retracting messages: %w", err)
	}
	return nil
}

// History implements store.Sessions.
func (d *db) History(ctx context.Context, tenant string, s store.SessionKey, r store.Range) (msgs []store.Message, more bool, err error) {
	if err := d.enter(ctx); err != nil {
		return nil, false, err
	}
	defer d.leave()
	answer, err := d.run(ctx, historyScript, tenant, session(s), s.User, s.ID, seqNumber(r.Before), seqNumber(r.After), number(r.Limit), number(r.Bytes)).ToArray()
	if rueidis.IsRedisNil(err) {
		return nil, false, store.ErrNotFound
	}
	if err == nil {
		msgs, more, err = readHistory(answer)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading messages: %w", err)
	}
	if r.After == 0 || r.Before > 0 {
		slices.Reverse(msgs)
	}
	return msgs, more, nil
}

func readHistory(answer []rueidis.RedisMessage) (msgs []store.Message, more bool, err error) {
	if len(answer)%2 != 1 {
		return nil, false, errAnswer
	}
	for pair := range slices.Chunk(answer[1:], 2) {
		seq, err := pair[0].AsUint64()
		if err != nil {
			return nil, false, err
		}
		record, err := pair[1].ToString()
		if err != nil {
			return nil, false, err
		}
		m, err := decodeMessage(record)
		if err != nil {
			return nil, false, err
		}
		m.Seq = seq
		msgs = append(msgs, m)
	}
	n, err := answer[0].AsInt64()
	return msgs, n == 1, err
}

// Sessions implements store.Sessions.
func (d *db) Sessions(ctx context.Context, tenant, user string, after *store.Cursor, limit int) (list []store.Session, more bool, err error) {
	if err := d.enter(ctx); err != nil {
		return nil, false, err
	}
	defer d.leave()
	updated, id := "", ""
	if after != nil {
		updated, id = number(after.UpdatedAt.UnixMilli()), after.ID
	}
	answer, err := d.run(ctx, sessionsScript, tenant, user, number(limit), updated, id).ToArray()
	if err == nil {
		list, more, err = readSessions(answer)
	}
	if err != nil {
		return nil, false, fmt.Errorf("listing sessions: %w", err)
	}
	if !d.renewed() {
		for i := range list {
			list[i].Lost = false
		}
	}
	return list, more, nil
}

func readSessions(answer []rueidis.RedisMessage) (list []store.Session, more bool, err error) {
	if len(answer)%6 != 1 {
		return nil, false, errAnswer
	}
	for item := range slices.Chunk(answer[1:], 6) {
		id, err1 := item[0].ToString()
		title, err2 := item[2].ToString()
		numbers, err3 := integers([]rueidis.RedisMessage{item[1], item[3], item[4], item[5]})
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, false, err
		}
		list = append(list, store.Session{
			ID: id, Title: title, Messages: int(numbers[2]), Lost: numbers[3] == 1,
			UpdatedAt: time.UnixMilli(numbers[0]), CreatedAt: time.UnixMilli(numbers[1]),
		})
	}
	n, err := answer[0].AsInt64()
	return list, n == 1, err
}

// Delete implements store.Sessions.
func (d *db) Delete(ctx context.Context, tenant string, s store.SessionKey) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	n, err := d.run(ctx, deleteScript, tenant, session(s), s.User, s.ID, d.cancelChannel("")).AsInt64()
	if err != nil {
		return fmt.Errorf("deleting a session: %w", err)
	}
	if n == 0 {
		return store.ErrNotFound
	}
	return nil
}

// EraseTenant implements store.Sessions. It walks over all keys of the server, and
// what is written meanwhile may stay.
func (d *db) EraseTenant(ctx context.Context, tenant string) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	pattern := escapeGlob(d.keys.tenant(tenant)) + "*"
	for _, node := range d.client.Nodes() {
		if err := eraseOn(ctx, node, pattern); err != nil {
			return fmt.Errorf("erasing a tenant: %w", err)
		}
	}
	return nil
}

func eraseOn(ctx context.Context, node rueidis.Client, pattern string) error {
	for cursor := uint64(0); ; {
		page, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(1000).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		if len(page.Elements) > 0 {
			err := node.Do(ctx, node.B().Unlink().Key(page.Elements...).Build()).Error()
			if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "READONLY") {
				return nil // a replica: its master is another node
			}
			if err != nil {
				return err
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

// escapeGlob writes a text as a pattern that matches only it.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(s)
}
