package sharedanswer

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// HeaderKey is the request header with the idempotency key.
const HeaderKey = "Idempotency-Key"

const maxKey = 255 // characters

// ClientKey returns the request's idempotency key, or an empty string without
// one. Errors are *apierror.Error.
func ClientKey(header http.Header) (string, error) {
	values := header.Values(HeaderKey)
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", apierror.InvalidRequest(HeaderKey, "want this header once")
	}
	key := values[0]
	invisible := func(r rune) bool { return r <= ' ' || r > '~' }
	if key == "" || len(key) > maxKey || strings.ContainsFunc(key, invisible) {
		return "", apierror.InvalidRequest(HeaderKey, "want 1 to 255 visible ASCII characters")
	}
	return key, nil
}

// KeyOf returns a key for these parts. Each part is hashed by itself, so that
// other parts with the same concatenation have another key.
func KeyOf(kind string, parts ...string) string {
	sum := sumOf(parts)
	return kind + ":" + hex.EncodeToString(sum[:])
}

func sumOf[S ~string | ~[]byte](parts []S) (sum [32]byte) {
	all := sha256.New()
	for _, p := range parts {
		part := sha256.Sum256([]byte(p))
		all.Write(part[:])
	}
	all.Sum(sum[:0])
	return sum
}
