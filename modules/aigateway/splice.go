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

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// errDiverged says that a second answer is not the first one's.
var errDiverged = errors.New("the second answer is another one")

// sent is what of an answer has reached the client, as far as it matters for
// going on with another one.
type sent struct {
	text      strings.Builder
	reasoning strings.Builder
	id        string // of the chunks
	created   string // as JSON
	fixed     bool   // it holds what cannot be gone on with
}

func (s *sent) note(chunk *provider.Chunk) {
	if s.id == "" {
		s.id = gjson.GetBytes(chunk.Raw, "id").String()
		s.created = gjson.GetBytes(chunk.Raw, "created").Raw
	}
	s.text.WriteString(chunk.Text)
	s.reasoning.WriteString(chunk.Reasoning)
	plain := len(chunk.Text) + len(chunk.Reasoning)
	if chunk.ToolCalls || chunk.Refusal || chunk.OutputBytes > plain || chunk.Content && plain == 0 {
		s.fixed = true
	}
}

// again leaves out of a second answer to the same request what was sent of
// the first one. Thoughts that text has followed are over: the second answer
// thinks anew, which the client does not see.
func (s *sent) again(in chunks) *spliced {
	text := s.text.String()
	if text != "" {
		return &spliced{in: in, as: s, text: text, thoughts: true}
	}
	return &spliced{in: in, as: s, reasoning: s.reasoning.String()}
}

// onward is an answer that goes on behind the first begun bytes of the text
// that was sent. White space behind these may come again.
func (s *sent) onward(in chunks, begun int) *spliced {
	return &spliced{in: in, as: s, text: s.text.String()[begun:], thoughts: true}
}

// spliced is a second answer, without what the client has of the first one.
// Its Next fails with errDiverged unless it begins with exactly that.
type spliced struct {
	in chunks
	as *sent

	// What has to come first, and is left out.
	text      string
	reasoning string

	thoughts bool // are left out altogether
}

// waiting says whether there is more to come of what the client has.
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

// chunk leaves out of a chunk what the client has; nil where nothing remains.
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

// strip takes what the client has off a chunk, and returns what the chunk has
// beyond it. It fails with errDiverged where the chunk is not more of the same
// answer: while some of it is still missing, nothing else may come.
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
	// text before all of the reasoning has come is another answer, too
	early := text != "" || chunk.FinishReason != "" || s.reasoning != "" && chunk.Text != ""
	if s.waiting() && early {
		return "", "", errDiverged
	}
	return text, reasoning, nil
}

// firstAlone says whether a chunk is of no other choice than the first.
func firstAlone(raw []byte) bool {
	choices := gjson.GetBytes(raw, "choices").Array()
	return len(choices) == 0 || len(choices) == 1 && choices[0].Get("index").Int() == 0
}

// reduced leaves this text and reasoning of what a chunk has. It fails with
// errDiverged where the seam goes through what cannot be cut.
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
	raw, err := sjson.SetRawBytes(raw, "choices.0.delta", encode(delta))
	if err == nil && measured {
		raw, err = sjson.SetRawBytes(raw, logprobs, []byte("null"))
	}
	return raw, err
}

// mend makes a chunk one of the first answer, which has begun long ago.
func (s *spliced) mend(raw []byte) (*provider.Chunk, error) {
	raw, err := sjson.SetRawBytes(raw, "id", encode(s.as.id))
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

// after takes what expected and got have in common off expected, and returns
// what got has beyond it; ok is false where they differ.
func after(expected *string, got string) (rest string, ok bool) {
	n := min(len(*expected), len(got))
	if (*expected)[:n] != got[:n] {
		return "", false
	}
	*expected = (*expected)[n:]
	return got[n:], true
}
