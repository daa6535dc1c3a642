package tenants

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestIssuer(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *harness.Upstream, signer, signer){
		"keys are fetched once, when the first token comes": func(t *testing.T, up *harness.Upstream, old, _ signer) {
			c := startLogin(t, up.Origin()+"/keys")
			if n := up.Count(); n != 0 {
				t.Errorf("%d fetches at the start", n)
			}
			wantEntry(t, c, "first", old.token(nil), "")
			wantEntry(t, c, "second", old.token(map[string]any{"jti": "2"}), "")
			if got := up.Only(); got.Path != "/keys" || got.Header.Get("Authorization") != "" {
				t.Errorf("the issuer was asked %+v", got)
			}
		},
		"a rotated key": func(t *testing.T, up *harness.Upstream, old, next signer) {
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "old", old.token(nil), "")
			up.Plays(serves(t, next))
			wantEntry(t, c, "new", next.token(nil), "")
			wantEntry(t, c, "withdrawn", old.token(nil), "invalid_api_key")
		},
		"unknown keys ask the issuer once": func(t *testing.T, up *harness.Upstream, old, _ signer) {
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "known", old.token(nil), "")
			for _, kid := range []string{"a", "b", "../../etc/passwd", "http://127.0.0.1:1/", strings.Repeat("k", 1000)} {
				stranger := withKey(t, newKey(t), kid)
				wantEntry(t, c, kid, stranger.token(nil), "invalid_api_key")
			}
			wantEntry(t, c, "known", old.token(nil), "")
			if n := up.Count(); n != 2 {
				t.Errorf("%d fetches, want 2", n)
			}
		},
		"another's key under a known id": func(t *testing.T, up *harness.Upstream, old, next signer) {
			c := startLogin(t, up.Origin())
			next.kid = old.kid
			wantEntry(t, c, "forged", next.token(nil), "invalid_api_key")
			wantEntry(t, c, "secret", withSecret(t, keySet(t, old)).token(nil), "invalid_api_key")
		},
		"down at the start": func(t *testing.T, up *harness.Upstream, old, _ signer) {
			up.Down()
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "down", old.token(nil), "invalid_api_key")
			up.Up()
			wantLogin(t, c, old.token(nil), true)
		},
		"down later": func(t *testing.T, up *harness.Upstream, old, next signer) {
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "known", old.token(nil), "")
			up.Down()
			wantEntry(t, c, "unknown", next.token(nil), "invalid_api_key")
			wantEntry(t, c, "known", old.token(nil), "")
		},
		"slow": func(t *testing.T, up *harness.Upstream, old, next signer) {
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "known", old.token(nil), "")
			asked := make(chan struct{})
			up.Plays(harness.Steps(func(*harness.Call) { close(asked) }, harness.Stalls), serves(t, next))
			var wg sync.WaitGroup
			wg.Go(func() {
				resp := harness.Visit(c, http.MethodGet, "/jwks/x", "other.test", bearer(next.token(nil))...)
				resp.Body.Close()
				if resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("the token with the unknown key: %d", resp.StatusCode)
				}
			})
			<-asked
			wantEntry(t, c, "known, while the issuer is silent", old.token(nil), "")
			wg.Wait()
		},
		"many at once": func(t *testing.T, up *harness.Upstream, old, _ signer) {
			c := startLogin(t, up.Origin())
			gate := make(chan struct{})
			up.Plays(harness.Steps(harness.Waits(gate), serves(t, old)))
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { wantEntry(t, c, "at once", old.token(nil), "") })
			}
			harness.Eventually(t, "the issuer is asked", func() bool { return up.Count() > 0 })
			close(gate)
			wg.Wait()
			up.Only()
		},
		"a reload while keys are fetched": func(t *testing.T, up *harness.Upstream, old, _ signer) {
			c := startLogin(t, up.Origin())
			gate := make(chan struct{})
			up.Plays(harness.Steps(harness.Waits(gate), serves(t, old)))
			var wg sync.WaitGroup
			wg.Go(func() { wantEntry(t, c, "begun before", old.token(nil), "") })
			harness.Eventually(t, "the issuer is asked", func() bool { return up.Count() > 0 })
			c.Reload()
			close(gate)
			wg.Wait()
		},
		"a reload while the issuer is down": func(t *testing.T, up *harness.Upstream, old, _ signer) {
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "before", old.token(nil), "")
			up.Down()
			c.Reload()
			c.Reload()
			wantEntry(t, c, "after", old.token(nil), "")
		},
		"a reload that fails": func(t *testing.T, up *harness.Upstream, old, _ signer) {
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "before", old.token(nil), "")
			up.Down()
			config := filepath.Join(c.Dir, "Caddyfile")
			text, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, config, string(text)+"http://broken.test:{$PORT} {\ntenant_resolve unknown\n}\n")
			if out, err := c.Command(t.Context(), "reload", "--config", "Caddyfile", "--address", strings.TrimPrefix(c.Admin, "http://")).CombinedOutput(); err == nil {
				t.Errorf("it loads: %s", out)
			}
			wantEntry(t, c, "after", old.token(nil), "")
			writeFile(t, config, string(text))
			c.Reload()
			wantEntry(t, c, "after another one", old.token(nil), "")
		},
		"garbage": func(t *testing.T, up *harness.Upstream, old, next signer) {
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "known", old.token(nil), "")
			up.Plays(harness.Document(http.StatusOK, "<html>"))
			wantEntry(t, c, "unknown", next.token(nil), "invalid_api_key")
			wantEntry(t, c, "known", old.token(nil), "")
		},
		"10 MB": func(t *testing.T, up *harness.Upstream, old, next signer) {
			c := startLogin(t, up.Origin())
			up.Plays(func(call *harness.Call) {
				_, _ = io.WriteString(call.W, strings.TrimSuffix(keySet(t, next), "}")+`,"x":"`+strings.Repeat("x", 10<<20)+`"}`)
			}, serves(t, old))
			wantEntry(t, c, "too much", next.token(nil), "invalid_api_key")
			wantLogin(t, c, old.token(nil), true)
		},
		"an error with keys": func(t *testing.T, up *harness.Upstream, old, _ signer) {
			up.Plays(harness.Document(http.StatusInternalServerError, keySet(t, old)))
			c := startLogin(t, up.Origin())
			wantEntry(t, c, "refused", old.token(nil), "invalid_api_key")
			harness.Eventually(t, "the log says why", func() bool {
				return strings.Contains(c.Log.String(), "want status 200, not 500")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			old, next := withKey(t, newKey(t), "old"), withKey(t, newKey(t), "new")
			up := harness.NewUpstream(t, serves(t, old))
			test(t, up, old, next)
		})
	}
}

func TestKeyFiles(t *testing.T) {
	old, next := withKey(t, newKey(t), "old"), withKey(t, newKey(t), "new")
	t.Run("a JWKS", func(t *testing.T) {
		file := inDir(t, "keys.json")
		writeFile(t, file, keySet(t, old))
		c := startLogin(t, file)
		wantEntry(t, c, "old", old.token(nil), "")
		wantEntry(t, c, "new", next.token(nil), "invalid_api_key")
		writeFile(t, file, keySet(t, next))
		wantEntry(t, c, "rotated", next.token(nil), "")
		wantEntry(t, c, "withdrawn", old.token(nil), "invalid_api_key")
		writeFile(t, file, keySet(t, next)[:40])
		wantEntry(t, c, "half-written", next.token(nil), "")
		harness.Eventually(t, "the log says why", func() bool { return strings.Contains(c.Log.String(), file) })
	})
	t.Run("a public key", func(t *testing.T) {
		file := inDir(t, "key.pem")
		pem := publicPEM(t, old)
		writeFile(t, file, pem)
		site := strings.Replace(loginSites, "jwks {$JWKS}", "public_key {$JWKS}", 1)
		up := harness.NewUpstream(t, reports)
		c := harness.StartSites(t, tenantOptions, site, append(tenantEnv(up.Origin()), "JWT_SECRET="+jwtSecret, "JWKS="+file)...)
		wantEntry(t, c, "old", old.token(nil), "")
		wantEntry(t, c, "new", next.token(nil), "invalid_api_key")
		wantEntry(t, c, "the public key as a secret", withSecret(t, pem).token(nil), "invalid_api_key")
		writeFile(t, file, publicPEM(t, next))
		wantEntry(t, c, "rotated", next.token(nil), "")
		wantEntry(t, c, "withdrawn", old.token(nil), "invalid_api_key")
	})
}
