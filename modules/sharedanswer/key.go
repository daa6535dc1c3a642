package sharedanswer

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// HeaderKey is the header with the key under which a client repeats a request.
const HeaderKey = "Idempotency-Key"

// KeyLasts is for how long a repeated key gets the first answer.
const KeyLasts = 24 * time.Hour

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

// ByClientKey is how the answer to a request with a key is found again: under
// its user and its path, by whoever sends the parts of it that count.
func ByClientKey(rec *record.Record, path, key string, parts ...string) Recall {
	return Recall{
		Key:   KeyOf("idempotent", rec.User, path, key),
		Keep:  KeyLasts,
		Sum:   sumOf(parts),
		Keyed: true,
	}
}

// KeyOf makes a key of parts, none of which can be mistaken for another.
func KeyOf(kind string, parts ...string) string {
	sum := sumOf(parts)
	return kind + ":" + hex.EncodeToString(sum[:])
}

func sumOf(parts []string) (sum [32]byte) {
	all := sha256.New()
	for _, p := range parts {
		part := sha256.Sum256([]byte(p))
		all.Write(part[:])
	}
	all.Sum(sum[:0])
	return sum
}
