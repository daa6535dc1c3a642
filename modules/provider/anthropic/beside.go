package anthropic

import (
	"bytes"
	"context"
	"io"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// completeBeside answers a request of Messages with a chat completion that holds the
// message.
func (a *Anthropic) completeBeside(ctx context.Context, preq *provider.Request) (*provider.Completion, error) {
	resp, err := a.callNative(ctx, preq, preq.Beside, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return nil, err
	}
	again := *resp
	again.Body = io.NopCloser(bytes.NewReader(body))
	c, err := completion(newStream(ctx, &again, preq.Model, nil), &again)
	if err != nil {
		return nil, err
	}
	c.Body = native.Beside(c.Body, bytes.TrimSpace(body))
	return c, nil
}

// streamBeside answers a request of Messages with chunks that hold its events.
func (a *Anthropic) streamBeside(ctx context.Context, preq *provider.Request) (provider.Stream, error) {
	resp, err := a.callNative(ctx, preq, preq.Beside, true) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	s := newStream(ctx, resp, preq.Model, nil)
	s.beside = true
	return s, nil
}
