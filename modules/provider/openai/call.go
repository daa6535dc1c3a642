package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
	"github.com/caddy-chat/caddy-chat/modules/splice"
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
	preq, names := named(preq)
	resp, err := call(ctx, s, preq, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	c, err := whole(ctx, resp)
	if err == nil && names != nil {
		c.Body = toldBack(names, c.Body, "message")
	}
	return c, err
}

// whole reads a whole answer, which may come as a stream.
func whole(ctx context.Context, resp *http.Response) (*provider.Completion, error) {
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
	preq, names := named(preq)
	resp, err := call(ctx, s, preq, true)
	if err != nil {
		return nil, blame(err, preq)
	}
	chunks, err := openStream(ctx, resp, preq)
	if err != nil {
		resp.Body.Close()
		return nil, blame(err, preq)
	}
	if names != nil {
		return &namedStream{chunks, names}, nil
	}
	return chunks, nil
}

// portableRequest returns a request that a server with OpenAI's API understands, without what
// this one has refused. responses says that it is made through Responses.
func portableRequest(preq *provider.Request, responses bool) (*provider.Request, error) {
	if slices.Contains(preq.Omit, badArguments) {
		good, _ := goodArguments(preq.Body)
		preq = preq.With(good)
	}
	body, err := asPortable(preq, responses)
	if err != nil {
		return nil, err
	}
	preq = unrefused(preq.With(body))
	return preq, native.RefuseStored(preq, body)
}

func call(ctx context.Context, s Server, preq *provider.Request, stream bool) (*http.Response, error) {
	preq, err := portableRequest(preq, false)
	if err != nil {
		return nil, err
	}
	preq = withToolsAlone(preq)
	if slices.Contains(preq.Omit, missingReasoning) {
		filled, _ := withReasoning(preq.Body)
		preq = preq.With(filled)
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
	return resp, blameArguments(blameMissing(blameMember(blameTools(err, preq), preq), preq), preq)
}

// streamBody returns the request's body with the upstream model, asking for a
// stream with usage.
func streamBody(preq *provider.Request) ([]byte, error) {
	m, body, err := splice.MembersOf(preq.Body)
	if err != nil {
		return nil, err
	}
	e := splice.Of(body)
	e.Set(m.Model, "model", splice.Quoted(preq.Model))
	if m.Stream.Type != gjson.True {
		e.Set(m.Stream, "stream", "true")
	}
	switch options := m.StreamOptions; {
	case slices.Contains(preq.Omit, streamOptions):
	case !options.IsObject():
		e.Set(options, "stream_options", `{"include_usage":true}`)
	case options.Get("include_usage").Type != gjson.True:
		with, err := sjson.Set(options.Raw, "include_usage", true)
		if err != nil {
			return nil, err
		}
		e.Set(options, "stream_options", with)
	}
	return e.Bytes(), nil
}

// wholeBody returns the request's body with the upstream model and without stream
// and stream_options, since some servers refuse the latter without a stream.
func wholeBody(preq *provider.Request) ([]byte, error) {
	m, body, err := splice.MembersOf(preq.Body)
	preq.DropOthers(m.StreamOptions, streamOptions, "include_usage")
	for _, member := range [...]struct {
		name  string
		value gjson.Result
	}{{"stream", m.Stream}, {"stream_options", m.StreamOptions}} {
		if err == nil && member.value.Exists() {
			body, err = sjson.DeleteBytes(body, member.name)
		}
	}
	if err != nil {
		return nil, err
	}
	return splice.Model(body, preq.Model)
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
