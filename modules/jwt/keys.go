package jwt

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Keys finds the keys that may have signed a token. It returns none for an
// unknown key.
type Keys interface {
	Find(ctx context.Context, kid string, alg Algorithm) ([]any, error)
}

// Algorithm is a signature algorithm by its name in RFC 7518.
type Algorithm = jose.SignatureAlgorithm

// PublicKeyAlgorithms are those of key pairs. Those of shared secrets are not
// among them: a public key must never count as a secret.
var PublicKeyAlgorithms = []Algorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// SecretAlgorithms are those of shared secrets.
var SecretAlgorithms = []Algorithm{jose.HS256, jose.HS384, jose.HS512}

// secretSizes is how many bytes a secret must have, by RFC 7518, section 3.2.
var secretSizes = map[Algorithm]int{jose.HS256: 32, jose.HS384: 48, jose.HS512: 64}

// minRSABits is what RFC 7518, section 3.3, asks for.
const minRSABits = 2048

// Secret is a secret that the issuer shares with us.
type Secret []byte

// Find returns the secret, which has no id.
func (s Secret) Find(_ context.Context, _ string, alg Algorithm) ([]any, error) {
	if !slices.Contains(SecretAlgorithms, alg) {
		return nil, nil
	}
	return []any{[]byte(s)}, nil
}

// Algorithms returns those that the secret is long enough for.
func (s Secret) Algorithms() []Algorithm {
	var list []Algorithm
	for _, alg := range SecretAlgorithms {
		if len(s) >= secretSizes[alg] {
			list = append(list, alg)
		}
	}
	return list
}

// Check returns an error where the secret is too short for one of these
// algorithms, or for any.
func (s Secret) Check(algorithms []Algorithm) error {
	want := secretSizes[jose.HS256]
	for _, alg := range algorithms {
		want = max(want, secretSizes[alg])
	}
	if len(s) < want {
		return fmt.Errorf("want at least %d bytes, not %d: openssl rand -hex %d makes one", want, len(s), want)
	}
	return nil
}

// KeySet is a set of public keys.
type KeySet []publicKey

type publicKey struct {
	id  string // empty for a key of any id
	alg string // empty for all that fit the key
	key any
}

// find returns the keys that may have signed a token. A token without an id may
// be signed by any key.
func (s KeySet) find(kid string, alg Algorithm) []any {
	var list []any
	for _, k := range s {
		if k.fits(kid, alg) {
			list = append(list, k.key)
		}
	}
	return list
}

func (k publicKey) fits(kid string, alg Algorithm) bool {
	if kid != "" && k.id != "" && kid != k.id {
		return false
	}
	if k.alg != "" && k.alg != string(alg) {
		return false
	}
	return slices.Contains(algorithmsOf(k.key), alg)
}

// algorithmsOf returns what a public key can check, nil for a key that is too
// weak or of another kind.
func algorithmsOf(key any) []Algorithm {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return nil
		}
		return []Algorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []Algorithm{jose.ES256}
		case elliptic.P384():
			return []Algorithm{jose.ES384}
		case elliptic.P521():
			return []Algorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []Algorithm{jose.EdDSA}
	}
	return nil
}

// ParseJWKS parses a JSON Web Key Set. Keys that are not public, not for
// signatures or not understood are left out, as RFC 7517, section 5, asks. An
// empty set is valid: the issuer has withdrawn its keys.
func ParseJWKS(doc []byte) (KeySet, error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(doc, &set); err != nil || set.Keys == nil {
		return nil, errors.New(`want a JSON object with a list "keys"`)
	}
	var list KeySet
	for _, raw := range set.Keys {
		if k, ok := parseJWK(raw); ok {
			list = append(list, k)
		}
	}
	if len(list) == 0 && len(set.Keys) > 0 {
		return nil, errors.New("none of the keys is a public key for signatures (RSA of 2048 bits or more, ECDSA or Ed25519)")
	}
	return list, nil
}

func parseJWK(raw jsontext.Value) (publicKey, bool) {
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil || !k.Valid() || !k.IsPublic() {
		return publicKey{}, false
	}
	if k.Use != "" && k.Use != "sig" || algorithmsOf(k.Key) == nil {
		return publicKey{}, false
	}
	return publicKey{id: k.KeyID, alg: k.Algorithm, key: k.Key}, true
}

// ParsePEM parses public keys and certificates, one or several.
func ParsePEM(doc []byte) (KeySet, error) {
	var list KeySet
	for {
		block, rest := pem.Decode(doc)
		if block == nil {
			break
		}
		key, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		if algorithmsOf(key) == nil {
			return nil, errors.New("want an RSA key of 2048 bits or more, an ECDSA key (P-256, P-384, P-521) or an Ed25519 key")
		}
		list = append(list, publicKey{key: key})
		doc = rest
	}
	if len(list) == 0 {
		return nil, errors.New("want a public key in PEM, which begins with -----BEGIN PUBLIC KEY-----")
	}
	return list, nil
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, errors.New("want the public key: the private one belongs to the issuer alone")
	}
	return nil, fmt.Errorf("want a PUBLIC KEY, not a %s", block.Type)
}
