// Package author says which model has written the reasoning of an answer. Nothing in
// readable reasoning tells that, and little in what is signed; no other model may be given
// it as its own.
package author

import (
	"bytes"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// Member is the member of a message that tells it. Google's servers have one of this name,
// and tool calls have one for their signatures; clients send it back with the reasoning.
const Member = "extra_content"

// Mark is its part that is the gateway's.
const Mark = "reasoning"

// Of returns the model that has written a message's reasoning, by its provider's name;
// empty if that is unknown.
func Of(message gjson.Result) string { return message.Get(Member + "." + Mark + ".model").Str }

// With returns the value of Member for reasoning that a model has written; nil for none.
func With(model string) []byte {
	if model == "" {
		return nil
	}
	return []byte(`{"` + Mark + `":{"model":` + splice.Quoted(model) + `}}`)
}

// Without returns a value of Member without the gateway's part, as a server may have it;
// empty if nothing is left.
func Without(v gjson.Result) string {
	if !v.Get(Mark).Exists() {
		return v.Raw
	}
	rest, err := sjson.Delete(v.Raw, Mark)
	if err != nil || provider.IsEmpty(gjson.Parse(rest)) {
		return ""
	}
	return rest
}

// Completion returns an answer of a model that says so beside its reasoning.
func Completion(c *provider.Completion, model string) *provider.Completion {
	if !reasons(&c.Facts, c.Body) {
		return c
	}
	told := *c
	told.Body, _ = marked(c.Body, "message", c.ReasoningIn, model)
	return &told
}

// Stream returns a stream whose first chunk with reasoning says which model has written it.
func Stream(s provider.Stream, model string) provider.Stream {
	return &stream{Stream: s, model: model}
}

type stream struct {
	provider.Stream
	model string
	told  bool
}

// Next returns the next chunk.
func (s *stream) Next() (*provider.Chunk, error) {
	c, err := s.Stream.Next()
	if err != nil || s.told || !reasons(&c.Facts, c.Raw) {
		return c, err
	}
	told := *c
	if told.Raw, s.told = marked(c.Raw, "delta", c.ReasoningIn, s.model); !s.told {
		return c, nil
	}
	told.Regular, told.Plain = false, false
	return &told, nil
}

// reasons reports whether there is reasoning in an answer or a chunk, or may be.
func reasons(f *provider.Facts, raw []byte) bool {
	switch {
	case len(raw) == 0:
		return false
	case f.ReasoningIn != "":
		return true
	}
	return f.More && (bytes.Contains(raw, []byte(`"`+signedMember+`"`)) || bytes.Contains(raw, []byte(`"`+Member+`"`)))
}

// signedMember holds what Claude has signed.
const signedMember = "thinking_blocks"

// hasReasoned reports whether a message has reasoning, or calls with its signatures.
func hasReasoned(m gjson.Result, readable string) bool {
	return readable != "" && m.Get(readable).Exists() || m.Get(signedMember).Exists() || len(m.Get("tool_calls.#."+Member).Array()) > 0
}

// marked returns an answer whose choices say who has written their reasoning. output is the
// member of them that holds what the model has said, and reasoning that of the output. ok is
// false if none has any.
func marked(raw []byte, output, reasoning, model string) (_ []byte, ok bool) {
	var edits []splice.Edit
	gjson.GetBytes(raw, "choices").ForEach(func(_, choice gjson.Result) bool {
		if m := choice.Get(output); hasReasoned(m, reasoning) {
			value := string(With(model))
			at := m
			if extra := m.Get(Member); extra.IsObject() {
				at, value = extra, value[1:len(value)-1]
			} else {
				value = `"` + Member + `":` + value
			}
			end := at.Index + len(at.Raw) - 1 // the closing brace
			if !provider.IsEmpty(at) {
				value = "," + value
			}
			edits = append(edits, splice.Edit{From: end, To: end, Value: value})
		}
		return true
	})
	return splice.Apply(raw, edits), edits != nil
}

// Interface guard
var _ provider.Stream = (*stream)(nil)
