package items

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// Member is the member of an assistant's message that carries reasoning.
const Member = "thinking_blocks"

// TypeReasoning is the type of its blocks that carry items of reasoning.
const TypeReasoning = "reasoning"

// Reasoning is such a block beside its type: an item, and where in the answer it came. A
// message has one text, and its calls behind it, so the place would be lost otherwise. But
// reasoning belongs to what the model did next.
type Reasoning struct {
	Index int             `json:"index,omitempty"` // of the block, counted from 1; a stream's pieces are told apart by it
	Said  bool            `json:"said,omitempty"`  // text came before it
	Calls int             `json:"calls,omitempty"` // how many calls came before it
	Item  json.RawMessage `json:"item,omitempty"`
}

// ReasoningOf returns an item of reasoning as the next turn may bring it back: without its
// status, which servers refuse there. ok is false if it has nothing that a server could read
// then.
func ReasoningOf(item gjson.Result) (_ json.RawMessage, ok bool) {
	if item.Get("encrypted_content").Str == "" && len(item.Get("content").Array()) == 0 {
		return nil, false
	}
	raw, err := sjson.Delete(item.Raw, "status")
	return json.RawMessage(strings.Clone(raw)), err == nil
}

// IsReasoning reports whether a block carries an item of reasoning.
func IsReasoning(block gjson.Result) bool {
	return block.Get("type").Str == TypeReasoning && block.Get("item.type").Str == TypeReasoning
}

// HasReasoning reports whether a list of blocks has one that carries an item.
func HasReasoning(blocks gjson.Result) (found bool) {
	if blocks.IsArray() {
		blocks.ForEach(func(_, b gjson.Result) bool {
			found = IsReasoning(b)
			return !found
		})
	}
	return found
}

// PartSeparator stands between the parts of a summary, which are paragraphs.
const PartSeparator = "\n\n"

// Readable returns what an item of reasoning says to its reader.
func Readable(item gjson.Result) string {
	for _, list := range [...]string{"summary", "content"} {
		var texts []string
		for _, part := range item.Get(list).Array() {
			if text := part.Get("text").Str; text != "" {
				texts = append(texts, text)
			}
		}
		if texts != nil {
			return strings.Join(texts, PartSeparator)
		}
	}
	return ""
}

// thoughts are the blocks of a message that are not among the items yet.
type thoughts []gjson.Result

// thoughtsOf returns the reasoning that goes back with a message, and notes what does not.
func (l *List) thoughtsOf(m gjson.Result) (t thoughts) {
	rest := false
	for _, b := range m.Get(Member).Array() {
		if IsReasoning(b) {
			t = append(t, b)
		} else {
			rest = true
		}
	}
	if t == nil && m.Get("reasoning_content").Exists() {
		l.Dropped.Add("messages.reasoning_content") // only its own provider can read it
	}
	if rest {
		l.Dropped.Add("messages." + Member)
	}
	return t
}

// text returns how many calls came before the text, as far as the reasoning in front of it
// tells.
func (t thoughts) text() int {
	calls := 0
	for _, b := range t {
		if !b.Get("said").Bool() {
			calls = max(calls, int(b.Get("calls").Int()))
		}
	}
	return calls
}

// next returns the items in front of the text or of a call, before which there were so many
// calls.
func (t *thoughts) next(calls int, text bool) (items []json.RawMessage) {
	for len(*t) > 0 {
		b := (*t)[0]
		if int(b.Get("calls").Int()) > calls || text && b.Get("said").Bool() {
			break
		}
		items = append(items, json.RawMessage(b.Get("item").Raw))
		*t = (*t)[1:]
	}
	return items
}
