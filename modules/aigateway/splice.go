package aigateway

import (
	"errors"
	"io"
	"strings"

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

// spliced is a second answer to the same request, without what the client
// has of the first one. Its Next fails with errDiverged unless it begins with
// exactly that.
type spliced struct {
	in chunks
	as *sent

	// What has to come first, and is left out.
	text      string
	reasoning string

	// thoughts are left out altogether: the client has had the first
	// answer's, and its text after them.
	thoughts bool
}

// Next returns the next chunk that the client does not have.
func (s *spliced) Next() (*provider.Chunk, error) {
	for {
		chunk, err := s.in.Next()
		if errors.Is(err, io.EOF) && (s.text != "" || s.reasoning != "") {
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
	waiting := s.text != "" || s.reasoning != ""
	if waiting && (chunk.ToolCalls || chunk.Refusal || len(gjson.GetBytes(chunk.Raw, "choices").Array()) > 1) {
		return nil, errDiverged
	}
	text, textOK := after(&s.text, chunk.Text)
	reasoning, reasoningOK := "", true
	if !s.thoughts {
		reasoning, reasoningOK = after(&s.reasoning, chunk.Reasoning)
	}
	left := s.text != "" || s.reasoning != ""
	// text that comes before all of the reasoning has is another answer, too
	if !textOK || !reasoningOK || left && (chunk.FinishReason != "" || text != "" || s.reasoning != "" && chunk.Text != "") {
		return nil, errDiverged
	}
	if left || waiting && text == "" && reasoning == "" && chunk.FinishReason == "" && chunk.Usage == nil {
		return nil, nil
	}
	return s.mend(chunk, text, reasoning)
}

// mend gives a chunk the first answer's id, and leaves in it only what the
// client does not have.
func (s *spliced) mend(chunk *provider.Chunk, text, reasoning string) (*provider.Chunk, error) {
	raw := append([]byte(nil), chunk.Raw...)
	var err error
	set := func(path string, value []byte) {
		if err == nil {
			raw, err = sjson.SetRawBytes(raw, path, value)
		}
	}
	set("id", encode(s.as.id))
	if s.as.created != "" {
		set("created", []byte(s.as.created))
	}
	if text != chunk.Text || reasoning != chunk.Reasoning {
		delta := make(map[string]string)
		if text != "" {
			delta["content"] = text
		}
		if reasoning != "" {
			delta["reasoning_content"] = reasoning
		}
		set("choices.0.delta", encode(delta))
	} else if gjson.GetBytes(raw, "choices.0.delta.role").Exists() {
		// the first answer has begun long ago
		if err == nil {
			raw, err = sjson.DeleteBytes(raw, "choices.0.delta.role")
		}
	}
	if err != nil {
		return nil, err
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
