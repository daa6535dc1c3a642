package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// NewRequest makes a request that posts body to path below the base URL. path
// is escaped and begins with a slash. The key is sent as a bearer token.
func (u *Upstream) NewRequest(ctx context.Context, preq *provider.Request, path string, body []byte, stream bool) (*http.Request, error) {
	key, err := u.Key(preq)
	if err != nil {
		return nil, err
	}
	ctx = isolate(ctx)
	if preq.BeforeRead != nil {
		ctx = context.WithValue(ctx, beforeReadKey{}, preq.BeforeRead)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "caddy-chat")
	req.Header.Set("Accept", "application/json")
	if stream {
		req.Header.Set("Accept", sse.MediaType)
		// A compressor holds events back until its block is full.
		req.Header.Set("Accept-Encoding", "identity")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if preq.TraceID != "" {
		req.Header.Set("X-Request-Id", preq.TraceID)
	}
	return req, nil
}

// Key returns the key for a call: the request's, else the configured one. It is
// empty if none is configured, and an error if the configured one is empty.
func (u *Upstream) Key(preq *provider.Request) (string, error) {
	if preq.APIKey != "" {
		return preq.APIKey, nil
	}
	if u.keyErr != nil {
		return "", &provider.Error{Reason: provider.ReasonCredentials, Err: u.keyErr}
	}
	return u.key, nil
}

// minSecret is the shortest text that counts as a secret: a shorter one would
// turn up inside ordinary words.
const minSecret = 4

// Hide implements provider.Keeper.
func (u *Upstream) Hide(preq *provider.Request, text string) string {
	secrets := []string{u.key, preq.APIKey}
	for _, values := range u.headers {
		secrets = append(secrets, values...)
	}
	for _, s := range secrets {
		if len(s) >= minSecret {
			text = strings.ReplaceAll(text, s, provider.Redacted)
		}
	}
	return text
}

// Do makes a call, and calls the request's BeforeRead before it waits for the
// answer and for each read of its body. The answer has a 2xx status and a body
// that is not compressed. Everything else is an error: a *provider.Error, or
// the cause of the context's end. Redirects are not followed because they would
// carry the key elsewhere.
func (u *Upstream) Do(req *http.Request) (*http.Response, error) {
	u.SetHeaders(req)
	beforeRead, _ := req.Context().Value(beforeReadKey{}).(func())
	if beforeRead != nil {
		beforeRead()
	}
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return nil, Failure(req.Context(), err)
	}
	if beforeRead != nil {
		resp.Body = &announcedBody{resp.Body, beforeRead}
	}
	if err := decompress(resp); err != nil {
		resp.Body.Close()
		return nil, &provider.Error{Reason: provider.ReasonBadAnswer, Status: resp.StatusCode, Err: err}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, refusal(req.Context(), resp)
	}
	return resp, nil
}

// beforeReadKey is the context key of a call's provider.Request.BeforeRead.
type beforeReadKey struct{}

// announcedBody calls a function before each read. It sits below the
// decompressor, so that bytes which are already decoded are not waited for.
type announcedBody struct {
	io.ReadCloser
	beforeRead func()
}

func (b *announcedBody) Read(p []byte) (int, error) {
	b.beforeRead()
	return b.ReadCloser.Read(p)
}

// SetHeaders sets the configured headers, as Do does. Providers that sign their
// calls need them earlier.
func (u *Upstream) SetHeaders(req *http.Request) {
	for name, values := range u.headers {
		if name == "Host" {
			req.Host = values[0]
			continue
		}
		req.Header[name] = values
	}
}

// TakeHeader takes the configured values of a header. The provider then sets it itself,
// because calls add to it.
func (u *Upstream) TakeHeader(name string) []string {
	values := u.headers[name]
	delete(u.headers, name)
	return values
}

// Failure turns the error of a broken connection into the failure of a call:
// the context's cause if ctx has ended, else an unavailable provider.
func Failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("calling the provider: %w", context.Cause(ctx))
	}
	return &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
}

const (
	// maxErrorBody is how many bytes of an error's body are read. Some repeat the
	// request in front of the code that tells what to do.
	maxErrorBody = 1 << 20

	// errorBodyTimeout is how long reading an error's body may take: the status
	// alone is enough to go on.
	errorBodyTimeout = 5 * time.Second
)

// refusal reads the answer of a call that failed with a status.
func refusal(ctx context.Context, resp *http.Response) error {
	body, err := readAtMost(resp.Body, maxErrorBody, errorBodyTimeout)
	if err != nil && ctx.Err() != nil {
		return Failure(ctx, err)
	}
	e := provider.NewError(resp.StatusCode, body)
	if e.Code == "" {
		// Amazon's exception, with a URL behind it.
		e.Code, _, _ = strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	}
	if wait := provider.RetryAfter(resp.Header, time.Now()); wait > 0 {
		e.RetryAfter = wait
	}
	return e
}

// readAtMost reads and closes body, within a limit of bytes and of time.
func readAtMost(body io.ReadCloser, limit int64, timeout time.Duration) ([]byte, error) {
	defer body.Close()
	timer := time.AfterFunc(timeout, func() { body.Close() })
	defer timer.Stop()
	b, err := io.ReadAll(io.LimitReader(body, limit))
	if err == nil {
		// The connection can be reused only if the body was read to its end.
		_, _ = io.CopyN(io.Discard, body, drainBytes)
	}
	return b, err
}

// decompress undoes a compression that was not asked for, or that the transport
// asked for without undoing it.
func decompress(resp *http.Response) error {
	switch enc := strings.ToLower(resp.Header.Get("Content-Encoding")); enc {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		resp.Body = &gzipBody{body: resp.Body}
		resp.Header.Del("Content-Encoding")
		resp.Header.Del("Content-Length")
		resp.ContentLength = -1
		return nil
	default:
		return fmt.Errorf("reading the answer: unsupported content encoding %q", enc)
	}
}

// gzipBody reads a compressed body. It reads the gzip header with the first
// byte, because a stream may not have sent any yet.
type gzipBody struct {
	body io.ReadCloser
	zr   *gzip.Reader
	err  error
}

func (b *gzipBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.zr == nil {
		if b.zr, b.err = gzip.NewReader(b.body); b.err != nil {
			return 0, b.err
		}
	}
	n, err := b.zr.Read(p)
	b.err = err
	return n, err
}

func (b *gzipBody) Close() error { return b.body.Close() }

// isolate gives a call its own variables and, if the context has none, a
// replacer. reverse_proxy's transport needs both in the context. It writes to
// the variables while it dials, without synchronization, and the caller's
// belong to the client's request, which may have several calls in flight.
func isolate(ctx context.Context) context.Context {
	if _, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); !ok {
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	}
	return context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
}
