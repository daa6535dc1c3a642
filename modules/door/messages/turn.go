package messages

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/door"
)

// growing is a message of the assistant whose blocks are being read. Its texts grow in
// builders: to append to a string would copy all of it for every block.
type growing struct {
	message
	parts     []part
	text      strings.Builder // of the part that is still open
	reasoning strings.Builder
}

// say adds text. It joins the texts of one answer, which citations and tools divide, up
// to a mark for prompt caches.
func (m *growing) say(parts []part) {
	for _, p := range parts {
		m.text.WriteString(p.Text)
		if p.CacheControl != nil {
			m.closePart(p.CacheControl)
		}
	}
}

func (m *growing) closePart(mark json.RawMessage) {
	if m.text.Len() > 0 {
		m.parts = append(m.parts, part{Type: partText, Text: m.text.String(), CacheControl: mark})
		m.text.Reset()
	}
}

// think adds a block of reasoning, and reports whether it could be read.
func (m *growing) think(b gjson.Result) bool {
	var s sealed
	switch {
	case door.Unseal(b.Get("signature").Str, &s), door.Unseal(b.Get("data").Str, &s):
		m.ThinkingBlocks = append(m.ThinkingBlocks, s.Blocks...)
		m.reasoning.WriteString(b.Get("thinking").Str)
		if s.By != "" {
			m.Extra = author.With(s.By)
		}
	case door.IsSealed(b.Get("signature").Str), door.IsSealed(b.Get("data").Str):
		return false
	default:
		m.ThinkingBlocks = append(m.ThinkingBlocks, json.RawMessage(b.Get("@ugly").Raw))
	}
	return true
}

// end gives the message its texts.
func (m *growing) end() {
	m.closePart(nil)
	if len(m.parts) > 0 {
		m.Content = contentOf(m.parts)
	}
	m.Reasoning = m.reasoning.String()
}

// turn is what the results of tools need to know of the assistant's last message. They
// belong right behind it, even if the user has said something in between, and wait for
// the turn's end: to insert each would move all that follows.
type turn struct {
	calls   map[string]bool // the ids of its calls; nil before any message
	results []message
	at      int // where the results belong
}

// called reports whether the message made a call. Without any message, history that is
// kept elsewhere may have it.
func (t *turn) called(id string) bool { return t.calls == nil || t.calls[id] }

// beginTurn adds a message of the assistant.
func (t *translation) beginTurn(m message) {
	t.endTurn()
	t.add(m)
	t.turn = turn{calls: make(map[string]bool, len(m.ToolCalls)), at: len(t.Messages)}
	for _, c := range m.ToolCalls {
		t.turn.calls[c.ID] = true
	}
}

// addResult adds the result of a call.
func (t *translation) addResult(m message) {
	if t.turn.calls == nil && len(t.turn.results) == 0 {
		t.turn.at = len(t.Messages)
	}
	m.from = t.from
	t.turn.results = append(t.turn.results, m)
}

// endTurn puts the results where they belong.
func (t *translation) endTurn() {
	t.Messages = slices.Insert(t.Messages, t.turn.at, t.turn.results...)
	t.turn.results = nil
}
