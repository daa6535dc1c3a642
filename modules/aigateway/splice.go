package aigateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// errDiverged says that a second answer does not repeat the first one.
var errDiverged = errors.New("the second answer differs from the first")

// sent is what the client has of an answer, as far as another stream needs to
// know it to continue.
type sent struct {
	text      strings.Builder
	reasoning strings.Builder
	id        string // of the chunks
	created   string // as JSON
	fixed     bool   // it holds something that cannot be continued
}

// maxSent is how many bytes of text and reasoning are remembered. No model is asked to
// repeat more.
const maxSent = 2 << 20

func (s *sent) note(chunk *provider.Chunk) {
	if s.id == "" {
		s.id = gjson.GetBytes(chunk.Raw, "id").String()
		s.created = gjson.GetBytes(chunk.Raw, "created").Raw
	}
	if s.fixed {
		return
	}
	s.text.WriteString(chunk.Text)
	s.reasoning.WriteString(chunk.Reasoning)
	plain := len(chunk.Text) + len(chunk.Reasoning)
	long := s.text.Len()+s.reasoning.Len() > maxSent
	if long || chunk.ToolCalls || chunk.Refusal || chunk.OutputBytes > plain || chunk.Content && plain == 0 && !isSealed(chunk) {
		s.fix()
	}
}

// isSealed reports whether a chunk has reasoning that only its model can read. That of the
// first answer stays good, whichever answer goes on.
func isSealed(chunk *provider.Chunk) bool {
	return items.HasReasoning(gjson.GetBytes(chunk.Raw, "choices.0.delta."+items.Member))
}

// fix gives up on continuing the answer.
func (s *sent) fix() {
	s.fixed = true
	s.text.Reset() // it is not asked for any more
	s.reasoning.Reset()
}

// again returns a second answer to the same request without what the client
// has. If the client has text already, all reasoning of the second answer is
// left out: it differs each time, and the client has seen the first.
func (s *sent) again(in chunks) *spliced {
	text := s.text.String()
	if text != "" {
		return &spliced{in: in, as: s, text: text, thoughts: true}
	}
	return &spliced{in: in, as: s, reasoning: s.reasoning.String()}
}

// onward returns an answer that continues after the first begun bytes of the
// text that was sent. The rest of that text, white space, is left out if it is
// repeated.
func (s *sent) onward(in chunks, begun int) *spliced {
	return &spliced{in: in, as: s, text: s.text.String()[begun:], thoughts: true}
}

// spliced is a second answer without what the client has of the first one. Next
// fails with errDiverged unless the second answer begins with exactly that.
type spliced struct {
	in chunks
	as *sent

	// What the client has and the second answer has not repeated yet.
	text      string
	reasoning string

	thoughts bool // leave out all reasoning
}

// waiting reports whether the answer has more to repeat.
func (s *spliced) waiting() bool { return s.text != "" || s.reasoning != "" }

// Next returns the next chunk that the client does not have.
func (s *spliced) Next() (*provider.Chunk, error) {
	for {
		chunk, err := s.in.Next()
		if errors.Is(err, io.EOF) && s.waiting() {
			return nil, errDiverged
		}
		if err != nil {
			return nil, err
		}
		mended, err := s.chunk(chunk)
		if err != nil || mended != nil {
			return mended, err
		}
	}
}

// chunk returns a chunk without what the client has, or nil if nothing remains.
func (s *spliced) chunk(chunk *provider.Chunk) (*provider.Chunk, error) {
	text, reasoning := chunk.Text, chunk.Reasoning
	if s.thoughts {
		reasoning = ""
	}
	repeats := s.waiting()
	if repeats {
		var err error
		if text, reasoning, err = s.strip(chunk); err != nil || s.waiting() {
			return nil, err
		}
	}
	more := text != "" || reasoning != "" || chunk.ToolCalls || chunk.FinishReason != "" || chunk.Usage != nil
	less := text != chunk.Text || reasoning != chunk.Reasoning
	if !more && (repeats || less) {
		return nil, nil
	}
	if !less {
		return s.mend(chunk.Raw)
	}
	raw, err := reduced(chunk.Raw, text, reasoning)
	if err != nil {
		return nil, err
	}
	return s.mend(raw)
}

// strip returns the text and reasoning that a chunk adds to what the client has.
// It fails with errDiverged if the chunk holds anything else before all of that
// has been repeated.
func (s *spliced) strip(chunk *provider.Chunk) (text, reasoning string, err error) {
	if chunk.ToolCalls || chunk.Refusal || !firstAlone(chunk.Raw) {
		return "", "", errDiverged
	}
	text, ok := after(&s.text, chunk.Text)
	if ok && !s.thoughts {
		reasoning, ok = after(&s.reasoning, chunk.Reasoning)
	}
	if !ok {
		return "", "", errDiverged
	}
	// text before the end of the reasoning is a different answer, too
	early := text != "" || chunk.FinishReason != "" || s.reasoning != "" && chunk.Text != ""
	if s.waiting() && early {
		return "", "", errDiverged
	}
	return text, reasoning, nil
}

// firstAlone reports whether a chunk has no choice other than the first.
func firstAlone(raw []byte) bool {
	choices := gjson.GetBytes(raw, "choices").Array()
	return len(choices) == 0 || len(choices) == 1 && choices[0].Get("index").Int() == 0
}

// reduced returns a chunk with only this text and reasoning. It fails with
// errDiverged if the cut would split a character or text with logprobs.
func reduced(raw []byte, text, reasoning string) ([]byte, error) {
	const logprobs = "choices.0.logprobs"
	measured := gjson.GetBytes(raw, logprobs).IsObject()
	if measured && text != "" || !utf8.ValidString(text) || !utf8.ValidString(reasoning) {
		return nil, errDiverged
	}
	delta := make(map[string]any)
	if text != "" {
		delta["content"] = text
	}
	if reasoning != "" {
		delta["reasoning_content"] = reasoning
	}
	for _, name := range [...]string{"tool_calls", "function_call"} {
		if calls := gjson.GetBytes(raw, "choices.0.delta."+name); calls.Exists() {
			delta[name] = json.RawMessage(calls.Raw)
		}
	}
	raw, err := sjson.SetRawBytes(raw, "choices.0.delta", provider.Encode(delta))
	if err == nil && measured {
		raw, err = sjson.SetRawBytes(raw, logprobs, []byte("null"))
	}
	return raw, err
}

// mend gives a chunk the first answer's id and time, and removes its role.
func (s *spliced) mend(raw []byte) (*provider.Chunk, error) {
	raw, err := sjson.SetRawBytes(raw, "id", provider.Encode(s.as.id))
	if err == nil && s.as.created != "" {
		raw, err = sjson.SetRawBytes(raw, "created", []byte(s.as.created))
	}
	if err == nil && gjson.GetBytes(raw, "choices.0.delta.role").Exists() {
		raw, err = sjson.DeleteBytes(raw, "choices.0.delta.role")
	}
	if err != nil {
		return nil, fmt.Errorf("splicing a chunk: %w", err)
	}
	f, _ := provider.ParseChunk(raw)
	return &provider.Chunk{Raw: raw, Facts: f}, nil
}

// after removes the common prefix of expected and got from expected, and returns
// the rest of got. ok is false if they differ.
func after(expected *string, got string) (rest string, ok bool) {
	n := min(len(*expected), len(got))
	if (*expected)[:n] != got[:n] {
		return "", false
	}
	*expected = (*expected)[n:]
	return got[n:], true
}
