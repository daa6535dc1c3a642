package dialect

import (
	"strings"
	"unicode"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

const (
	// earlier replaces what preceded an assistant's message at the beginning of
	// a conversation.
	earlier = "(earlier messages are left out)"

	// noResult is the result of a call that has none: the turn was cut there, or
	// the client left it out.
	noResult = "(no result)"

	// lateResult precedes the result of a call that is not in the turn before.
	lateResult = "(the result of an earlier tool call)\n"
)

// settle makes the messages a history that providers accept.
func (c *Conversation) settle(req *provider.Request) error {
	if c.rules.UserBegins {
		c.noteUnspoken(req)
		c.Messages = spoken(c.Messages)
	}
	c.Messages = pair(c.Messages)
	if c.rules.UserBegins {
		if err := c.begin(); err != nil {
			return err
		}
	}
	if !c.rules.NoBlanks {
		return nil
	}
	if s := req.Continue; s != strings.TrimRightFunc(s, unicode.IsSpace) {
		// Without the white space the seam would show.
		return provider.Unsupported("messages", "this provider cannot continue an answer that ends with white space")
	}
	if req.Continue == "" {
		trimLast(c.Messages)
	}
	return nil
}

// noteUnspoken notes the reasoning of messages that have nothing else.
func (c *Conversation) noteUnspoken(req *provider.Request) {
	for i := range c.Messages {
		m := &c.Messages[i]
		if len(m.Parts) == 0 && len(m.ToolCalls) == 0 && c.rules.Signed && len(m.Thoughts()) > 0 {
			req.Drop("messages.thinking_blocks")
		}
	}
}

// spoken leaves out the messages without any content. Tools may have nothing to
// say.
func spoken(messages []Message) []Message {
	kept := messages[:0]
	for _, m := range messages {
		if len(m.Parts) > 0 || len(m.ToolCalls) > 0 || m.Role == RoleTool {
			kept = append(kept, m)
		}
	}
	return kept
}

// begin lets the user begin. A system prompt alone is what the user says.
func (c *Conversation) begin() error {
	if len(c.Messages) == 0 {
		c.Messages = spoken(c.SystemMessages)
		for i := range c.Messages {
			c.Messages[i].Role = RoleUser
		}
		c.System, c.SystemMessages = nil, nil
	}
	switch {
	case len(c.Messages) == 0:
		return provider.Invalid("messages", "want at least one message with content")
	case c.Messages[0].Role == RoleAssistant:
		first := Message{Role: RoleUser, Parts: []Part{{Kind: PartText, Text: earlier}}, Path: c.Messages[0].Path}
		c.Messages = append([]Message{first}, c.Messages...)
	}
	return nil
}

// trimLast removes the white space at the end of a conversation whose last
// message is the assistant's.
func trimLast(messages []Message) {
	if len(messages) == 0 {
		return
	}
	last := &messages[len(messages)-1]
	if last.Role != RoleAssistant || len(last.Parts) == 0 {
		return
	}
	// Blank parts were left out, so that something remains of this one.
	if p := &last.Parts[len(last.Parts)-1]; p.Kind == PartText {
		p.Text = strings.TrimRightFunc(p.Text, unicode.IsSpace)
	}
}

// pair puts the results of tool calls right behind the turn that made the calls.
// Each call gets an id of its own, made of letters, digits, _ and -, and one
// result. A result without a call becomes something
// that the user says.
func pair(messages []Message) []Message {
	paired := make([]Message, 0, len(messages))
	var ids CallIDs
	for len(messages) > 0 {
		t := turn{byID: make(map[string][]int)}
		asked := 0
		for asked < len(messages) && messages[asked].Role == RoleAssistant {
			t.call(&messages[asked], &ids)
			asked++
		}
		heard := asked
		for heard < len(messages) && messages[heard].Role != RoleAssistant {
			t.hear(messages[heard])
			heard++
		}
		paired = append(paired, messages[:asked]...)
		paired = append(paired, t.answers()...)
		paired = append(paired, t.said...)
		messages = messages[heard:]
	}
	return paired
}

// turn is what an assistant says and what it hears then, before it speaks again.
type turn struct {
	results []Message        // of its calls; those without a result yet have no role
	order   []int            // of the results, as they came
	byID    map[string][]int // the calls of an id, by the client's name of it
	next    map[string]int   // how many calls of an id have a result
	said    []Message        // by the user
}

// call adds the calls of a message.
func (t *turn) call(m *Message, ids *CallIDs) {
	for i := range m.ToolCalls {
		call := &m.ToolCalls[i]
		t.byID[call.ID] = append(t.byID[call.ID], len(t.results))
		call.ID = ids.Give(call.ID)
		t.results = append(t.results, Message{ToolID: call.ID, ToolName: call.Name, Path: m.Path})
	}
}

// hear adds a message of the user or of a tool. The results of calls with the
// same id come in the order of the calls.
func (t *turn) hear(m Message) {
	if m.Role != RoleTool {
		t.said = append(t.said, m)
		return
	}
	calls := t.byID[m.ToolID]
	if len(calls) == 0 {
		m.Role = RoleUser
		m.Parts = append([]Part{{Kind: PartText, Text: lateResult, Path: m.Path}}, m.Parts...)
		t.said = append(t.said, m)
		return
	}
	if t.next == nil {
		t.next = make(map[string]int)
	}
	n := t.next[m.ToolID]
	if n == len(calls) {
		// Another result of a call that has one.
		r := &t.results[calls[n-1]]
		r.Parts = append(r.Parts, m.Parts...)
		return
	}
	t.next[m.ToolID]++
	t.order = append(t.order, calls[n])
	r := &t.results[calls[n]]
	m.ToolID, m.ToolName = r.ToolID, r.ToolName
	*r = m
}

// answers returns one result for each call.
func (t *turn) answers() []Message {
	answers := make([]Message, 0, len(t.results))
	for _, i := range t.order {
		answers = append(answers, t.results[i])
	}
	for _, r := range t.results {
		if r.Role == "" {
			r.Role = RoleTool
			r.Parts = []Part{{Kind: PartText, Text: noResult, Path: r.Path}}
			answers = append(answers, r)
		}
	}
	return answers
}
