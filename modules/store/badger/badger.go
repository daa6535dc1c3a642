// Package badger keeps the chat's data in an embedded Badger database: the
// default store, which needs no server beside Caddy. One process owns the
// directory; what only that process can know (running turns, holds of a
// budget, rate-limit windows) is kept in memory.
package badger

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Badger{})
}

// Badger is a store in a directory of this machine. Nothing is created and
// nothing is opened before Open, so that a configuration can be validated
// beside a running server.
type Badger struct {
	// The directory of the database. It is created when the store is opened,
	// for the process's own user only. Default: the folder "chat" in Caddy's
	// data directory.
	Path string `json:"path,omitempty"`

	// The key that encrypts everything on disk: 16, 24 or 32 bytes (AES-128,
	// AES-192, AES-256), given as hex or base64. Placeholders such as
	// {env.CHAT_STORE_KEY} are replaced once, when the configuration is
	// loaded. A store keeps the key it was created with. Default: none, not
	// encrypted.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// Whether every write is on the disk before it is acknowledged. Without
	// it, a killed process may lose what budgets counted in its last 100 ms
	// and nothing else, and a power failure about the last second of all
	// writes. Default: false.
	SyncWrites bool `json:"sync_writes,omitempty"`

	dir string
	key []byte

	// space is diskSpace; a test may set another one.
	space func(dir string) (free, total int64, ok bool)
}

// CaddyModule returns the Caddy module information.
func (Badger) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.stores.badger",
		New: func() caddy.Module { return new(Badger) },
	}
}

// Provision replaces placeholders and checks the key. It does not touch the
// directory.
func (b *Badger) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()

	b.dir = filepath.Join(caddy.AppDataDir(), "chat")
	if b.Path != "" {
		dir, err := repl.ReplaceOrErr(b.Path, true, true)
		if err != nil {
			return fmt.Errorf("path: %w", err)
		}
		b.dir = dir
	}

	if b.EncryptionKey == "" {
		return nil
	}
	text, err := repl.ReplaceOrErr(b.EncryptionKey, true, true)
	if err != nil {
		return fmt.Errorf("encryption_key: %w", err)
	}
	b.key, err = parseKey(text)
	if err != nil {
		return fmt.Errorf("encryption_key: %w", err)
	}
	return nil
}

// parseKey never puts the text into its error: it is a secret even when it
// is not a valid one.
func parseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)

	// 32 characters can be the hex of 16 bytes or the base64 of 24. Hex comes
	// first: that base64 happens to use hex digits only does not occur.
	decoders := []func(string) ([]byte, error){
		hex.DecodeString,
		base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	}
	for _, decode := range decoders {
		key, err := decode(text)
		if err != nil {
			continue
		}
		switch len(key) {
		case 16, 24, 32:
			return key, nil
		}
	}
	return nil, errors.New("want 16, 24 or 32 bytes as hex or base64, such as the output of: openssl rand -hex 32")
}

// Location returns the absolute directory with its symbolic links resolved,
// so that two spellings of one directory are the same store. It creates
// nothing: parts of the path that do not exist yet stay as they are written.
func (b *Badger) Location() (string, error) {
	dir, err := filepath.Abs(b.dir)
	if err != nil {
		return "", fmt.Errorf("locating the store: %w", err)
	}

	// The deepest parent that exists may be behind a link.
	rest := ""
	for parent := dir; ; parent = filepath.Dir(parent) {
		resolved, err := filepath.EvalSymlinks(parent)
		if err == nil {
			return filepath.Join(resolved, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || parent == filepath.Dir(parent) {
			return "", fmt.Errorf("locating the store: %w", err)
		}
		rest = filepath.Join(filepath.Base(parent), rest)
	}
}

// Fingerprint tells two configurations of one directory apart. It holds
// nothing that reveals the key.
func (b *Badger) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "chat.stores.badger sync=%t key=", b.SyncWrites)
	h.Write(b.key)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Interface guards
var (
	_ caddy.Module      = (*Badger)(nil)
	_ caddy.Provisioner = (*Badger)(nil)
)
