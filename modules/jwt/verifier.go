// Package jwt checks JSON Web Tokens: the signature, the times, the issuer and
// the audience. It knows nothing of tenants or Caddy.
package jwt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxToken is the size in bytes beyond which a token is not parsed.
const maxToken = 16 << 10

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	// Keys are what signatures are checked with.
	Keys Keys

	// Algorithms are the only ones that a token may be signed with.
	Algorithms []Algorithm

	// Issuers are the only ones whose tokens count; empty for any.
	Issuers []string

	// Audiences are whom a token may be meant for, one of them at least; empty
	// for anyone.
	Audiences []string

	// Leeway is how far the issuer's clock may differ from ours.
	Leeway time.Duration
}

// Looks reports whether a credential has the form of a signed token: three
// parts. It may still be anything else.
func Looks(credential string) bool { return strings.Count(credential, ".") == 2 }

// Why a token is refused before its signature is known to be valid. The texts
// hold nothing of the token.
var (
	errForm       = errors.New("the credential is not a signed token in three parts")
	errTooLarge   = fmt.Errorf("the token is larger than %d bytes", maxToken)
	errMalformed  = errors.New("the token is malformed")
	errAlgorithm  = errors.New("the token's algorithm is not allowed")
	errCritical   = errors.New("the token has the header crit or b64, which is not supported")
	errUnknownKey = errors.New("no known key fits the token's key id and algorithm")
	errSignature  = errors.New("the token's signature is not from the key that it names")
)

// ClaimError is a claim for which a token is refused. The token's signature is
// valid, so its owner may know why.
type ClaimError struct {
	Reason string // a sentence for people
}

func (e *ClaimError) Error() string { return e.Reason }

func claimErrorf(format string, args ...any) error {
	return &ClaimError{fmt.Sprintf(format, args...)}
}

// Verify checks a token and returns its claims.
func (v *Verifier) Verify(ctx context.Context, token string) (Claims, error) {
	signed, err := v.parse(token)
	if err != nil {
		return nil, err
	}
	header := signed.Signatures[0].Protected
	keys, err := v.Keys.Find(ctx, header.KeyID, Algorithm(header.Algorithm))
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errUnknownKey
	}
	payload, err := checkSignature(signed, keys)
	if err != nil {
		return nil, err
	}
	claims, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	return claims, v.check(claims)
}

func (v *Verifier) parse(token string) (*jose.JSONWebSignature, error) {
	if !Looks(token) {
		return nil, errForm
	}
	if len(token) > maxToken {
		return nil, errTooLarge
	}
	signed, err := jose.ParseSignedCompact(token, v.Algorithms)
	if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, errAlgorithm
	}
	if err != nil {
		return nil, errMalformed // its own text may quote the token
	}
	// RFC 7797 forbids an unencoded payload in a JWT, and we know no other
	// extension that a token could declare critical.
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, ok := signed.Signatures[0].Protected.ExtraHeaders[name]; ok {
			return nil, errCritical
		}
	}
	return signed, nil
}

func checkSignature(signed *jose.JSONWebSignature, keys []any) ([]byte, error) {
	for _, key := range keys {
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errSignature
}

// check holds the claims to what is expected of them.
func (v *Verifier) check(c Claims) error {
	if err := c.checkTimes(time.Now(), v.Leeway); err != nil {
		return err
	}
	if len(v.Issuers) > 0 {
		issuer, _ := c["iss"].(string)
		if !slices.Contains(v.Issuers, issuer) {
			return claimErrorf("The token comes from another issuer (iss)")
		}
	}
	if len(v.Audiences) > 0 && !slices.ContainsFunc(c.audiences(), func(aud string) bool { return slices.Contains(v.Audiences, aud) }) {
		return claimErrorf("The token is meant for another audience (aud)")
	}
	return nil
}
