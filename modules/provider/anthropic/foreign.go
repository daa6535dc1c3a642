package anthropic

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"github.com/tidwall/gjson"
)

// maxForeign is how many pieces of thinking are remembered that the server has refused.
const maxForeign = 4096

// foreignThinking remembers the thinking that the server refuses, the newest of it, so that
// later turns of the same conversations go without it at once.
type foreignThinking struct {
	mu      sync.RWMutex
	digests map[string]bool
	order   []string // the oldest first
}

func digestOf(b gjson.Result) string {
	sum := sha256.Sum256([]byte(b.Get("signature").Str + b.Get("data").Str))
	return hex.EncodeToString(sum[:8])
}

// add remembers a block of thinking, and returns its digest.
func (f *foreignThinking) add(b gjson.Result) string {
	digest := digestOf(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.digests[digest] {
		return digest
	}
	if f.digests == nil {
		f.digests = make(map[string]bool)
	}
	if len(f.order) == maxForeign {
		delete(f.digests, f.order[0])
		f.order = f.order[1:]
	}
	f.digests[digest] = true
	f.order = append(f.order, digest)
	return digest
}

// isEmpty reports whether nothing was refused yet, as with most servers.
func (f *foreignThinking) isEmpty() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.digests) == 0
}

// has reports whether the server has refused a block of thinking.
func (f *foreignThinking) has(b gjson.Result) bool {
	digest := digestOf(b)
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.digests[digest]
}
