package providertest

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

const (
	configuredKey = "configured-key-4711"
	ownKey        = "own-key-0815"
)

// teams are headers that the operator sets.
var teams = http.Header{"X-Team": {"ops", "dev"}}

// keys checks which headers are sent to the server, and that keys appear
// nowhere else.
func keys(t *testing.T, d *Dialect) {
	for _, tc := range []struct{ name, configured, own string }{
		{"none", "", ""},
		{"configured", configuredKey, ""},
		{"of the request", "", ownKey},
		{"of the request before the configured one", configuredKey, ownKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := d.start(t, upstream.Upstream{APIKey: tc.configured, Headers: teams})
			for name, ask := range map[string]asking{"a whole answer": completionOf, "a stream": streamOf} {
				s.answerWhole(hi)
				req := d.request(plainBody)
				req.APIKey = tc.own
				a := ask(asClient(t.Context()), t, s, req)
				// A provider makes no call without a key that it needs.
				if e, ok := errors.AsType[*provider.Error](a.Err); ok && e.Reason == provider.ReasonCredentials && d.Keys(tc.configured, tc.own) == nil {
					s.notCalled(t)
					continue
				}
				if a.Err != nil {
					t.Fatal(a.Err)
				}
				got, body := s.sent(t)
				s.headers(t, name, got, d.Keys(tc.configured, tc.own))
				for _, key := range [...]string{configuredKey, ownKey} {
					if strings.Contains(got.RequestURI, key) || strings.Contains(string(body), key) {
						t.Errorf("the key of %s is in %s or in %s", name, got.RequestURI, body)
					}
				}
			}
		})
	}
	t.Run("missing", func(t *testing.T) { missingKey(t, d) })
}

// missingKey: if the configured key is empty, no call is made without it.
func missingKey(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: "{env.NO_SUCH_KEY_HERE}"})
	s.both(t, func(t *testing.T, ask asking) {
		err := ask(t.Context(), t, s, d.request(plainBody)).Err
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonCredentials {
			t.Errorf("failed with %v, want it for the credentials", err)
		}
		s.notCalled(t)
	})
}

// asClient returns a context like Caddy's for a client's request, whose headers
// must not reach the provider.
func asClient(ctx context.Context) context.Context {
	client, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/chat?key="+ownKey, nil)
	if err != nil {
		panic(err) // the URL is our own
	}
	client.Header.Set("Authorization", "Bearer clients-own")
	client.Header.Set("Cookie", "session=clients-own")
	client.Header.Set("X-Tenant-Id", "clients-own")
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddyhttp.NewTestReplacer(client))
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, *client)
	return context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{"client_ip": "192.0.2.1"})
}

// headers compares all headers of a call with the expected ones.
func (d *Dialect) headers(t *testing.T, name string, got *http.Request, keys http.Header) {
	t.Helper()
	want := http.Header{"X-Team": teams["X-Team"], "X-Request-Id": {"trace-1"}, "Content-Type": {"application/json"}}
	maps.Copy(want, d.Headers)
	maps.Copy(want, keys)
	rest := got.Header.Clone()
	for name := range want {
		if !reflect.DeepEqual(rest[name], want[name]) {
			t.Errorf("%s: header %s is %q, want %q", name, name, rest[name], want[name])
		}
		rest.Del(name)
	}
	for _, usual := range [...]string{"Accept", "Accept-Encoding", "Content-Length", "User-Agent"} {
		rest.Del(usual)
	}
	if len(rest) > 0 {
		t.Errorf("%s is asked for with the headers %v too", name, rest)
	}
}

// paths checks the paths of calls for all kinds of model names: no character in
// a name may lead elsewhere.
func paths(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	for _, model := range []string{
		d.Model, "../../x", "a/../../b", "a?b=c", "a#b", "a b", "a/b", "a%2fb", "a%2e%2e", "a:b", "a;b", `a\b`, "a\nb", "ü/🌍", "", ".", "..", "a\x00b", "@cf/meta/llama",
	} {
		t.Run(model, func(t *testing.T) {
			s.answerWhole(hi)
			for _, tc := range []struct {
				path string
				ask  asking
			}{{s.Path, completionOf}, {s.StreamPath, streamOf}} {
				req := s.request(plainBody)
				req.Model = model
				a := tc.ask(t.Context(), t, s, req)
				if e, ok := errors.AsType[*provider.Error](a.Err); ok && (e.Reason == provider.ReasonInvalid || e.Reason == provider.ReasonModel) && model != d.Model {
					s.notCalled(t)
					continue
				}
				if a.Err != nil {
					t.Fatal(a.Err)
				}
				got, body := s.sent(t)
				s.path(t, got, body, tc.path, model)
			}
		})
	}
}

func (d *Dialect) path(t *testing.T, got *http.Request, body []byte, path, model string) {
	t.Helper()
	before, after, inPath := strings.Cut(path, "{model}")
	if !inPath {
		if got.RequestURI != path || gjson.GetBytes(body, "model").Str != model {
			t.Errorf("called %s for the model %s, want %s", got.RequestURI, gjson.GetBytes(body, "model").Raw, path)
		}
		return
	}
	rest, ok := strings.CutPrefix(got.RequestURI, before)
	name, also := strings.CutSuffix(rest, after)
	unescaped, err := url.PathUnescape(name)
	if !ok || !also || err != nil || unescaped != model || strings.ContainsAny(name, "/?#") || leadsAway(got.URL) {
		t.Errorf("called %s for the model %q, want %s", got.RequestURI, model, path)
	}
}

// leadsAway says whether a path has segments such as "..", which are not names.
func leadsAway(u *url.URL) bool {
	path := u.EscapedPath()
	return strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") || strings.Contains(path, "//")
}

// isPath says whether a call has the path for a model.
func isPath(req *http.Request, path, model string) bool {
	got, err := url.PathUnescape(req.RequestURI)
	return err == nil && got == strings.ReplaceAll(path, "{model}", model)
}
