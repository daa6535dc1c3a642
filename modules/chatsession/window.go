package chatsession

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// readAtOnce is how many messages are read from the store at a time. It is small
// because a message may hold images of several megabytes.
const readAtOnce = 10

// newest yields a session's messages, the newest first. If before is not 0, it
// yields only messages with smaller numbers. It stops after an error.
func newest(ctx context.Context, x *chat.Exchange, before uint64) iter.Seq2[*store.Message, error] {
	return func(yield func(*store.Message, error) bool) {
		for {
			msgs, more, err := x.Store.History(ctx, x.Rec.Tenant.ID, sessionKey(x), store.Range{Before: before, Limit: readAtOnce})
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

// newestAfter yields a session's messages, the newest first, of which first has some.
func newestAfter(ctx context.Context, x *chat.Exchange, first *store.Begun) iter.Seq2[*store.Message, error] {
	return func(yield func(*store.Message, error) bool) {
		for _, m := range slices.Backward(first.Past) {
			if !yield(&m, nil) {
				return
			}
		}
		if !first.More {
			return
		}
		for m, err := range newest(ctx, x, first.Past[0].Seq) {
			if !yield(m, err) {
				return
			}
		}
	}
}

// messageOf returns a message of the session, or nil if it no longer exists. One that was
// stored later has the number 0, and is looked for among the newest.
func messageOf(ctx context.Context, x *chat.Exchange, seq uint64, id string) (*store.Message, error) {
	if seq == 0 {
		return newestOf(ctx, x, id)
	}
	msgs, _, err := x.Store.History(ctx, x.Rec.Tenant.ID, sessionKey(x), store.Range{Before: seq + 1, Limit: 1})
	if errors.Is(err, store.ErrNotFound) || err == nil && (len(msgs) == 0 || msgs[0].ID != id) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &msgs[0], nil
}

// newestOf returns the message with an id, or nil if it is not among the newest.
func newestOf(ctx context.Context, x *chat.Exchange, id string) (*store.Message, error) {
	const most = 100
	n := 0
	for m, err := range newest(ctx, x, 0) {
		if errors.Is(err, store.ErrNotFound) || n == most {
			break
		}
		if err != nil || m.ID == id {
			return m, err
		}
		n++
	}
	return nil, nil
}

// contextLimits is how much of the past goes to the model, but for its size in bytes.
type contextLimits struct {
	messages, tokens int
}

// wholeContext is for a conversation that goes to the model whole or not at all.
var wholeContext = contextLimits{math.MaxInt32, math.MaxInt32}

// limits returns the limits of the operator.
func (h *Handler) limits() contextLimits {
	return contextLimits{*h.ContextMessages, *h.ContextTokens}
}

// none reports whether nothing of the past goes to the model.
func (l contextLimits) none() bool { return l.messages == 0 || l.tokens == 0 }

// past returns the stored messages that may go to the model, oldest first. It
// reads as many as the context has room for plus the number known, because the
// newest ones may be the sent ones. It does not separate tool results from
// their calls, nor, if goesOn is true, what the model does about a question from the
// question. first are those that were read already.
func (t *turn) past(known int, goesOn bool, first *store.Begun) ([]*store.Message, error) {
	most, room := t.limits.messages+known, t.h.maxCompletion()
	asked := t.limits.none() || !goesOn
	var msgs []*store.Message
	for m, err := range newestAfter(t.ctx, t.x, first) {
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, t.h.storeError("history", err)
		}
		inCalls := len(msgs) > 0 && msgs[len(msgs)-1].Role == roleTool
		if room < 0 || (len(msgs) >= most && !inCalls && asked) {
			break
		}
		msgs = append(msgs, m)
		asked = asked || m.Role == roleUser
		room -= int64(wireSize(m))
	}
	slices.Reverse(msgs)
	return msgs, nil
}

// group is a message, or a message with tool calls and their results, which go
// to a model together or not at all.
type group struct {
	msgs []*store.Message

	// needed says that sent messages are results of its calls, which the
	// model would refuse without the calls.
	needed bool
}

// groups splits the past into groups. It leaves out what models refuse: messages
// without content, calls without a result and results without a call.
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

// leadingResults returns the ids of the tool calls whose results msgs begin with.
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

// goesOn reports whether messages go on with what the model does about an earlier
// question: they begin with results of its tools, or with what it has done before it paused.
func goesOn(msgs []*store.Message) bool {
	return len(msgs) > 0 && (msgs[0].Role == roleTool || msgs[0].Role == roleAssistant && isWordless(msgs[0]))
}

// pair returns the group of a message with tool calls and their results. sent
// holds the ids of calls whose results are in the sent messages.
func pair(call *store.Message, results []*store.Message, sent []string) group {
	var g group
	made := callIDs(call)
	answered := make(map[string]bool)
	for _, id := range sent {
		if made[id] {
			answered[id], g.needed = true, true
		}
	}
	var kept []*store.Message
	for _, r := range results {
		if id := resultOf(r); made[id] && !answered[id] {
			answered[id] = true
			kept = append(kept, r)
		}
	}
	if call = withCalls(call, answered); call != nil {
		g.msgs = append([]*store.Message{call}, kept...)
	}
	return g
}

// withCalls returns a message without its unanswered tool calls, or nil if nothing
// is left of it. Of what it was made of the API's own door leaves them out.
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
		if c.Raw, err = sjson.SetRawBytes(m.Raw, "tool_calls", provider.Encode(kept)); err != nil {
			return nil
		}
		return &c
	case m.Content != "":
		return withoutCalls(m)
	default:
		return nil
	}
}

// withoutCalls returns a message without its tool calls: its text, with the reasoning that is
// signed and what it was made of.
func withoutCalls(m *store.Message) *store.Message {
	c := newMessage(m.Role, m.Content)
	raw := appendWire(nil, c)
	for _, name := range append([]string{"thinking_blocks"}, door.Members[:]...) {
		v := gjson.GetBytes(m.Raw, name)
		if !v.Exists() {
			continue
		}
		with, err := sjson.SetRawBytes(raw, name, []byte(v.Raw))
		if err != nil {
			return c
		}
		raw, c.Raw = with, with
	}
	return c
}

// fitting returns the newest groups that fit all limits. tokens are estimated. What
// the model has done since the last question is not cut off from the question, if the
// sent messages go on with it.
func (l contextLimits) fitting(list []group, sent []*store.Message, bytes int64) []group {
	left, asked := int64(l.tokens), l.none() || !goesOn(sent)
	for i, g := range slices.Backward(list) {
		l.messages -= len(g.msgs)
		for _, m := range g.msgs {
			left -= provider.EstimateTokens(weight(m))
			bytes -= int64(wireSize(m))
		}
		fits := bytes >= 0 && (!asked || l.messages >= 0 && left >= 0)
		if !fits && !g.needed {
			return list[i+1:]
		}
		asked = asked || g.msgs[0].Role == roleUser
	}
	return list
}

// remembered returns the past messages that go to the model before the sent ones,
// at most room bytes of them. all says that no older ones were left out.
func (l contextLimits) remembered(past, sent []*store.Message, room int64) (msgs []*store.Message, all bool) {
	list := groups(past, sent)
	fitting := l.fitting(list, sent, room)
	for _, g := range fitting {
		msgs = append(msgs, g.msgs...)
	}
	if l != wholeContext {
		msgs = withoutLead(msgs)
	}
	return msgs, len(fitting) == len(list)
}

// withoutLead returns messages without the system messages that they begin with, if the
// conversation does not: those would be taken for its prompt.
func withoutLead(msgs []*store.Message) []*store.Message {
	for len(msgs) > 0 && msgs[0].Role == roleSystem && msgs[0].Seq > 1 {
		msgs = msgs[1:]
	}
	return msgs
}

// errContextTooLarge is the error of a conversation that has to go to the model whole, and
// is larger than a request may be.
func errContextTooLarge() error {
	return apierror.InvalidRequest("truncation", `the conversation is too large: want "auto", which leaves out its beginning`)
}
