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

// Server is a server with OpenAI's API. An upstream.Upstream is one whose endpoints
// are right below its base URL. Embed it, and override NewRequest if paths or
// credentials differ.
type Server interface {
	// NewRequest returns a request that posts body to the endpoint that OpenAI
	// has at path.
	NewRequest(ctx context.Context, preq *provider.Request, path string, body []byte, stream bool) (*http.Request, error)

	// Do makes a call, as upstream.Upstream does.
	Do(req *http.Request) (*http.Response, error)
}

// Complete calls a server and returns the whole answer. To continue an answer, call
// Begin first.
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

// Stream calls a server and returns the answer chunk by chunk. To continue an
// answer, call Begin first.
func Stream(ctx context.Context, s Server, preq *provider.Request) (provider.Stream, error) {
	resp, err := call(ctx, s, preq, true)
	if err != nil {
		return nil, blame(err, preq)
	}
	chunks, err := openStream(ctx, resp, preq)
	if err != nil {
		resp.Body.Close()
		return nil, blame(err, preq)
	}
	return chunks, nil
}

func call(ctx context.Context, s Server, preq *provider.Request, stream bool) (*http.Response, error) {
	if slices.Contains(preq.Omit, badArguments) {
		good := *preq
		good.Body, _ = goodArguments(preq.Body)
		preq = &good
	}
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
	resp, err := s.Do(req)
	return resp, blameArguments(err, preq)
}

// streamBody returns the request's body with the upstream model, asking for a
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
	case slices.Contains(preq.Omit, streamOptions):
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

// wholeBody returns the request's body with the upstream model and without stream
// and stream_options, since some servers refuse the latter without a stream.
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

// withModel returns a body with another model.
func withModel(body []byte, model string) ([]byte, error) {
	m, body, err := membersOf(body)
	if err != nil {
		return nil, err
	}
	e := splicer{body: body}
	e.set(m.model, "model", quoted(model))
	return e.bytes(), nil
}

// members are the members of a request that may be changed.
type members struct {
	model, stream, streamOptions gjson.Result
}

// membersOf returns the members of a request, and its body without names that
// differ from "model" only in case. Servers written in Go would accept "Model" for
// it, which is a way around a list of allowed models.
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

// splicer replaces and adds values in a body. All other bytes stay the same.
type splicer struct {
	body  []byte
	edits []edit
	added []byte
}

// set replaces an old value or, if there is none, adds a member at the end.
func (s *splicer) set(old gjson.Result, name, value string) {
	if old.Exists() {
		s.edits = append(s.edits, edit{old.Index, old.Index + len(old.Raw), value})
		return
	}
	s.added = append(append(append(s.added, `,"`...), name...), `":`...)
	s.added = append(s.added, value...)
}

func (s *splicer) bytes() []byte {
	end := bytes.LastIndexByte(s.body, '}')
	added := s.added
	if len(added) > 0 && bytes.HasSuffix(bytes.TrimRight(s.body[:end], " \t\r\n"), []byte{'{'}) {
		added = added[1:] // no comma before the first member
	}
	if len(added) > 0 {
		s.edits = append(s.edits, edit{end, end, string(added)})
	}
	return splice(s.body, s.edits)
}

// completion checks a whole answer, and returns it mended.
func completion(body []byte) (*provider.Completion, error) {
	if mayBeError(body) {
		if _, _, _, ok := provider.ErrorOf(body); ok {
			return nil, provider.NewError(0, body)
		}
	}
	root, f, ok := provider.ReadCompletion(body)
	if !ok || !root.Get("choices").IsArray() {
		return nil, provider.BadAnswer(errors.New("the answer is not a chat completion"))
	}
	if err := provider.JudgeDocument(&f, f.Choices); err != nil {
		return nil, err // the caller knows how many choices were asked for
	}
	body = mendCompletion(body, root)
	if f.FinishReason == "" {
		f, _ = provider.ParseCompletion(body)
	}
	return &provider.Completion{Body: body, Facts: f}, nil
}

// mayBeError reports whether an answer must be searched for an error: it mentions
// one, or it does not look like an answer.
func mayBeError(raw []byte) bool {
	return bytes.Contains(raw, []byte(`"error`)) || !bytes.Contains(raw, []byte(`"choices"`))
}
