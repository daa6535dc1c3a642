package tenants

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// jwtSecret is shared with the issuer.
const jwtSecret = "a secret of 32 bytes or more, for the tests"

// newKey returns a key pair of an issuer.
func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signer signs the tokens of an issuer.
type signer struct {
	t   testing.TB
	alg jose.SignatureAlgorithm
	key any
	kid string
}

func withSecret(t testing.TB, secret string) signer {
	return signer{t, jose.HS256, []byte(secret), ""}
}

func withKey(t testing.TB, key *ecdsa.PrivateKey, kid string) signer {
	return signer{t, jose.ES256, key, kid}
}

// token is one for ann of acme, with changes; a nil takes a claim out.
func (s signer) token(changes map[string]any) string {
	s.t.Helper()
	claims := map[string]any{
		"iss": "https://issuer.test/", "aud": "chat", "sub": "ann", "tenant_id": "acme",
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.sign(payload)
}

func (s signer) sign(payload []byte) string {
	s.t.Helper()
	options := new(jose.SignerOptions)
	if s.kid != "" {
		options.WithHeader("kid", s.kid)
	}
	sign, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, options)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := sign.Sign(payload)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// keySet is the JWKS of these signers.
func keySet(t testing.TB, signers ...signer) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, s := range signers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.key.(*ecdsa.PrivateKey).Public(), KeyID: s.kid, Use: "sig"})
	}
	doc, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// serves answers with the JWKS of these signers.
func serves(t testing.TB, signers ...signer) harness.Script {
	return harness.Document(http.StatusOK, keySet(t, signers...))
}

// publicPEM is the public key of a signer as a file holds it.
func publicPEM(t testing.TB, s signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.(*ecdsa.PrivateKey).Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// loginSites has one tenant_resolve with tokens of each kind, by path.
const loginSites = `
	(report) {
		header >X-Source "{chat.tenant.source}"
		reverse_proxy {$UPSTREAM}
	}
	(token) {
		secret {env.JWT_SECRET}
		issuer https://other.test/ https://issuer.test/
		audience chat
		audience spare
	}
	http://:{$PORT} {
		log
		handle /jwt/* {
			tenant_resolve {
				from jwt {
					import token
				}
			}
			import report
		}
		handle /all/* {
			tenant_resolve {
				from header
				from host
				from api_key
				from jwt {
					import token
				}
			}
			import report
		}
		handle /jwt-first/* {
			tenant_resolve {
				from jwt {
					import token
				}
				from header
				user_header X-Login
			}
			import report
		}
		handle /acme/* {
			tenant_resolve acme {
				from jwt {
					import token
				}
			}
			import report
		}
		handle /optional/* {
			tenant_resolve {
				from header
				from jwt {
					import token
				}
				optional
			}
			import report
		}
		handle /own-header/* {
			tenant_resolve {
				from jwt X-Token Authorization {
					import token
				}
			}
			import report
		}
		handle /nested/* {
			route {
				tenant_resolve
				tenant_resolve {
					from jwt {
						import token
					}
				}
				import report
			}
		}
		handle /claims/* {
			tenant_resolve {
				from jwt {
					import token
					tenant_claim https://example.com/org
					user_claim profile.name
					leeway 10m
				}
			}
			import report
		}
		handle /jwks/* {
			tenant_resolve {
				from jwt {
					jwks {$JWKS}
				}
			}
			import report
		}
	}
`

// startLogin runs loginSites with an issuer's JWKS at a URL or in a file.
func startLogin(t testing.TB, jwks string) *harness.Caddy {
	up := harness.NewUpstream(t, reports)
	options := strings.Replace(tenantOptions, "{env.GLOBEX_KEY}", "{env.GLOBEX_KEY} globex.dotted.key", 1)
	return harness.StartSites(t, options, loginSites, append(tenantEnv(up.Origin()), "JWT_SECRET="+jwtSecret, "JWKS="+jwks)...)
}

// bearer is the header of a token or key.
func bearer(credential string) []string { return []string{"Authorization", "Bearer " + credential} }

// wantLogin asks until a token is accepted, or no longer.
func wantLogin(t testing.TB, c *harness.Caddy, token string, accepted bool) {
	t.Helper()
	status := http.StatusUnauthorized
	if accepted {
		status = http.StatusOK
	}
	harness.Eventually(t, "the answer has status "+http.StatusText(status), func() bool {
		resp := harness.Visit(c, http.MethodGet, "/jwks/x", "other.test", bearer(token)...)
		resp.Body.Close()
		return resp.StatusCode == status
	})
}

// wantEntry checks one request with a token under /jwks.
func wantEntry(t testing.TB, c *harness.Caddy, name, token, code string) {
	t.Helper()
	e := entry{name: name, path: "/jwks", header: bearer(token), code: code}
	if code == "" {
		e.tenant, e.source = "acme", "jwt"
		e.left = map[string]string{"X-User-Id": "ann", "Authorization": ""}
	}
	e.check(t, c)
}

// noSecrets checks that the log holds no part of a token.
func noSecrets(t testing.TB, c *harness.Caddy, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		for part := range strings.SplitSeq(token, ".") {
			if len(part) > 20 && strings.Contains(c.Log.String(), part) {
				t.Errorf("the log holds %s of a token", part)
			}
		}
	}
}

func inDir(t testing.TB, name string) string { return filepath.Join(t.TempDir(), name) }
