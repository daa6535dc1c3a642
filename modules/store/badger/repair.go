package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	kv "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// damagedSuffix is appended to the name of a damaged file that is kept.
const damagedSuffix = ".damaged"

// repairLogs makes what stands behind a damaged part of a write-ahead log
// readable again: Badger itself drops it without a word. Of a damaged file a copy
// is kept. It returns how many files were damaged.
//
// Only a process that was killed leaves such logs, so after a clean stop there is
// nothing to read.
func repairLogs(opts kv.Options, log *zap.Logger) (damaged int, err error) {
	files, err := filepath.Glob(filepath.Join(opts.Dir, "*.mem"))
	if err != nil || len(files) == 0 {
		return 0, err
	}
	keys, err := dataKeys(opts)
	if err != nil {
		return 0, nil // Badger will say why
	}
	for _, file := range files {
		was, err := repairLog(file, keys, log)
		if err != nil {
			return damaged, fmt.Errorf("repairing %s: %w", file, err)
		}
		if was {
			damaged++
		}
	}
	return damaged, nil
}

// dataKeys returns the keys of an encrypted store; nil of one that is not.
func dataKeys(opts kv.Options) (*kv.KeyRegistry, error) {
	if len(opts.EncryptionKey) == 0 {
		return nil, nil
	}
	return kv.OpenKeyRegistry(kv.KeyRegistryOptions{Dir: opts.Dir, ReadOnly: true, EncryptionKey: opts.EncryptionKey})
}

// repairLog repairs one log, and reports whether it was damaged.
func repairLog(file string, keys *kv.KeyRegistry, log *zap.Logger) (damaged bool, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || len(data) <= walHeader {
		return false, nil // Badger makes an empty one anew
	}
	if err != nil {
		return false, err
	}
	w := &wal{data: data}
	if id := binary.BigEndian.Uint64(data); id != 0 {
		if keys == nil {
			return false, nil // Badger will say that the key is missing
		}
		k, err := keys.DataKey(id)
		if err != nil {
			return false, nil //nolint:nilerr // Badger will say so
		}
		w.key = k.Data
	}

	gaps := w.gaps()
	if n := len(gaps); n > 0 && gaps[n-1].to == w.used() {
		last := gaps[n-1]
		if n == 1 && w.torn(last) {
			return false, nil // never acknowledged
		}
		gaps = gaps[:n-1] // Badger drops what is at the end
		log.Error("a log of the store is damaged at its end: messages that were acknowledged may be lost",
			zap.String("file", file), zap.Int("from", last.from), zap.Int("bytes", last.to-last.from),
			zap.String("kept_as", file+damagedSuffix))
		damaged = true
	}
	for _, g := range gaps {
		log.Error("a log of the store is damaged: messages that were acknowledged are lost; those behind the damage are kept",
			zap.String("file", file), zap.Int("from", g.from), zap.Int("bytes", g.to-g.from),
			zap.String("kept_as", file+damagedSuffix))
		damaged = true
	}
	if !damaged {
		return false, nil
	}
	if err := os.WriteFile(file+damagedSuffix, data, 0o600); err != nil { //nolint:gosec // a file of the store's own folder
		return true, fmt.Errorf("keeping the damaged file: %w", err)
	}
	for i, g := range gaps {
		if err := w.cover(g); err != nil {
			log.Error("what is behind the damage cannot be kept", zap.String("file", file), zap.Int("from", g.to), zap.Error(err))
			gaps = gaps[:i]
			break
		}
	}
	return true, rewrite(file, gaps, w.data)
}

// rewrite writes the repaired parts of a file. It is cut off in the middle at
// worst: then the next start finds the rest of the damage.
func rewrite(file string, gaps []gap, data []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, g := range gaps {
		if _, err := f.WriteAt(data[g.from:g.to], int64(g.from)); err != nil {
			return err
		}
	}
	return f.Sync()
}
