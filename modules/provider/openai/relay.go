package openai

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// Relay calls another of the server's APIs. What a server is known not to have is
// refused by name.
func (o *OpenAI) Relay(ctx context.Context, preq *provider.Request, path string) (*provider.Relayed, error) {
	if slices.Contains(o.missing(), path) {
		return nil, provider.Unsupported("model", "its provider has no "+strings.TrimPrefix(path, "/"))
	}
	if preq.Form == nil {
		if err := native.RefuseStored(preq, preq.Body); err != nil {
			return nil, err
		}
	}
	req, err := o.relayRequest(ctx, preq, path)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	// A compressor holds the pieces of a stream back until its block is full.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := o.Do(req) //nolint:bodyclose // the caller closes it
	if err != nil {
		return nil, err
	}
	return &provider.Relayed{ContentType: resp.Header.Get("Content-Type"), Length: resp.ContentLength, Body: resp.Body}, nil
}

func (o *OpenAI) relayRequest(ctx context.Context, preq *provider.Request, path string) (*http.Request, error) {
	if preq.Form == nil {
		body, err := relayBody(preq)
		if err != nil {
			return nil, fmt.Errorf("editing the request: %w", err)
		}
		return o.NewRequest(ctx, preq, path, body, false)
	}
	req, err := o.NewRequest(ctx, preq, path, nil, false)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", preq.Form.ContentType())
	req.GetBody = func() (io.ReadCloser, error) {
		body, _ := preq.Form.With(preq.Model)
		return io.NopCloser(body), nil
	}
	body, length := preq.Form.With(preq.Model)
	req.Body, req.ContentLength = io.NopCloser(body), length
	return req, nil
}

func relayBody(preq *provider.Request) ([]byte, error) {
	if preq.Model == "" {
		_, body, err := splice.MembersOf(preq.Body) // without other spellings of model
		return body, err
	}
	return splice.Model(preq.Body, preq.Model)
}

// missing returns the APIs that the server does not have.
func (o *OpenAI) missing() []string {
	switch {
	case o.Azure != nil:
		return []string{"/moderations", "/rerank"}
	case strings.HasPrefix(o.Base(), defaultBase):
		return []string{"/rerank"}
	}
	return nil
}
