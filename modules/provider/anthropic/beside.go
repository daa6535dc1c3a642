package anthropic

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// completeBeside answers a request of Messages with a chat completion that holds the
// message.
func (a *Anthropic) completeBeside(ctx context.Context, preq *provider.Request) (*provider.Completion, error) {
	resp, err := a.callBeside(ctx, preq, false)
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

// callBeside sends a request of Messages that a session has put together.
func (a *Anthropic) callBeside(ctx context.Context, preq *provider.Request, stream bool) (*http.Response, error) {
	n := *preq.Beside
	n.Body = unmarked(n.Body)
	return a.callNative(ctx, preq, &n, stream)
}

// streamBeside answers a request of Messages with chunks that hold its events.
func (a *Anthropic) streamBeside(ctx context.Context, preq *provider.Request) (provider.Stream, error) {
	resp, err := a.callBeside(ctx, preq, true) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	s := newStream(ctx, resp, preq.Model, nil)
	s.beside = true
	return s, nil
}
