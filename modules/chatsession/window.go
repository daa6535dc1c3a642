package chatsession

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"

	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// readAtOnce is how many messages are read from the store at a time. One of
// them may hold images of several megabytes.
const readAtOnce = 10

// newest yields a session's messages, the newest first, or those before a
// number where it is not 0. An error is the last that it yields.
func (x *exchange) newest(ctx context.Context, before uint64) iter.Seq2[*store.Message, error] {
	return func(yield func(*store.Message, error) bool) {
		for {
			msgs, more, err := x.store.History(ctx, x.Rec.Tenant.ID, x.session(), store.Range{Before: before, Limit: readAtOnce})
			if err != nil {
				yield(nil, err)
				return
			}
			for _, m := range slices.Backward(msgs) {
				if !yield(&m, nil) {
					return
				}
			}
			if !more {
				return
			}
			before = msgs[0].Seq
		}
	}
}

// message finds a message of the session, nil where it is not there any more.
func (x *exchange) message(ctx context.Context, seq uint64, id string) (*store.Message, error) {
	msgs, _, err := x.store.History(ctx, x.Rec.Tenant.ID, x.session(), store.Range{Before: seq + 1, Limit: 1})
	if errors.Is(err, store.ErrNotFound) || err == nil && (len(msgs) == 0 || msgs[0].ID != id) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &msgs[0], nil
}

// past loads the stored messages that may go to the model, oldest first: as
// many as the context has room for, and before them as many as were sent,
// which may be the same ones. Tool results come with the message that made
// the calls.
func (t *turn) past(sent int) ([]*store.Message, error) {
	most, room := *t.h.ContextMessages+sent, t.h.maxCompletion()
	var msgs []*store.Message
	for m, err := range t.x.newest(t.ctx, 0) {
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, t.h.storeError("history", err)
		}
		inCalls := len(msgs) > 0 && msgs[len(msgs)-1].Role == roleTool
		if room < 0 || (len(msgs) >= most && !inCalls) {
			break
		}
		msgs = append(msgs, m)
		room -= int64(wireSize(m))
	}
	slices.Reverse(msgs)
	return msgs, nil
}

// repeated is how many of the sent messages are those that the session ends
// with: a question that has found no answer and is asked again, or a
// conversation that its client sends as a whole every time.
func repeated(past, sent []*store.Message) int {
	for n := min(len(past), len(sent)); n > 0; n-- {
		if slices.EqualFunc(past[len(past)-n:], sent[:n], same) {
			return n
		}
	}
	return 0
}

// group is what goes to a model together or not at all: a message, or one
// that makes tool calls with their results.
type group struct {
	msgs []*store.Message

	// needed says that the sent messages hold results of its calls: without
	// it they would be results of nothing.
	needed bool
}

// groups splits the past. What no model takes is left out: messages without
// any content, calls without a result and results without a call.
func groups(past, sent []*store.Message) []group {
	var list []group
	for i := 0; i < len(past); {
		m := past[i]
		i++
		if len(callsOf(m)) == 0 {
			if m.Role != roleTool && (m.Content != "" || len(m.Raw) > 0) {
				list = append(list, group{msgs: []*store.Message{m}})
			}
			continue
		}
		end := i
		for end < len(past) && past[end].Role == roleTool {
			end++
		}
		var following []string
		if end == len(past) {
			following = leadingResults(sent)
		}
		if g := pair(m, past[i:end], following); len(g.msgs) > 0 {
			list = append(list, g)
		}
		i = end
	}
	return list
}

// leadingResults returns the ids of the tool calls whose results come first.
func leadingResults(msgs []*store.Message) []string {
	var ids []string
	for _, m := range msgs {
		if m.Role != roleTool {
			break
		}
		ids = append(ids, resultOf(m))
	}
	return ids
}

// pair puts a message's tool calls and their results together. sent are the
// ids of results that follow them.
func pair(call *store.Message, results []*store.Message, sent []string) group {
	var g group
	made := callIDs(call)
	answered := make(map[string]bool)
	for _, id := range sent {
		if id != "" && slices.Contains(made, id) {
			answered[id], g.needed = true, true
		}
	}
	var kept []*store.Message
	for _, r := range results {
		if id := resultOf(r); id != "" && !answered[id] && slices.Contains(made, id) {
			answered[id] = true
			kept = append(kept, r)
		}
	}
	if call = withCalls(call, answered); call != nil {
		g.msgs = append([]*store.Message{call}, kept...)
	}
	return g
}

// withCalls returns a message with those of its tool calls alone that have a
// result, nil where nothing is left.
func withCalls(m *store.Message, answered map[string]bool) *store.Message {
	calls := callsOf(m)
	var kept []json.RawMessage
	for _, call := range calls {
		if answered[call.Get("id").String()] {
			kept = append(kept, json.RawMessage(call.Raw))
		}
	}
	switch {
	case len(kept) == len(calls):
		return m
	case len(kept) > 0:
		c := *m
		var err error
		if c.Raw, err = sjson.SetRawBytes(m.Raw, "tool_calls", encode(kept)); err != nil {
			return nil
		}
		return &c
	case m.Content != "":
		return newMessage(m.Role, m.Content)
	default:
		return nil
	}
}

// fitting returns the newest of the groups that fit all limits, tokens by
// estimate.
func fitting(list []group, messages, tokens int, bytes int64) []group {
	left := int64(tokens)
	for i, g := range slices.Backward(list) {
		messages -= len(g.msgs)
		for _, m := range g.msgs {
			left -= provider.EstimateTokens(weight(m))
			bytes -= int64(wireSize(m))
		}
		if (messages < 0 || left < 0 || bytes < 0) && !g.needed {
			return list[i+1:]
		}
	}
	return list
}

// remembered returns as much of the past as goes to the model before the sent
// messages, given how many bytes there is room for.
func (h *Handler) remembered(past, sent []*store.Message, room int64) []*store.Message {
	var msgs []*store.Message
	for _, g := range fitting(groups(past, sent), *h.ContextMessages, *h.ContextTokens, room) {
		msgs = append(msgs, g.msgs...)
	}
	return msgs
}
