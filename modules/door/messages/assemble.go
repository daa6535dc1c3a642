package messages

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// assembler puts a message together. Members that it does not know are kept.
type assembler struct {
	message object
	usage   object
	blocks  []object   // that are complete
	open    *openBlock // nil between blocks
	served  served
	stopped bool // the reason is known
}

// object is a JSON object.
type object map[string]json.RawMessage

func (o object) merge(v gjson.Result) {
	v.ForEach(func(name, value gjson.Result) bool {
		o[name.Str] = json.RawMessage(strings.Clone(value.Raw))
		return true
	})
}

// Assembler implements door.Call.
func (c *call) Assembler() door.Assembler {
	return &assembler{message: object{}, usage: object{}}
}

// Add implements door.Assembler.
func (a *assembler) Add(events []byte) {
	for line := range bytes.Lines(events) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			a.add(gjson.ParseBytes(data))
		}
	}
}

func (a *assembler) add(event gjson.Result) {
	switch typeOf(event) {
	case "message_start":
		a.message.merge(event.Get("message"))
		a.usage.merge(event.Get("message.usage"))
	case "content_block_start":
		a.close()
		a.open = newOpenBlock(event.Get("content_block"))
		a.served.follow(event.Get("content_block"))
	case "content_block_delta":
		if a.open != nil {
			a.open.add(event.Get("delta"))
		}
	case "content_block_stop":
		a.close()
	case "message_delta":
		a.stopped = a.stopped || event.Get("delta.stop_reason").Str != ""
		event.ForEach(func(name, v gjson.Result) bool {
			switch name.Str {
			case "type":
			case "delta":
				a.message.merge(v)
			case "usage":
				a.usage.merge(v)
			default:
				a.message[name.Str] = json.RawMessage(strings.Clone(v.Raw))
			}
			return true
		})
	}
}

// close ends the open block, if there is one.
func (a *assembler) close() {
	if a.open != nil {
		a.blocks = append(a.blocks, a.open.end())
		a.open = nil
	}
}

// Ended implements door.Assembler.
func (a *assembler) Ended() bool { return a.stopped }

// Document implements door.Assembler.
func (a *assembler) Document(usage provider.Usage) []byte {
	a.close()
	if !a.stopped {
		for _, block := range a.served.results() {
			o := object{}
			o.merge(gjson.ParseBytes(block))
			a.blocks = append(a.blocks, o)
		}
		a.message.merge(gjson.ParseBytes(provider.Encode(endingOf("length", ""))))
		a.usage.merge(gjson.ParseBytes(provider.Encode(usageOf(usage))))
	}
	a.message["content"] = provider.Encode(slices.Concat([]object{}, a.blocks))
	a.message["usage"] = provider.Encode(a.usage)
	return ordered(a.message, "id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")
}

// ordered returns an object whose members begin with those of the names, as Anthropic
// writes it.
func ordered(o object, names ...string) []byte {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	b := []byte{'{'}
	for _, name := range names {
		if v, ok := o[name]; ok {
			b = append(append(b, provider.Encode(name)...), ':')
			b = append(append(b, v...), ',')
		}
	}
	return append(bytes.TrimSuffix(b, []byte{','}), '}')
}

// openBlock is a block whose members grow by deltas.
type openBlock struct {
	block object
	texts map[string]*strings.Builder
	lists map[string][]json.RawMessage
}

func newOpenBlock(block gjson.Result) *openBlock {
	g := &openBlock{block: object{}, texts: make(map[string]*strings.Builder), lists: make(map[string][]json.RawMessage)}
	g.block.merge(block)
	return g
}

// add adds a delta: its texts go behind those of the block, a piece of JSON behind the
// input, and a citation among the citations. Anything else replaces what there was.
func (o *openBlock) add(delta gjson.Result) {
	delta.ForEach(func(name, v gjson.Result) bool {
		switch {
		case name.Str == "type":
		case name.Str == "partial_json":
			o.text("input", "").WriteString(v.Str)
		case name.Str == "citation":
			if o.lists["citations"] == nil {
				o.lists["citations"] = elements(o.block["citations"])
			}
			o.lists["citations"] = append(o.lists["citations"], json.RawMessage(strings.Clone(v.Raw)))
		case v.Type == gjson.String:
			o.text(name.Str, gjson.ParseBytes(o.block[name.Str]).Str).WriteString(v.Str)
		default:
			o.block[name.Str] = json.RawMessage(strings.Clone(v.Raw))
		}
		return true
	})
}

// text returns the text of a member, which begins with begun.
func (o *openBlock) text(name, begun string) *strings.Builder {
	b := o.texts[name]
	if b == nil {
		b = new(strings.Builder)
		b.WriteString(begun)
		o.texts[name] = b
	}
	return b
}

func elements(list json.RawMessage) []json.RawMessage {
	var all []json.RawMessage
	for _, v := range gjson.ParseBytes(list).Array() {
		all = append(all, json.RawMessage(v.Raw))
	}
	return all
}

// end returns the block.
func (o *openBlock) end() object {
	for name, text := range o.texts {
		if name == "input" {
			o.block[name] = inputOf(text.String())
			continue
		}
		o.block[name] = provider.Encode(text.String())
	}
	for name, list := range o.lists {
		o.block[name] = provider.Encode(list)
	}
	return o.block
}
