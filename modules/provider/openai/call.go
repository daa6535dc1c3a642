package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

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

// setModel puts the model's name into the caller's request. Names that differ
// from it only in case go: servers written in Go, and there are some, would
// take "Model" for it, which is a way around a list of allowed models.
func setModel(preq *provider.Request) ([]byte, error) {
	body := preq.Body
	var err error
	gjson.ParseBytes(body).ForEach(func(k, _ gjson.Result) bool {
		if k.Str != "model" && strings.EqualFold(k.Str, "model") {
			body, err = sjson.DeleteBytes(body, k.Str)
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return sjson.SetBytes(body, "model", preq.Model)
}

// streamBody is the caller's request with the model's name, asking for a
// stream with usage.
func streamBody(preq *provider.Request) ([]byte, error) {
	body, err := setModel(preq)
	if err != nil {
		return nil, err
	}
	if gjson.GetBytes(body, "stream").Type != gjson.True {
		if body, err = sjson.SetBytes(body, "stream", true); err != nil {
			return nil, err
		}
	}
	switch options := gjson.GetBytes(body, "stream_options"); {
	case !options.IsObject():
		return sjson.SetRawBytes(body, "stream_options", []byte(`{"include_usage":true}`))
	case options.Get("include_usage").Type != gjson.True:
		return sjson.SetBytes(body, "stream_options.include_usage", true)
	}
	return body, nil
}

// wholeBody is the caller's request with the model's name, asking for no
// stream. What says otherwise is taken out, as some servers refuse stream
// options where there is no stream.
func wholeBody(preq *provider.Request) ([]byte, error) {
	body, err := setModel(preq)
	if err != nil {
		return nil, err
	}
	for _, name := range [...]string{"stream", "stream_options"} {
		if !gjson.GetBytes(body, name).Exists() {
			continue
		}
		if body, err = sjson.DeleteBytes(body, name); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// completion checks and mends a whole answer.
func completion(body []byte) (*provider.Completion, error) {
	if _, _, _, ok := provider.ErrorOf(body); ok {
		return nil, provider.NewError(0, body)
	}
	f, ok := provider.ParseCompletion(body)
	if !ok || !gjson.GetBytes(body, "choices").IsArray() {
		return nil, &provider.Error{
			Reason: provider.ReasonBadAnswer,
			Status: http.StatusOK,
			Err:    errors.New("the answer is no chat completion"),
		}
	}
	body, err := mendCompletion(body)
	if err != nil {
		return nil, fmt.Errorf("mending the answer: %w", err)
	}
	if f.FinishReason == "" {
		f, _ = provider.ParseCompletion(body)
	}
	return &provider.Completion{Body: body, Facts: f}, nil
}
