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
)

// NewRequest makes the request that posts body to path, which is escaped and
// begins with a slash, below the base URL. The key is sent as a bearer token.
func (u *Upstream) NewRequest(ctx context.Context, preq *provider.Request, path string, body []byte, stream bool) (*http.Request, error) {
	key, err := u.Key(preq)
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(isolate(ctx), beforeReadKey{}, preq.BeforeRead)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "caddy-chat")
	req.Header.Set("Accept", "application/json")
	if stream {
		req.Header.Set("Accept", "text/event-stream")
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

// Key is the key to make a call with, the request's before the configured
// one; empty where there is none, and an error where there ought to be one.
func (u *Upstream) Key(preq *provider.Request) (string, error) {
	if preq.APIKey != "" {
		return preq.APIKey, nil
	}
	if u.keyErr != nil {
		return "", &provider.Error{Reason: provider.ReasonCredentials, Err: u.keyErr}
	}
	return u.key, nil
}

// minSecret is the shortest text that is taken for a secret: a shorter one
// would be found in every other word.
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

// Do makes a call, and announces that it waits for the answer and for its body
// by the request's BeforeRead. The answer's status is 2xx and its body is not compressed;
// every other outcome is an error: a *provider.Error, or the cause for which
// the request's context ended. Redirects are not followed: they would take
// the key elsewhere.
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

// beforeReadKey is the key of provider.Request.BeforeRead in the context of a
// call.
type beforeReadKey struct{}

// announcedBody calls a function before each read. It lies below whatever
// decodes the body, so that what has been decoded already is not waited for.
type announcedBody struct {
	io.ReadCloser
	beforeRead func()
}

func (b *announcedBody) Read(p []byte) (int, error) {
	b.beforeRead()
	return b.ReadCloser.Read(p)
}

// SetHeaders sets the configured headers, as Do does. A provider that signs
// its calls needs them before.
func (u *Upstream) SetHeaders(req *http.Request) {
	for name, values := range u.headers {
		if name == "Host" {
			req.Host = values[0]
			continue
		}
		req.Header[name] = values
	}
}

// Failure is what became of a call whose connection failed with err: the
// cause where ctx ended, else that the provider is unavailable.
func Failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("calling the provider: %w", context.Cause(ctx))
	}
	return &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
}

const (
	// maxErrorBody is how much of an error's body is read.
	maxErrorBody = 64 << 10

	// errorBodyTimeout is how long an error's body may take: the status
	// says enough to go on without it.
	errorBodyTimeout = 5 * time.Second
)

// refusal reads the answer of a call that the provider did not carry out.
func refusal(ctx context.Context, resp *http.Response) error {
	body, err := readAtMost(resp.Body, maxErrorBody, errorBodyTimeout)
	if err != nil && ctx.Err() != nil {
		return Failure(ctx, err)
	}
	e := provider.NewError(resp.StatusCode, body)
	if wait := provider.RetryAfter(resp.Header, time.Now()); wait > 0 {
		e.RetryAfter = wait
	}
	return e
}

// readAtMost reads and closes body: no more than limit bytes and no longer
// than timeout.
func readAtMost(body io.ReadCloser, limit int64, timeout time.Duration) ([]byte, error) {
	defer body.Close()
	timer := time.AfterFunc(timeout, func() { body.Close() })
	defer timer.Stop()
	b, err := io.ReadAll(io.LimitReader(body, limit))
	if err == nil {
		// The connection can be used again only when the end was seen.
		_, _ = io.CopyN(io.Discard, body, drainBytes)
	}
	return b, err
}

// decompress undoes a compression that nobody asked for, or that a transport
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

// gzipBody reads a compressed body. The header is read with the first byte,
// as a stream may have none yet.
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

// isolate gives a call its own variables and, where there is none, a
// replacer. reverse_proxy's transport wants both in the context, writes the
// former while it dials, and they are not synchronised: the caller's are the
// client request's, which may have more than one call under way.
func isolate(ctx context.Context) context.Context {
	if _, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); !ok {
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	}
	return context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
}
