package jwt

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// maxDocument is the size in bytes beyond which keys are not read.
const maxDocument = 1 << 20

// File is public keys in a file. It is read again when it has changed.
type File struct {
	name   string
	parse  func([]byte) (KeySet, error)
	failed func(error)

	mu   sync.Mutex
	keys KeySet
	seen os.FileInfo // when the file was last read; nil while it is missing
}

// OpenFile reads a file of keys. Where it cannot be read again later, its last
// keys stay and failed is called, once for each change.
func OpenFile(name string, parse func([]byte) (KeySet, error), failed func(error)) (*File, error) {
	f := &File{name: name, parse: parse, failed: failed}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.seen = info
	return f, nil
}

// Find returns the keys of the file as it is now.
func (f *File) Find(_ context.Context, kid string, alg Algorithm) ([]any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.name)
	if !f.changed(info) {
		return f.keys.find(kid, alg), nil
	}
	if err == nil {
		err = f.read()
	}
	f.seen = info
	if err != nil {
		f.failed(err)
	}
	return f.keys.find(kid, alg), nil
}

func (f *File) changed(now os.FileInfo) bool {
	if now == nil || f.seen == nil {
		return now != f.seen
	}
	return !os.SameFile(f.seen, now) || !f.seen.ModTime().Equal(now.ModTime()) || f.seen.Size() != now.Size()
}

func (f *File) read() error {
	file, err := os.Open(f.name)
	if err != nil {
		return err
	}
	defer file.Close()
	doc, err := readDocument(file)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	keys, err := f.parse(doc)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	f.keys = keys
	return nil
}

func readDocument(r io.Reader) ([]byte, error) {
	doc, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(doc) > maxDocument {
		err = fmt.Errorf("larger than %d bytes", maxDocument)
	}
	return doc, err
}

// Interface guards
var (
	_ Keys = (*File)(nil)
	_ Keys = (*Remote)(nil)
	_ Keys = Secret(nil)
)
