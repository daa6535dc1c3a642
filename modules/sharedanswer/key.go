package sharedanswer

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// HeaderKey is the header with the key under which a client repeats a request.
const HeaderKey = "Idempotency-Key"

const maxKey = 255 // characters

// ClientKey reads the key of a request, empty where it has none.
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

// KeyOf makes a key of parts, none of which can be mistaken for another.
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
