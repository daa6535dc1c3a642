package jwt

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// fixed is a key set that does not change.
type fixed KeySet

func (f fixed) Find(_ context.Context, kid string, alg Algorithm) ([]any, error) {
	return KeySet(f).find(kid, alg), nil
}

func allKeys(t testing.TB) fixed {
	return fixed(keySet(t, jwks(
		jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
		jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "any"},
		jose.JSONWebKey{Key: ecKey().Public(), KeyID: "ec"},
		jose.JSONWebKey{Key: edKey().Public(), KeyID: "ed"},
	)))
}

func publicVerifier(t testing.TB) *Verifier {
	return &Verifier{
		Keys: allKeys(t), Algorithms: PublicKeyAlgorithms, Leeway: 30 * time.Second,
		Issuers: []string{"https://other.test/", "https://issuer.test/"}, Audiences: []string{"chat", "spare"},
	}
}

func publicPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := publicVerifier(t)
		good := claims(nil)
		rs := signed(head("RS256", "rsa"), good, rs256)
		parts := strings.Split(rs, ".")
		spki := publicPEM(t, rsaKey().Public())
		jwk := string(must(jose.JSONWebKey{Key: ecKey().Public(), KeyID: "own"}.MarshalJSON()))

		for name, tt := range map[string]struct {
			token string
			ok    bool
		}{
			"RS256":                       {rs, true},
			"PS256 with a key of any use": {signed(head("PS256", "any"), good, ps256), true},
			"ES256":                       {signed(head("ES256", "ec"), good, es256), true},
			"EdDSA":                       {signed(head("EdDSA", "ed"), good, eddsa), true},
			"without a key id":            {signed(`{"alg":"ES256"}`, good, es256), true},

			"none":         {signed(`{"alg":"none"}`, good, func([]byte) []byte { return nil }), false},
			"None":         {signed(`{"alg":"None","kid":"rsa"}`, good, func([]byte) []byte { return nil }), false},
			"no algorithm": {signed(`{"kid":"rsa"}`, good, rs256), false},
			"HS256 with the public key as its secret": {signed(head("HS256", "rsa"), good, hs256(spki)), false},
			"HS256 with the modulus as its secret":    {signed(head("HS256", "rsa"), good, hs256(rsaKey().N.Bytes())), false},
			"HS256 with an empty secret":              {signed(head("HS256", "rsa"), good, hs256(nil)), false},
			"an algorithm that is not the key's":      {signed(head("PS256", "rsa"), good, ps256), false},
			"an algorithm of another kind of key":     {signed(head("ES256", "rsa"), good, es256), false},
			"another key's id":                        {signed(head("RS256", "ec"), good, rs256), false},
			"an unknown key id":                       {signed(head("RS256", "gone"), good, rs256), false},
			"a path as key id":                        {signed(head("HS256", "../../../../dev/null"), good, hs256(nil)), false},
			"a key id that is no string":              {signed(`{"alg":"RS256","kid":7}`, good, rs256), false},
			"a key in the header":                     {signed(`{"alg":"ES256","kid":"own","jwk":`+jwk+`}`, good, es256), false},
			"crit":                                    {signed(`{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}`, good, rs256), false},
			"crit with b64":                           {signed(`{"alg":"RS256","kid":"rsa","crit":["b64"],"b64":true}`, good, rs256), false},
			"b64":                                     {signed(`{"alg":"RS256","kid":"rsa","b64":false}`, good, rs256), false},
			"an algorithm twice":                      {signed(`{"alg":"none","alg":"RS256","kid":"rsa"}`, good, rs256), false},
			"addresses of keys do not count":          {signed(`{"alg":"RS256","kid":"rsa","jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/"}`, good, rs256), true},

			"no signature":           {parts[0] + "." + parts[1] + ".", false},
			"another's signature":    {parts[0] + "." + parts[1] + "." + strings.Split(signed(head("RS256", "rsa"), "{}", rs256), ".")[2], false},
			"another's claims":       {parts[0] + "." + base64URL([]byte(claims(map[string]any{"sub": "bob"}))) + "." + parts[2], false},
			"no claims":              {parts[0] + ".." + parts[2], false},
			"padded base64":          {parts[0] + "=." + parts[1] + "." + parts[2], false},
			"standard base64":        {parts[0] + "." + parts[1] + "." + base64.StdEncoding.EncodeToString([]byte("\xfb\xff\xfe")), false},
			"no base64":              {parts[0] + ".%%%." + parts[2], false},
			"two parts":              {parts[0] + "." + parts[1], false},
			"four parts":             {rs + ".x", false},
			"dots":                   {"..", false},
			"nothing":                {"", false},
			"the JSON form of a JWS": {fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]), false},
			"a header that is null":  {signed("null", good, rs256), false},
			"a header that is text":  {signed("RS256", good, rs256), false},
			"16 KiB and more":        {signed(head("RS256", "rsa"), claims(map[string]any{"x": strings.Repeat("x", 16<<10)}), rs256), false},
			"almost 16 KiB":          {signed(head("RS256", "rsa"), claims(map[string]any{"x": strings.Repeat("x", 11<<10)}), rs256), true},
		} {
			c, err := v.Verify(t.Context(), tt.token)
			if ok := err == nil; ok != tt.ok {
				t.Errorf("%s: %v, want valid %t", name, err, tt.ok)
				continue
			}
			if tt.ok {
				if sub, _, _ := c.String("sub"); sub != "ann" {
					t.Errorf("%s: sub %q", name, sub)
				}
				continue
			}
			if _, told := errors.AsType[*ClaimError](err); told {
				t.Errorf("%s: a client without a valid signature would see %v", name, err)
			}
			if part := parts[1][:20]; strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error quotes the token: %v", name, err)
			}
		}
	})
}

func TestSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long, short := Secret(secret), Secret(secret[:32])
		for name, tt := range map[string]struct {
			secret Secret
			token  string
			ok     bool
		}{
			"HS256":                    {short, signed(head("HS256", "x"), claims(nil), hs256(short)), true},
			"HS512":                    {long, signed(head("HS512", ""), claims(nil), hs512(long)), true},
			"HS512 with a short one":   {short, signed(head("HS512", ""), claims(nil), hs512(short)), false},
			"another secret":           {short, signed(head("HS256", "x"), claims(nil), hs256(long)), false},
			"RS256":                    {short, signed(head("RS256", "x"), claims(nil), rs256), false},
			"none":                     {short, signed(`{"alg":"none"}`, claims(nil), func([]byte) []byte { return nil }), false},
			"HS256 in the name of 512": {long, signed(head("HS512", ""), claims(nil), hs256(long)), false},
		} {
			v := &Verifier{Keys: tt.secret, Algorithms: tt.secret.Algorithms()}
			if _, err := v.Verify(t.Context(), tt.token); (err == nil) != tt.ok {
				t.Errorf("%s: %v, want valid %t", name, err, tt.ok)
			}
		}
		for n, want := range map[int]bool{0: false, 31: false, 32: true, 64: true} {
			if err := Secret(secret[:n]).Check(nil); (err == nil) != want {
				t.Errorf("a secret of %d bytes: %v", n, err)
			}
		}
		if err := short.Check([]Algorithm{jose.HS256, jose.HS512}); err == nil || strings.Contains(err.Error(), string(short)) {
			t.Errorf("a secret too short for HS512: %v", err)
		}
	})
}

func TestClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Unix()
		for name, tt := range map[string]struct {
			change map[string]any
			reason string // "" for a token that is accepted
		}{
			"expired within the leeway": {map[string]any{"exp": now - 29}, ""},
			"expired at the leeway":     {map[string]any{"exp": now - 30}, "has expired"},
			"expired long ago":          {map[string]any{"exp": -1e300}, "has expired"},
			"expiry with a fraction":    {map[string]any{"exp": float64(now) - 29.5}, ""},
			"expiry in a far future":    {map[string]any{"exp": 1e300}, ""},
			"no expiry":                 {map[string]any{"exp": nil}, "no expiry"},
			"expiry as a string":        {map[string]any{"exp": fmt.Sprint(now + 60)}, "exp must be a number"},
			"expiry as a list":          {map[string]any{"exp": []any{now + 60}}, "exp must be a number"},

			"begins within the leeway":  {map[string]any{"nbf": now + 30}, ""},
			"begins after the leeway":   {map[string]any{"nbf": now + 31}, "not valid yet (nbf)"},
			"begins in a far future":    {map[string]any{"nbf": 1e300}, "not valid yet (nbf)"},
			"begins at a string":        {map[string]any{"nbf": "0"}, "nbf must be a number"},
			"issued now":                {map[string]any{"iat": now, "nbf": now}, ""},
			"issued in the future":      {map[string]any{"iat": now + 3600}, "not valid yet (iat)"},
			"issued at a boolean":       {map[string]any{"iat": true}, "iat must be a number"},
			"another issuer of ours":    {map[string]any{"iss": "https://other.test/"}, ""},
			"a foreign issuer":          {map[string]any{"iss": "https://evil.test/"}, "another issuer"},
			"an issuer without a slash": {map[string]any{"iss": "https://issuer.test"}, "another issuer"},
			"no issuer":                 {map[string]any{"iss": nil}, "another issuer"},
			"issuers":                   {map[string]any{"iss": []any{"https://issuer.test/"}}, "another issuer"},

			"an audience in a list":    {map[string]any{"aud": []any{"mail", "spare"}}, ""},
			"a list of others":         {map[string]any{"aud": []any{"mail", 7}}, "another audience"},
			"an empty list":            {map[string]any{"aud": []any{}}, "another audience"},
			"a foreign audience":       {map[string]any{"aud": "mail"}, "another audience"},
			"no audience":              {map[string]any{"aud": nil}, "another audience"},
			"an audience in an object": {map[string]any{"aud": map[string]any{"chat": "chat"}}, "another audience"},
		} {
			_, err := publicVerifier(t).Verify(t.Context(), signed(head("ES256", "ec"), claims(tt.change), es256))
			wantReason(t, name, err, tt.reason)
		}
		for name, payload := range map[string]string{
			"null": "null", "a list": "[]", "text": `"ann"`, "nothing": " ", "two objects": "{}{}",
			"cut off":             `{"sub":"ann"`,
			"a claim twice":       `{"sub":"ann","sub":"bob","exp":9e9}`,
			"a claim twice below": `{"a":{"tenant":"acme","tenant":"globex"},"exp":9e9}`,
			"invalid UTF-8":       "{\"sub\":\"\xff\",\"exp\":9e9}",
			"an endless number":   `{"exp":1e999}`,
		} {
			_, err := publicVerifier(t).Verify(t.Context(), signed(head("ES256", "ec"), payload, es256))
			wantReason(t, name, err, "must be one JSON object")
		}
	})
}

// wantReason checks that a token is accepted, or refused for a reason that its
// owner may know.
func wantReason(t testing.TB, name string, err error, reason string) {
	t.Helper()
	claim, told := errors.AsType[*ClaimError](err)
	switch {
	case reason == "" && err != nil:
		t.Errorf("%s: %v, want it valid", name, err)
	case reason != "" && (!told || !strings.Contains(claim.Reason, reason)):
		t.Errorf("%s: %v, want %q", name, err, reason)
	}
}

func TestClaimPath(t *testing.T) {
	c, err := parseClaims([]byte(`{
		"tenant": "top", "a": {"b": {"c": "deep"}, "b.c": "dotted", "empty": ""}, "a.x": "whole",
		"https://example.com/tenant": "namespaced", "number": 7, "null": null, "list": ["acme"], "object": {}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"tenant": "top", "a.b.c": "dotted", "a.x": "whole", "https://example.com/tenant": "namespaced",
	} {
		if got, ok, err := c.String(name); got != want || !ok || err != nil {
			t.Errorf("%s: %q %t %v, want %q", name, got, ok, err, want)
		}
	}
	for _, name := range []string{"none", "a.none", "tenant.x", "list.0", "a.b.c.d", "", ".", "a.", ".a", "Tenant"} {
		if got, ok, err := c.String(name); ok || err != nil {
			t.Errorf("%s: %q %t %v, want none", name, got, ok, err)
		}
	}
	for _, name := range []string{"number", "null", "list", "object", "a", "a.b", "a.empty"} {
		if got, ok, err := c.String(name); got != "" || !ok || err == nil {
			t.Errorf("%s: %q %t %v, want an error", name, got, ok, err)
		}
	}
}

// FuzzVerify holds whatever comes in as a token to a signature.
func FuzzVerify(f *testing.F) {
	v := publicVerifier(f)
	f.Add(signed(head("RS256", "rsa"), claims(nil), rs256))
	f.Add(signed(`{"alg":"none"}`, claims(nil), func([]byte) []byte { return nil }))
	f.Add(signed(`{"alg":"ES256","jwk":{"kty":"EC"},"x5c":["AAAA"]}`, "{}", es256))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Verify(t.Context(), token)
		if err == nil && c["exp"] == nil {
			t.Errorf("a token without expiry: %v", c)
		}
	})
}

// FuzzClaims holds the claims of any payload to what a verifier promises.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{claims(nil), `{"a":{"b":"c"}}`, "null", `{"exp":1e300,"nbf":-1}`} {
		f.Add([]byte(s), "a.b")
	}
	v := publicVerifier(f)
	f.Fuzz(func(t *testing.T, payload []byte, name string) {
		c, err := parseClaims(payload)
		if err != nil {
			return
		}
		if value, ok, err := c.String(name); (err == nil && ok) != (value != "") {
			t.Errorf("%q: %q %t %v", name, value, ok, err)
		}
		if v.check(c) == nil && (c["iss"] == nil || c["aud"] == nil || c["exp"] == nil) {
			t.Errorf("accepted: %v", c)
		}
	})
}
