package tenant

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// Digest is the SHA-256 of an API key, the only form in which keys are kept and
// compared.
type Digest [sha256.Size]byte

// digestPrefix marks a key that is configured by its digest.
const digestPrefix = "sha256:"

// DigestOf returns the digest of a key as a client sends it.
func DigestOf(key string) Digest { return sha256.Sum256([]byte(key)) }

// ParseDigest parses a configured key: "sha256:<64 hex digits>", or the key
// itself, which should then come from the environment. Its errors never quote
// the key.
func ParseDigest(s string) (Digest, error) {
	if s == "" {
		return Digest{}, errors.New("key is empty")
	}
	text, ok := strings.CutPrefix(s, digestPrefix)
	if !ok {
		return DigestOf(s), nil
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != sha256.Size {
		return Digest{}, errors.New("want sha256: and 64 hex digits")
	}
	return Digest(b), nil
}

// IsDigest reports whether a configured key is given by its digest, and not itself.
func IsDigest(s string) bool { return strings.HasPrefix(s, digestPrefix) }

func (d Digest) String() string { return hex.EncodeToString(d[:]) }
