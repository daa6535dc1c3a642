package jwt

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is a JWKS server without a network.
type issuer struct {
	mu      sync.Mutex
	kids    []string
	err     error         // in place of an answer
	takes   time.Duration // for an answer
	fetches int
	failed  atomic.Int64
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.fetches++
	var keys []jose.JSONWebKey
	for _, kid := range i.kids {
		keys = append(keys, jose.JSONWebKey{Key: ecKey().Public(), KeyID: kid})
	}
	err, takes := i.err, i.takes
	i.mu.Unlock()

	select {
	case <-time.After(takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(jwks(keys...)))), Request: r}, nil
}

func (i *issuer) has(kids ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kids = kids
}

// is makes answers late, or failures.
func (i *issuer) is(takes time.Duration, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.takes, i.err = takes, err
}

func (i *issuer) remote() *Remote {
	return NewRemote("https://issuer.test/keys", i, func(error) { i.failed.Add(1) })
}

// want checks whether a key is found, how long that took, and how often the
// issuer has been asked by now.
func (i *issuer) want(t *testing.T, r *Remote, kid string, found bool, fetches int, took time.Duration) {
	t.Helper()
	wantFound(t, r, kid, found, took)
	synctest.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fetches != fetches {
		t.Errorf("%s: %d fetches, want %d", kid, i.fetches, fetches)
	}
}

func wantFound(t *testing.T, r *Remote, kid string, found bool, took time.Duration) {
	t.Helper()
	begin := time.Now()
	keys, _ := r.Find(t.Context(), kid, jose.ES256)
	if (len(keys) > 0) != found {
		t.Errorf("%s: found %t, want %t", kid, len(keys) > 0, found)
	}
	if d := time.Since(begin); d != took {
		t.Errorf("%s took %v, want %v", kid, d, took)
	}
}

func TestRemote(t *testing.T) {
	errDown := errors.New("connection refused")
	for name, test := range map[string]func(*testing.T, *issuer, *Remote){
		"keys are fetched once, when the first token comes": func(t *testing.T, i *issuer, r *Remote) {
			synctest.Wait()
			i.want(t, r, "a", true, 1, 0)
			i.want(t, r, "b", true, 1, 0)
			i.want(t, r, "", true, 1, 0)
		},
		"a new key is fetched at once": func(t *testing.T, i *issuer, r *Remote) {
			i.want(t, r, "a", true, 1, 0)
			i.has("b", "c")
			i.want(t, r, "c", true, 2, 0)
			i.want(t, r, "a", false, 2, 0)
		},
		"made-up keys ask the issuer once in a while": func(t *testing.T, i *issuer, r *Remote) {
			i.want(t, r, "a", true, 1, 0)
			for range 100 {
				i.want(t, r, "made-up", false, 2, 0)
			}
			time.Sleep(askAgainAfter)
			i.want(t, r, "made-up", false, 3, 0)
			i.want(t, r, "made-up", false, 3, 0)
		},
		"keys are refreshed while requests go on": func(t *testing.T, i *issuer, r *Remote) {
			i.want(t, r, "a", true, 1, 0)
			i.has("b")
			i.is(time.Second, nil)
			time.Sleep(refreshAfter)
			i.want(t, r, "a", true, 2, 0)
			i.want(t, r, "b", true, 2, 0)
			time.Sleep(2 * time.Second)
			i.want(t, r, "a", false, 3, time.Second) // withdrawn, and so unknown
		},
		"after a pause a withdrawn key does not count": func(t *testing.T, i *issuer, r *Remote) {
			i.want(t, r, "a", true, 1, 0)
			i.has("b")
			time.Sleep(staleAfter)
			i.want(t, r, "a", false, 2, 0)
		},
		"requests at once share a fetch": func(t *testing.T, i *issuer, r *Remote) {
			i.is(time.Second, nil)
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() { wantFound(t, r, "a", true, time.Second) })
			}
			wg.Wait()
			i.want(t, r, "a", true, 1, 0)
		},
		"a slow issuer does not delay tokens with a known key": func(t *testing.T, i *issuer, r *Remote) {
			i.want(t, r, "a", true, 1, 0)
			i.is(time.Hour, nil)
			var wg sync.WaitGroup
			wg.Go(func() { wantFound(t, r, "made-up", false, fetchTimeout) })
			synctest.Wait()
			i.want(t, r, "a", true, 2, 0)
			wg.Wait()
			time.Sleep(staleAfter) // even when its keys are old
			i.want(t, r, "a", true, 3, 0)
		},
		"a slow issuer at the start": func(t *testing.T, i *issuer, r *Remote) {
			i.is(time.Hour, nil)
			i.want(t, r, "a", false, 1, fetchTimeout)
			i.want(t, r, "a", false, 1, 0) // it waits before it asks again
			i.is(0, nil)
			time.Sleep(firstRetry)
			i.want(t, r, "a", true, 2, 0)
		},
		"an issuer that is down at the start": func(t *testing.T, i *issuer, r *Remote) {
			i.is(0, errDown)
			wait := firstRetry
			for n := range 8 {
				i.want(t, r, "a", false, n+1, 0)
				i.want(t, r, "a", false, n+1, 0)
				time.Sleep(wait)
				wait = min(2*wait, lastRetry)
			}
			i.is(0, nil)
			i.want(t, r, "a", true, 9, 0)
			if n := i.failed.Load(); n != 8 {
				t.Errorf("%d failures reported, want 8", n)
			}
		},
		"an issuer that goes down later": func(t *testing.T, i *issuer, r *Remote) {
			i.want(t, r, "a", true, 1, 0)
			i.is(0, errDown)
			time.Sleep(refreshAfter)
			i.want(t, r, "a", true, 2, 0)
			time.Sleep(100 * time.Hour)
			i.want(t, r, "a", true, 3, 0)
		},
		"a client that leaves does not stop the fetch for others": func(t *testing.T, i *issuer, r *Remote) {
			i.is(time.Second, nil)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := r.Find(ctx, "a", jose.ES256); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
			synctest.Wait()
			cancel()
			wg.Wait()
			i.want(t, r, "a", true, 1, time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := new(issuer)
				i.has("a", "b")
				test(t, i, i.remote())
				time.Sleep(fetchTimeout) // the last fetch ends
			})
		})
	}
}

// What a server may send in place of keys never takes the known ones away.
func TestRemoteAnswers(t *testing.T) {
	good := string(jwks(jose.JSONWebKey{Key: ecKey().Public(), KeyID: "new"}))
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		found  bool
	}{
		"keys":       {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, good) }, true},
		"a redirect": {redirect(good, 1), true},
		"redirects":  {redirect(good, 9), false},
		"a loop":     {redirect(good, -1), false},
		"404 with keys": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, good)
		}, false},
		"500":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, false},
		"HTML":    {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, false},
		"nothing": {func(http.ResponseWriter, *http.Request) {}, false},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, good[:len(good)/2]) }, false},
		"torn off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, good)
			panic(http.ErrAbortHandler)
		}, false},
		"10 MB": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, good[:len(good)-1]+`,"x":"`+strings.Repeat("x", 10<<20)+`"}`)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(tt.answer)
			defer srv.Close()
			var failed atomic.Bool
			r := NewRemote(srv.URL, srv.Client().Transport, func(error) { failed.Store(true) })
			r.keys, r.fetched = keySet(t, jwks(jose.JSONWebKey{Key: ecKey().Public(), KeyID: "old"})), time.Now()

			keys, err := r.Find(t.Context(), "new", jose.ES256)
			if err != nil || (len(keys) == 1) != tt.found {
				t.Errorf("%d keys, %v; want found %t", len(keys), err, tt.found)
			}
			if keys, _ := r.Find(t.Context(), "old", jose.ES256); (len(keys) == 1) == tt.found {
				t.Errorf("the known key is left: %t, want %t", len(keys) == 1, !tt.found)
			}
			if failed.Load() == tt.found {
				t.Errorf("a failure is reported: %t, want %t", tt.found, !tt.found)
			}
		})
	}
}

// redirect redirects n times, for ever where that is negative.
func redirect(doc string, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			io.WriteString(w, doc)
			return
		}
		n--
		http.Redirect(w, r, "/again", http.StatusFound)
	}
}

func TestRedirectKeepsHTTPS(t *testing.T) {
	secure, plain := httptest.NewRequest(http.MethodGet, "https://a.test/", nil), httptest.NewRequest(http.MethodGet, "http://a.test/", nil)
	for name, tt := range map[string]struct {
		to, from *http.Request
		ok       bool
	}{
		"https to https": {secure, secure, true}, "https to http": {plain, secure, false},
		"http to https": {secure, plain, true}, "http to http": {plain, plain, true},
	} {
		if err := checkRedirect(tt.to, []*http.Request{tt.from}); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
