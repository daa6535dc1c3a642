package chatsession

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// maxReasoning is the largest reasoning of an answer that is stored, in bytes. A
// piece of it would be no use: signatures are of the whole.
const maxReasoning = 1 << 20

// reasoningMembers are the members of a message that hold what a provider wants
// back of its reasoning.
var reasoningMembers = [...]string{
	"reasoning_content", "reasoning", "reasoning_text", "reasoning_opaque", "reasoning_details", "thinking_blocks", "extra_content",
}

// storeAnswer stores the assistant's message and returns it. It returns nil if the
// session was deleted during the turn, and does not create it again.
func (t *turn) storeAnswer(a *answer, status string, u usage) (*store.Message, error) {
	m := newMessage(roleAssistant, a.text.String())
	m.Time, m.TokenCount, m.ModelID, m.Status = time.Now(), int(u.TokensOut), u.ModelID, status
	var err error
	if m.Raw, err = wireAnswer(&a.message, m.Content, t.answersTools); err != nil {
		return nil, err
	}
	if status == store.StatusComplete && t.call != nil {
		m.Raw = withSaid(m, a, t.call)
	}
	ctx, cancel := t.settleContext()
	defer cancel()
	if err := t.dropFailed(ctx); err != nil {
		return nil, err
	}
	opts := t.options(t.begins)
	opts.Turn = t.id
	err = t.x.Store.Append(ctx, t.tenant, t.session, opts, m)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, t.h.storeError("append", err)
	}
	return m, nil
}

// withSaid returns the JSON of an answer with what it was made of, if that says more and is
// not too large.
func withSaid(m *store.Message, a *answer, call door.Call) []byte {
	member, value := a.said(call)
	if value == nil || len(value) > maxReasoning {
		return m.Raw
	}
	raw, err := sjson.SetRawBytes(appendWire(nil, m), member, value)
	if err != nil {
		return m.Raw
	}
	return raw
}

// dropFailed deletes the partial answer that the new one replaces. Until then it is
// kept: the new try may end without any text.
func (t *turn) dropFailed(ctx context.Context) error {
	if t.failed == nil {
		return nil
	}
	err := t.x.Store.Retract(ctx, t.tenant, t.session, t.failed.Seq, t.failed.Seq)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return t.h.storeError("retract", err)
	}
	return nil
}

// wireAnswer returns the JSON of an answer for a model, or nil if it is only text.
//
// Reasoning is kept where a provider refuses the next request without it: beside
// tool calls, and in the answer to their results. DeepSeek and Kimi want
// reasoning_content there, Claude its signed blocks, and OpenRouter
// reasoning_details. In all other messages they ignore it, and it would only use
// up the context.
func wireAnswer(m *provider.Message, text string, answersTools bool) ([]byte, error) {
	b := []byte(`{"role":"assistant","content":`)
	if text == "" {
		b = append(b, "null"...)
	} else {
		b = appendString(b, text)
	}
	head := len(b)
	if calls := m.Calls.AppendJSON(nil); calls != nil {
		b = append(append(b, `,"tool_calls":`...), calls...)
	}
	if call := m.Member("function_call"); call != nil {
		b = append(append(b, `,"function_call":`...), call...)
	}
	if len(b) > head || answersTools {
		for _, name := range reasoningMembers {
			if v := m.Member(name); v != nil {
				b = append(appendString(append(b, ','), name), ':')
				b = append(b, v...)
			}
		}
	}
	if len(b) == head {
		return nil, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, append(b, '}')); err != nil {
		return nil, fmt.Errorf("putting the answer together: %w", err)
	}
	return bytes.ToValidUTF8(compact.Bytes(), []byte("\ufffd")), nil
}
