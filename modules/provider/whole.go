package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/tidwall/gjson"
)

// Whole assembles a chat.completion from chunks, whatever members they have.
type Whole struct {
	root    map[string]any
	choices map[int64]*wholeChoice
	scan    Scanner
	plain   bool   // a plain chunk was added: of the next ones only the text matters
	model   string // of the previous chunk
}

// wholeChoice is one choice of a Whole.
type wholeChoice struct {
	message Message
	finish  any    // nil or a string
	rest    object // beside the message
}

// ErrEnough ends an answer early, see Assemble.
var ErrEnough = errors.New("the answer is ended")

// Assemble reads an answer to its end and returns it as a whole. It calls take
// with each chunk before it adds it; take may be nil. If take returns ErrEnough,
// the answer ends before that chunk.
func Assemble(next func() (*Chunk, error), take func(*Chunk) error) (*Completion, error) {
	w := NewWhole()
	for {
		chunk, err := next()
		if errors.Is(err, io.EOF) {
			return w.Completion()
		}
		if err == nil && take != nil {
			err = take(chunk)
		}
		if errors.Is(err, ErrEnough) {
			return w.Cut(chunk.Raw)
		}
		if err == nil {
			err = w.AddChunk(chunk)
		}
		if err != nil {
			return nil, err
		}
	}
}

// NewWhole returns a Whole without any chunks.
func NewWhole() *Whole {
	return &Whole{root: make(map[string]any), choices: make(map[int64]*wholeChoice)}
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
	c := w.choices[0]
	c.message.AddText("content", f.Text)
	if f.FinishReason != "" {
		c.finish = f.FinishReason
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
	root.Get("choices").ForEach(func(_, c gjson.Result) bool {
		if c.IsObject() {
			w.choice(c.Get("index").Int()).add(c)
		}
		return true
	})
	return nil
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

func (w *Whole) choice(index int64) *wholeChoice {
	c := w.choices[index]
	if c == nil {
		c = &wholeChoice{rest: make(object)}
		w.choices[index] = c
	}
	return c
}

// add adds a choice of a chunk.
func (c *wholeChoice) add(v gjson.Result) {
	c.message.Add(v.Get("delta"))
	if reason := v.Get("finish_reason"); reason.Type != gjson.Null && reason.String() != "" {
		c.finish = json.RawMessage(reason.Raw)
	}
	c.message.merge(c.rest, v, choiceRules)
}

// finished returns the choice as a document has it.
func (c *wholeChoice) finished(index int64) object {
	o := maps.Clone(c.rest)
	delete(o, "delta") // ignored
	o["index"], o["message"], o["finish_reason"] = index, c.message.finished(), c.finish
	return o
}

// Cut returns the answer of the chunks that were added, with the finish reason
// "length". Of the last chunk, which was not added, it takes only the envelope.
func (w *Whole) Cut(last []byte) (*Completion, error) {
	if chunk, ok := parseObject(last); ok {
		w.envelope(chunk)
	}
	if len(w.choices) == 0 {
		w.choice(0)
	}
	for _, c := range w.choices {
		if c.finish == nil {
			c.finish = "length"
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
	list := make([]any, 0, len(w.choices))
	for _, i := range slices.Sorted(maps.Keys(w.choices)) {
		list = append(list, w.choices[i].finished(i))
	}
	w.root["choices"] = list
	body, err := json.Marshal(w.root)
	if err != nil {
		return nil, fmt.Errorf("putting the answer together: %w", err)
	}
	f, _ := ParseCompletion(body)
	return &Completion{Body: body, Facts: f}, nil
}
