package jwt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// fetchTimeout bounds a fetch as a whole.
	fetchTimeout = 5 * time.Second

	// refreshAfter is how old keys become before they are fetched again, while
	// requests go on with them.
	refreshAfter = 10 * time.Minute

	// staleAfter is when requests wait for that fetch: no token came for a
	// while, and the issuer may have withdrawn a key since.
	staleAfter = 2 * refreshAfter

	// askAgainAfter is the least time between two fetches for unknown keys, so
	// that made-up key ids do not become requests to the issuer.
	askAgainAfter = 30 * time.Second

	// After a failed fetch the next one waits, twice as long each time.
	firstRetry, lastRetry = time.Second, 16 * time.Second
)

// errNoKeys refuses tokens while no fetch has succeeded yet.
var errNoKeys = errors.New("the issuer's keys could not be fetched yet")

// Remote is a JWKS at a URL. It is fetched when the first token comes, and then
// in the background. While that fails, the last keys stay in use.
type Remote struct {
	url    string
	client *http.Client
	failed func(error)

	mu       sync.Mutex
	keys     KeySet
	fetched  time.Time     // when keys were fetched; zero before
	asked    time.Time     // when they were last fetched for an unknown key
	retry    time.Time     // no fetch before that
	failures int           // in a row
	flight   chan struct{} // closed when the running fetch ends; nil without one
}

// NewRemote returns the keys at a URL, and calls failed for each fetch that
// fails. It makes no request yet.
func NewRemote(url string, transport http.RoundTripper, failed func(error)) *Remote {
	return &Remote{
		url:    url,
		client: &http.Client{Transport: transport, Timeout: fetchTimeout, CheckRedirect: checkRedirect},
		failed: failed,
	}
}

// checkRedirect does not let a redirect give up what https protects.
func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("more than three redirects")
	}
	if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return errors.New("a redirect from https to http")
	}
	return nil
}

// Find returns the known keys at once. For an unknown key it waits for a fetch,
// if one may be made.
func (r *Remote) Find(ctx context.Context, kid string, alg Algorithm) ([]any, error) {
	if flight := r.awaited(kid, alg); flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetched.IsZero() {
		return nil, errNoKeys
	}
	return r.keys.find(kid, alg), nil
}

// awaited begins a fetch if one is due, and returns the running one if the
// token has to wait for it.
func (r *Remote) awaited(kid string, alg Algorithm) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	known := len(r.keys.find(kid, alg)) > 0
	if r.due(known, now) {
		r.flight = make(chan struct{})
		go r.fetch()
	}
	// a fetch that has failed before may be slow to fail again
	stale := now.Sub(r.fetched) >= staleAfter && r.failures == 0
	if known && !stale {
		return nil
	}
	return r.flight
}

func (r *Remote) due(known bool, now time.Time) bool {
	switch {
	case r.flight != nil || now.Before(r.retry):
		return false
	case r.fetched.IsZero() || now.Sub(r.fetched) >= refreshAfter:
		return true
	case known || now.Sub(r.asked) < askAgainAfter:
		return false
	default:
		r.asked = now
		return true
	}
}

// fetch belongs to no request: the first client may leave while others wait.
func (r *Remote) fetch() {
	keys, err := r.get()
	if err != nil {
		r.failed(err)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.keys, r.fetched, r.failures = keys, time.Now(), 0
	} else {
		r.retry = time.Now().Add(min(firstRetry<<r.failures, lastRetry))
		r.failures = min(r.failures+1, 8)
	}
	close(r.flight)
	r.flight = nil
}

func (r *Remote) get() (KeySet, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("want status 200, not %d", resp.StatusCode)
	}
	doc, err := readDocument(resp.Body)
	if err != nil {
		return nil, err
	}
	return ParseJWKS(doc)
}
