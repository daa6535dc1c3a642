package anthropic

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// reply is what has been read of Claude's message.
type reply struct {
	begun    bool
	finished bool // the stop reason was read
	calls    int
	blocks   map[int64]*part // by Anthropic's index
	thoughts []*part
	usage    counts
}

// part is an open block of the message that is more than text.
type part struct {
	kind      string
	call      int             // a tool call's index in OpenAI's count
	input     string          // of a tool call that arrived in one piece
	begun     bool            // some of the call's arguments were read
	text      strings.Builder // of thinking
	signature strings.Builder
	data      string // of redacted thinking
}

// counts are Anthropic's token counts. Its input excludes tokens that were read
// from the cache or written to it.
type counts struct {
	seen                         bool
	input, cacheRead, cacheWrite int64
	forAnHour                    int64 // of cacheWrite
	output, thinking             int64
	tier                         string // as of provider.TierOf
}

// begin reads the head of a message, which may already contain blocks.
func (r *reply) begin(m gjson.Result) []piece {
	r.begun = true
	r.usage.add(m.Get("usage"))
	var pieces []piece
	for i, b := range m.Get("content").Array() {
		pieces = append(pieces, r.open(int64(i), b)...)
		pieces = append(pieces, r.close(int64(i))...)
	}
	return pieces
}

// open begins a block, which may already be complete.
func (r *reply) open(index int64, b gjson.Result) []piece {
	p := &part{kind: b.Get("type").Str}
	switch p.kind {
	case typeText:
		return textPiece(b.Get("text").Str)
	case typeThinking:
		r.thoughts = append(r.thoughts, p)
		r.keep(index, p)
		p.signature.WriteString(b.Get("signature").Str)
		return p.think(b.Get("thinking").Str)
	case typeRedacted:
		p.data = b.Get("data").Str
		r.thoughts = append(r.thoughts, p)
	case typeToolUse:
		p.call = r.calls
		r.calls++
		p.input = "{}"
		if in := b.Get("input"); in.IsObject() {
			p.input = in.Get("@ugly").Raw
		}
		r.keep(index, p)
		return []piece{{output: dialect.CallBegin(p.call, b.Get("id").Str, b.Get("name").Str)}}
	}
	// The work of Anthropic's server-side tools, and unknown kinds of blocks,
	// have no place in a chat completion.
	return nil
}

func (r *reply) keep(index int64, p *part) {
	if r.blocks == nil {
		r.blocks = make(map[int64]*part)
	}
	r.blocks[index] = p
}

// more reads more of a block.
func (r *reply) more(index int64, d gjson.Result) []piece {
	p := r.blocks[index]
	switch d.Get("type").Str {
	case "text_delta":
		return textPiece(d.Get("text").Str)
	case "thinking_delta":
		if p == nil || p.kind != typeThinking {
			p = new(part)
		}
		return p.think(d.Get("thinking").Str)
	case "signature_delta":
		if p != nil && p.kind == typeThinking {
			p.signature.WriteString(d.Get("signature").Str)
		}
	case "input_json_delta":
		s := d.Get("partial_json").Str
		if p == nil || p.kind != typeToolUse || s == "" {
			return nil
		}
		p.begun = true
		return []piece{{output: dialect.CallArguments(p.call, s)}}
	}
	return nil
}

// close ends a block. A tool call without any arguments so far has none, or had
// them at its beginning: that is clear only now.
func (r *reply) close(index int64) []piece {
	p := r.blocks[index]
	delete(r.blocks, index)
	if p == nil || p.kind != typeToolUse || p.begun {
		return nil
	}
	return []piece{{output: dialect.CallArguments(p.call, p.input)}}
}

// end reads the stop reason, if there is one yet: v has stop_reason and
// stop_details.
func (r *reply) end(v, usage gjson.Result) []piece {
	r.usage.add(usage)
	reason := v.Get("stop_reason").Str
	if reason == "" || r.finished {
		return nil
	}
	why := ""
	if reason == "refusal" {
		why = v.Get("stop_details.explanation").Str
	}
	return r.finish(finishOf(reason), why)
}

// stop ends a message without a stop reason, judged by its content.
func (r *reply) stop() []piece {
	switch {
	case r.finished:
		return nil
	case r.calls > 0:
		return r.finish("tool_calls", "")
	}
	return r.finish("stop", "")
}

// finish returns the end of the answer, and what is known only then.
func (r *reply) finish(reason, refusal string) []piece {
	r.finished = true
	var pieces []piece
	for _, i := range slices.Sorted(maps.Keys(r.blocks)) {
		pieces = append(pieces, r.close(i)...)
	}
	if signed := r.signed(); len(signed) > 0 {
		pieces = append(pieces, piece{output: dialect.Output{Thinking: signed}})
	}
	if refusal != "" {
		pieces = append(pieces, piece{output: dialect.Output{Refusal: refusal}})
	}
	pieces = append(pieces, piece{finish: reason})
	if r.usage.seen {
		pieces = append(pieces, piece{usage: r.usage.openAI()})
	}
	return pieces
}

// finishOf translates a stop reason into OpenAI's terms. Unknown reasons count
// as a normal stop, because the model did finish.
func finishOf(reason string) string {
	switch reason {
	case "max_tokens", "model_context_window_exceeded":
		return "length"
	case typeToolUse:
		return "tool_calls"
	case "refusal":
		return "content_filter"
	}
	return "stop"
}

// think adds to a thought.
func (p *part) think(s string) []piece {
	if s == "" {
		return nil
	}
	p.text.WriteString(s)
	return []piece{{output: dialect.Reasoning(s)}}
}

func textPiece(s string) []piece {
	if s == "" {
		return nil
	}
	return []piece{{output: dialect.Text(s)}}
}

// signed returns the thoughts that Anthropic wants back in the next turn.
func (r *reply) signed() []dialect.ThinkingBlock {
	var blocks []dialect.ThinkingBlock
	for _, p := range r.thoughts {
		switch {
		case p.kind == typeRedacted && p.data != "":
			blocks = append(blocks, dialect.ThinkingBlock{Type: p.kind, Data: p.data})
		case p.signature.Len() > 0:
			blocks = append(blocks, dialect.ThinkingBlock{Type: p.kind, Thinking: new(p.text.String()), Signature: p.signature.String()})
		}
	}
	return blocks
}

// add takes over the counts in usage, which are totals so far.
func (c *counts) add(usage gjson.Result) {
	for name, n := range map[string]*int64{
		"input_tokens":                             &c.input,
		"cache_read_input_tokens":                  &c.cacheRead,
		"cache_creation_input_tokens":              &c.cacheWrite,
		"cache_creation.ephemeral_1h_input_tokens": &c.forAnHour,
		"output_tokens":                            &c.output,
		"output_tokens_details.thinking_tokens":    &c.thinking,
	} {
		if v := usage.Get(name); v.Type == gjson.Number {
			c.seen = true
			*n = provider.TokenCount(v)
		}
	}
	c.tier = cmp.Or(provider.TierOf(usage.Get("service_tier").Str, usage.Get("speed").Str), c.tier)
}

func (c *counts) openAI() *provider.Usage {
	u := &provider.Usage{
		Input:     c.input + c.cacheRead + c.cacheWrite,
		Output:    c.output,
		Cached:    c.cacheRead,
		Written:   c.cacheWrite,
		ForAnHour: min(c.forAnHour, c.cacheWrite),
		Tier:      c.tier,
	}
	u.Reasoning = min(c.thinking, u.Output)
	return u
}

// completion puts a whole answer together.
func completion(s *stream, resp *http.Response) (*provider.Completion, error) {
	var (
		whole  dialect.Whole
		finish string
		usage  *provider.Usage
	)
	for {
		p, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return s.answer.Completion(&whole, finish, usage), nil
		case errors.Is(err, provider.ErrCut) && !s.reply.begun:
			return nil, upstream.BadAnswer(resp, "no message")
		case errors.Is(err, provider.ErrCut):
			return nil, &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
		case err != nil:
			return nil, err
		}
		whole.Add(p.output)
		if p.finish != "" {
			finish = p.finish
		}
		if p.usage != nil {
			usage = p.usage
		}
	}
}
