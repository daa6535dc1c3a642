package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

const chatPath = "/chat/completions"

// Server is a server that speaks OpenAI's dialect. An upstream.Upstream is
// one whose endpoints lie right below its base URL; embed it, and give it a
// NewRequest of its own where paths or credentials differ.
type Server interface {
	// NewRequest makes the request that posts body to the endpoint that
	// OpenAI has at path.
	NewRequest(ctx context.Context, preq *provider.Request, path string, body []byte, stream bool) (*http.Request, error)

	// Do makes a call, as upstream.Upstream does.
	Do(req *http.Request) (*http.Response, error)
}

// Complete makes a call of a server and returns the whole answer. A begun
// answer must be in the request's body already, see Begin.
func Complete(ctx context.Context, s Server, preq *provider.Request) (*provider.Completion, error) {
	resp, err := call(ctx, s, preq, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return nil, err
	}
	switch upstream.KindOf(body) {
	case upstream.KindJSON:
		return completion(body)
	case upstream.KindSSE:
		s := newStream(ctx, io.NopCloser(bytes.NewReader(body)))
		return assemble(s)
	}
	return nil, upstream.BadAnswer(resp, "neither JSON nor an event stream")
}

// Stream makes a call of a server and returns the answer chunk by chunk. A
// begun answer must be in the request's body already, see Begin.
func Stream(ctx context.Context, s Server, preq *provider.Request) (provider.Stream, error) {
	resp, err := call(ctx, s, preq, true)
	if err != nil {
		return nil, err
	}
	chunks, err := openStream(ctx, resp)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return chunks, nil
}

func call(ctx context.Context, s Server, preq *provider.Request, stream bool) (*http.Response, error) {
	edit := wholeBody
	if stream {
		edit = streamBody
	}
	body, err := edit(preq)
	if err != nil {
		return nil, fmt.Errorf("editing the request: %w", err)
	}
	req, err := s.NewRequest(ctx, preq, chatPath, body, stream)
	if err != nil {
		return nil, err
	}
	return s.Do(req)
}

// streamBody is the caller's request with the model's name, asking for a
// stream with usage.
func streamBody(preq *provider.Request) ([]byte, error) {
	m, body, err := membersOf(preq.Body)
	if err != nil {
		return nil, err
	}
	e := splicer{body: body}
	e.set(m.model, "model", quoted(preq.Model))
	if m.stream.Type != gjson.True {
		e.set(m.stream, "stream", "true")
	}
	switch options := m.streamOptions; {
	case !options.IsObject():
		e.set(options, "stream_options", `{"include_usage":true}`)
	case options.Get("include_usage").Type != gjson.True:
		with, err := sjson.Set(options.Raw, "include_usage", true)
		if err != nil {
			return nil, err
		}
		e.set(options, "stream_options", with)
	}
	return e.bytes(), nil
}

// wholeBody is the caller's request with the model's name, asking for no
// stream. What says otherwise is taken out, as some servers refuse stream
// options of an answer that is not streamed.
func wholeBody(preq *provider.Request) ([]byte, error) {
	m, body, err := membersOf(preq.Body)
	for _, member := range [...]struct {
		name  string
		value gjson.Result
	}{{"stream", m.stream}, {"stream_options", m.streamOptions}} {
		if err == nil && member.value.Exists() {
			body, err = sjson.DeleteBytes(body, member.name)
		}
	}
	if err != nil {
		return nil, err
	}
	return withModel(body, preq.Model)
}

// withModel is a request with the model's name.
func withModel(body []byte, model string) ([]byte, error) {
	m, body, err := membersOf(body)
	if err != nil {
		return nil, err
	}
	e := splicer{body: body}
	e.set(m.model, "model", quoted(model))
	return e.bytes(), nil
}

// members are those of a request that are changed on its way.
type members struct {
	model, stream, streamOptions gjson.Result
}

// membersOf finds the members of a request. Names that differ from "model" in
// case only are taken out of the body that it returns: servers written in Go,
// and there are some, would take "Model" for it, which is a way around a list
// of allowed models.
func membersOf(body []byte) (m members, rest []byte, err error) {
	var others []string
	gjson.ParseBytes(body).ForEach(func(k, v gjson.Result) bool {
		switch {
		case k.Str == "model":
			m.model = v
		case k.Str == "stream":
			m.stream = v
		case k.Str == "stream_options":
			m.streamOptions = v
		case len(k.Str) == len("model") && strings.EqualFold(k.Str, "model"):
			others = append(others, k.Str)
		}
		return true
	})
	if len(others) == 0 {
		return m, body, nil
	}
	for _, name := range others {
		if body, err = sjson.DeleteBytes(body, name); err != nil {
			return m, nil, err
		}
	}
	return membersOf(body)
}

func quoted(s string) string {
	b, _ := jsontext.AppendQuote(nil, s)
	return string(b)
}

// splicer makes a new body with other values, and leaves all the rest of the
// caller's bytes as they came.
type splicer struct {
	body  []byte
	edits []edit
	added []byte
}

type edit struct {
	from, to int
	value    string
}

// set puts a value in the place of another, or behind the other members where
// there is no old one.
func (s *splicer) set(old gjson.Result, name, value string) {
	if old.Exists() {
		s.edits = append(s.edits, edit{old.Index, old.Index + len(old.Raw), value})
		return
	}
	s.added = append(append(append(s.added, `,"`...), name...), `":`...)
	s.added = append(s.added, value...)
}

func (s *splicer) bytes() []byte {
	slices.SortFunc(s.edits, func(a, b edit) int { return a.from - b.from })
	size := len(s.body) + len(s.added)
	for _, e := range s.edits {
		size += len(e.value)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, e := range s.edits {
		out = append(append(out, s.body[at:e.from]...), e.value...)
		at = e.to
	}
	end := bytes.LastIndexByte(s.body, '}')
	out = append(out, s.body[at:end]...)
	added := s.added
	if len(added) > 0 && bytes.HasSuffix(bytes.TrimRight(out, " \t\r\n"), []byte{'{'}) {
		added = added[1:] // it is the first member
	}
	return append(append(out, added...), s.body[end:]...)
}

// completion checks and mends a whole answer.
func completion(body []byte) (*provider.Completion, error) {
	if mayBeError(body) {
		if _, _, _, ok := provider.ErrorOf(body); ok {
			return nil, provider.NewError(0, body)
		}
	}
	root, f, ok := provider.ReadCompletion(body)
	if !ok || !root.Get("choices").IsArray() {
		return nil, provider.BadAnswer(errors.New("the answer is no chat completion"))
	}
	body, err := mendCompletion(body, root)
	if err != nil {
		return nil, fmt.Errorf("mending the answer: %w", err)
	}
	if f.FinishReason == "" {
		f, _ = provider.ParseCompletion(body)
	}
	return &provider.Completion{Body: body, Facts: f}, nil
}

// mayBeError says whether an answer has to be searched for an error: it names
// one, or it does not look like an answer.
func mayBeError(raw []byte) bool {
	return bytes.Contains(raw, []byte(`"error`)) || !bytes.Contains(raw, []byte(`"choices"`))
}
