package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Whole assembles a chat.completion from chunks, whatever members they have: it
// joins strings, and merges list elements with the same index.
type Whole struct {
	root    map[string]any
	choices map[int64]map[string]any
	scan    Scanner
	plain   bool   // a plain chunk was added: of the next ones only the text matters
	model   string // of the previous chunk
}

// NewWhole returns a Whole without any chunks.
func NewWhole() *Whole {
	return &Whole{root: make(map[string]any), choices: make(map[int64]map[string]any)}
}

// AddChunk adds a chunk. It returns an error if its JSON is not an object.
func (w *Whole) AddChunk(c *Chunk) error {
	if c.Plain && w.addPlain(&c.Facts) {
		return nil
	}
	return w.Add(c.Raw)
}

// Add adds a chunk by its JSON. It returns an error if that is not an object.
func (w *Whole) Add(raw []byte) error {
	c, ok := w.scan.Scan(raw)
	plain := ok && c.Plain
	if plain && w.addPlain(&c.Facts) {
		return nil
	}
	w.plain, w.model = w.plain || plain, c.Model
	return w.addAll(raw)
}

// addPlain adds the text of a plain chunk, unless it may be the first to say
// what all chunks of the stream repeat.
func (w *Whole) addPlain(f *Facts) (added bool) {
	if !w.plain || f.Model != w.model {
		return false
	}
	if f.Text != "" {
		message := w.choices[0]["message"].(map[string]any)
		if p, ok := message["content"].(*pieces); ok {
			p.WriteString(f.Text)
		} else {
			merge(message, map[string]any{"content": f.Text})
		}
	}
	if f.FinishReason != "" {
		w.choices[0]["finish_reason"] = f.FinishReason
	}
	return true
}

// addAll adds all members of a chunk.
func (w *Whole) addAll(raw []byte) error {
	root, ok := parseObject(raw)
	if !ok {
		return errors.New("reading a chunk: not a JSON object")
	}
	w.envelope(root)
	var err error
	root.Get("choices").ForEach(func(_, v gjson.Result) bool {
		if !v.IsObject() {
			return true
		}
		var choice map[string]any
		if choice, err = object(v.Raw); err != nil {
			err = fmt.Errorf("reading a choice: %w", err)
			return false
		}
		w.choice(indexOf(choice), choice)
		return true
	})
	return err
}

// envelope keeps the JSON of the members beside the choices.
func (w *Whole) envelope(chunk gjson.Result) {
	chunk.ForEach(func(k, v gjson.Result) bool {
		name := k.String()
		old := w.root[name]
		if name != "choices" && v.Type != gjson.Null && (old == nil || name != "id") {
			w.root[name] = json.RawMessage(v.Raw)
		}
		return true
	})
}

func (w *Whole) choice(index int64, choice map[string]any) {
	c := w.choices[index]
	if c == nil {
		c = map[string]any{"index": index, "message": make(map[string]any), "finish_reason": nil}
		w.choices[index] = c
	}
	delta, _ := choice["delta"].(map[string]any)
	merge(c["message"].(map[string]any), delta)
	delete(choice, "delta")
	delete(choice, "index")
	if reason := choice["finish_reason"]; reason != nil && reason != "" {
		c["finish_reason"] = reason
	}
	delete(choice, "finish_reason")
	merge(c, choice)
}

// labels are the names of strings that say what something is. Repeating one does
// not append to it.
var labels = map[string]bool{"id": true, "type": true, "role": true, "object": true, "format": true}

// merge adds the members of more to an object.
func merge(to, more map[string]any) {
	for name, v := range more {
		switch old := to[name].(type) {
		case nil:
			if elements, ok := v.([]any); ok {
				v = newList(elements)
			}
			to[name] = v
		case string:
			if s, ok := v.(string); ok && !labels[name] {
				to[name] = newPieces(old, s)
			}
		case *pieces:
			if s, ok := v.(string); ok {
				old.WriteString(s)
			}
		case map[string]any:
			if m, ok := v.(map[string]any); ok {
				merge(old, m)
			}
		case []any: // of an element that was appended
			if elements, ok := v.([]any); ok {
				grown := newList(old)
				grown.add(elements)
				to[name] = grown
			}
		case *list:
			if elements, ok := v.([]any); ok {
				old.add(elements)
			}
		default:
			if v != nil {
				to[name] = v
			}
		}
	}
}

// pieces is a string that is appended to.
type pieces struct{ strings.Builder }

func newPieces(list ...string) *pieces {
	p := new(pieces)
	for _, s := range list {
		p.WriteString(s)
	}
	return p
}

// MarshalJSON implements json.Marshaler.
func (p *pieces) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// list is a list that is appended to. It finds the elements with an index without
// a search, since a stream may have a chunk for each of many elements.
type list struct {
	all []any
	at  map[int64]int // positions by index
}

func newList(elements []any) *list {
	l := new(list)
	l.add(elements)
	return l
}

// add merges each element into the one with its index, or else appends it.
func (l *list) add(elements []any) {
	for _, v := range elements {
		m, ok := v.(map[string]any)
		if !ok || m["index"] == nil {
			l.all = append(l.all, v)
			continue
		}
		index := indexOf(m)
		if at, ok := l.at[index]; ok {
			merge(l.all[at].(map[string]any), m)
			continue
		}
		if l.at == nil {
			l.at = make(map[int64]int)
		}
		l.at[index] = len(l.all)
		l.all = append(l.all, v)
	}
}

// MarshalJSON implements json.Marshaler.
func (l *list) MarshalJSON() ([]byte, error) { return json.Marshal(l.all) }

// object decodes a JSON object. Numbers keep their spelling.
func object(raw string) (m map[string]any, err error) {
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	err = dec.Decode(&m)
	return m, err
}

func indexOf(m map[string]any) int64 {
	n, _ := m["index"].(json.Number)
	i, _ := n.Int64()
	return i
}

// Cut returns the answer of the chunks that were added, with the finish reason
// "length". Of the last chunk, which was not added, it takes only the envelope.
func (w *Whole) Cut(last []byte) (*Completion, error) {
	if chunk, ok := parseObject(last); ok {
		w.envelope(chunk)
	}
	if len(w.choices) == 0 {
		w.choice(0, make(map[string]any))
	}
	for _, c := range w.choices {
		if c["finish_reason"] == nil {
			c["finish_reason"] = "length"
		}
	}
	// the provider may have counted beyond the cut
	delete(w.root, "usage")
	return w.Completion()
}

// Completion returns the answer of the chunks that were added.
func (w *Whole) Completion() (*Completion, error) {
	w.root["object"] = "chat.completion"
	if w.root["created"] == nil {
		w.root["created"] = time.Now().Unix()
	}
	choices := make([]any, 0, len(w.choices))
	for _, i := range slices.Sorted(maps.Keys(w.choices)) {
		c := w.choices[i]
		finishMessage(c["message"].(map[string]any))
		choices = append(choices, c)
	}
	w.root["choices"] = choices
	body, err := json.Marshal(w.root)
	if err != nil {
		return nil, fmt.Errorf("putting the answer together: %w", err)
	}
	f, _ := ParseCompletion(body)
	return &Completion{Body: body, Facts: f}, nil
}

// finishMessage adds the members that every message has, and removes those that
// only deltas have.
func finishMessage(m map[string]any) {
	if m["role"] == nil {
		m["role"] = "assistant"
	}
	var calls []any
	if l, ok := m["tool_calls"].(*list); ok {
		calls = l.all
	}
	for _, c := range calls {
		if call, ok := c.(map[string]any); ok {
			delete(call, "index")
		}
	}
	content, ok := m["content"]
	if p, grown := content.(*pieces); grown {
		content = p.String()
	}
	if !ok || content == "" && len(calls) > 0 {
		m["content"] = nil
	}
}
