package jwt

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestParseJWKS(t *testing.T) {
	good := string(must(jose.JSONWebKey{Key: ecKey().Public(), KeyID: "ec"}.MarshalJSON()))
	private := string(must(jose.JSONWebKey{Key: ecKey(), KeyID: "private"}.MarshalJSON()))
	weak := string(must(jose.JSONWebKey{Key: weakKey().Public(), KeyID: "weak"}.MarshalJSON()))
	encrypting := string(must(jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "enc", Use: "enc"}.MarshalJSON()))
	for name, tt := range map[string]struct {
		doc  string
		keys int // -1 for an error
	}{
		"a key":               {`{"keys":[` + good + `]}`, 1},
		"others are left out": {`{"keys":[` + strings.Join([]string{private, weak, encrypting, good, `{"kty":"oct","k":"AAAA","kid":"ec"}`, `{"kty":"new"}`, `7`, `{}`}, ",") + `]}`, 1},
		"withdrawn keys":      {`{"keys":[]}`, 0},
		"more members":        {`{"keys":[` + good + `],"issuer":"x"}`, 1},
		"only others":         {`{"keys":[` + private + `,` + weak + `]}`, -1},
		"only a secret":       {`{"keys":[{"kty":"oct","k":"AAAA"}]}`, -1},
		"no list":             {`{}`, -1},
		"a list of nothing":   {`{"keys":null}`, -1},
		"a single key":        {good, -1},
		"HTML":                {`<html>`, -1},
		"nothing":             {``, -1},
		"lists twice":         {`{"keys":[],"keys":[` + good + `]}`, -1},
		"cut off":             {`{"keys":[` + good, -1},
	} {
		set, err := ParseJWKS([]byte(tt.doc))
		if (err != nil) != (tt.keys < 0) || err == nil && len(set) != tt.keys {
			t.Errorf("%s: %d keys, %v; want %d", name, len(set), err, tt.keys)
		}
	}
}

func TestParsePEM(t *testing.T) {
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(ecKey()))})
	rsaPEM, ecPEM := publicPEM(t, rsaKey().Public()), publicPEM(t, ecKey().Public())
	for name, tt := range map[string]struct {
		doc  []byte
		keys int
		err  string
	}{
		"RSA":        {rsaPEM, 1, ""},
		"PKCS#1":     {pkcs1, 1, ""},
		"ECDSA":      {ecPEM, 1, ""},
		"Ed25519":    {publicPEM(t, edKey().Public()), 1, ""},
		"two":        {append(rsaPEM, ecPEM...), 2, ""},
		"a weak one": {publicPEM(t, weakKey().Public()), 0, "2048 bits"},
		"private":    {private, 0, "want the public key"},
		"a request":  {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}), 0, "not a CERTIFICATE REQUEST"},
		"broken":     {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), 0, "asn1"},
		"text":       {[]byte("ssh-ed25519 AAAA"), 0, "BEGIN PUBLIC KEY"},
		"nothing":    {nil, 0, "BEGIN PUBLIC KEY"},
	} {
		set, err := ParsePEM(tt.doc)
		if len(set) != tt.keys || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %d keys, %v; want %d, %q", name, len(set), err, tt.keys, tt.err)
		}
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.json")
	write := func(doc []byte) {
		t.Helper()
		if err := os.WriteFile(name+".new", doc, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	failures := 0
	open := func() (*File, error) { return OpenFile(name, ParseJWKS, func(error) { failures++ }) }
	if _, err := open(); err == nil {
		t.Error("a missing file opens")
	}
	write([]byte("garbage"))
	if _, err := open(); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("a broken file: %v", err)
	}
	write(make([]byte, maxDocument+1))
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: %v", err)
	}

	write(jwks(jose.JSONWebKey{Key: ecKey().Public(), KeyID: "old"}))
	f, err := open()
	if err != nil {
		t.Fatal(err)
	}
	has := func(kid string, want bool, wantFailures int) {
		t.Helper()
		for range 2 { // a failure counts once
			if keys, err := f.Find(t.Context(), kid, jose.ES256); err != nil || (len(keys) == 1) != want {
				t.Errorf("%s: %d keys, %v; want %t", kid, len(keys), err, want)
			}
		}
		if failures != wantFailures {
			t.Errorf("%d failures, want %d", failures, wantFailures)
		}
	}
	has("old", true, 0)
	write(jwks(jose.JSONWebKey{Key: ecKey().Public(), KeyID: "new"}))
	has("new", true, 0)
	has("old", false, 0)
	write([]byte("half a fi"))
	has("new", true, 1)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	has("new", true, 2)
	write([]byte(`{"keys":[]}`))
	has("new", false, 2)
}

// FuzzKeys parses what a server may send in place of keys.
func FuzzKeys(f *testing.F) {
	f.Add(jwks(jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa"}, jose.JSONWebKey{Key: edKey().Public()}))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AA","e":""}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, parse := range []func([]byte) (KeySet, error){ParseJWKS, ParsePEM} {
			set, _ := parse(doc)
			for _, k := range set {
				if algorithmsOf(k.key) == nil {
					t.Errorf("a key that no algorithm fits: %T", k.key)
				}
			}
		}
	})
}
