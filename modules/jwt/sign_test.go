package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The tests sign by hand, so that they can also sign what no library would.

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

var weakKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 1024)) })

var ecKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })

var edKey = sync.OnceValue(func() ed25519.PrivateKey { return must2(ed25519.GenerateKey(rand.Reader)) })

var secret = []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func must2[S, T any](_ S, v T, err error) T { return must(v, err) }

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signed returns a token with this header and payload, whatever they are.
func signed(header, payload string, sign func([]byte) []byte) string {
	input := base64URL([]byte(header)) + "." + base64URL([]byte(payload))
	return input + "." + base64URL(sign([]byte(input)))
}

func withHMAC(key []byte, newHash func() hash.Hash) func([]byte) []byte {
	return func(input []byte) []byte {
		mac := hmac.New(newHash, key)
		mac.Write(input)
		return mac.Sum(nil)
	}
}

func hs256(key []byte) func([]byte) []byte { return withHMAC(key, sha256.New) }

func rs256(input []byte) []byte {
	sum := sha256.Sum256(input)
	return must(rsa.SignPKCS1v15(rand.Reader, rsaKey(), crypto.SHA256, sum[:]))
}

func ps256(input []byte) []byte {
	sum := sha256.Sum256(input)
	return must(rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, sum[:], nil))
}

func es256(input []byte) []byte {
	sum := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(rand.Reader, ecKey(), sum[:])
	if err != nil {
		panic(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func eddsa(input []byte) []byte { return ed25519.Sign(edKey(), input) }

func hs512(key []byte) func([]byte) []byte { return withHMAC(key, sha512.New) }

// head is a header with an algorithm and a key id.
func head(alg, kid string) string { return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, kid) }

// claims returns good ones, with changes; a nil takes one out.
func claims(changes map[string]any) string {
	c := map[string]any{
		"iss": "https://issuer.test/", "aud": "chat", "sub": "ann", "tenant_id": "acme",
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return string(must(json.Marshal(c)))
}

// jwks is a key set of these public keys.
func jwks(keys ...jose.JSONWebKey) []byte {
	return must(json.Marshal(jose.JSONWebKeySet{Keys: keys}))
}

func keySet(t testing.TB, doc []byte) KeySet {
	t.Helper()
	set, err := ParseJWKS(doc)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
