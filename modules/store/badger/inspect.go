package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	kv "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/dgraph-io/ristretto/v2/z"
)

// damageError says that a file cannot be read, so that the store must not be
// opened: Badger would remove what it does not know, or panic.
type damageError struct {
	file string
	err  error
}

func (e *damageError) Error() string {
	return fmt.Sprintf("%s is damaged (%v): restore the folder from a backup, or move it away to begin with an empty store", e.file, e.err)
}

func (e *damageError) Unwrap() error { return e.err }

// inspect checks the list of tables and the tables themselves. It reads the index
// of each table, and no data.
func inspect(opts kv.Options) error {
	tables, err := filepath.Glob(filepath.Join(opts.Dir, "*.sst"))
	if err != nil {
		return err
	}
	list, err := readManifest(opts, tables)
	if err != nil || len(list) == 0 {
		return err
	}
	keys, err := dataKeys(opts)
	if err != nil {
		return nil //nolint:nilerr // Badger will say why
	}
	indexes, err := ristretto.NewCache(&ristretto.Config[uint64, *fb.TableIndex]{NumCounters: 100, MaxCost: 1 << 20, BufferItems: 64})
	if err != nil {
		return fmt.Errorf("checking the tables: %w", err)
	}
	defer indexes.Close()
	for id, t := range list {
		var key *pb.DataKey
		switch {
		case t.KeyID != 0 && keys == nil:
			return nil // Badger will say that the key is missing
		case keys != nil:
			if key, err = keys.DataKey(t.KeyID); err != nil {
				return nil //nolint:nilerr // Badger will say so
			}
		}
		file := table.NewFilename(id, opts.Dir)
		if err := inspectTable(file, table.Options{
			ReadOnly: true, BlockSize: opts.BlockSize, Compression: t.Compression, DataKey: key, IndexCache: indexes,
		}); err != nil {
			return &damageError{file, err}
		}
	}
	return nil
}

// readManifest returns the tables that the manifest lists. It returns an error if
// there are others, unless a process that was killed may have left them.
func readManifest(opts kv.Options, tables []string) (map[uint64]kv.TableManifest, error) {
	file := filepath.Join(opts.Dir, kv.ManifestFilename)
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		if len(tables) > 0 {
			return nil, &damageError{file, fmt.Errorf("it is missing beside %d tables", len(tables))}
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the list of tables: %w", err)
	}
	defer f.Close()
	m, end, err := kv.ReplayManifestFile(f, opts.ExternalMagicVersion, opts)
	if err != nil && strings.Contains(err.Error(), "external magic number") { // it has no error value
		return nil, errors.New("the folder holds another program's database: use another one")
	}
	if err != nil {
		return nil, &damageError{file, err}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the list of tables: %w", err)
	}
	logs, err := filepath.Glob(filepath.Join(opts.Dir, "*.mem"))
	if err != nil {
		return nil, err
	}
	// a process that was killed leaves logs, and may leave a table unlisted
	if whole := end == info.Size(); whole && len(logs) > 0 {
		return m.Tables, nil
	}
	for _, t := range tables {
		id, ok := table.ParseFileID(t)
		if _, listed := m.Tables[id]; ok && !listed {
			return nil, &damageError{file, fmt.Errorf("it ends at byte %d and does not list %s", end, filepath.Base(t))}
		}
	}
	return m.Tables, nil
}

// inspectTable opens a table as Badger does, which panics if it is damaged.
func inspectTable(file string, opts table.Options) (err error) {
	m, err := z.OpenMmapFile(file, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if recover() != nil {
			err = errors.New("its index cannot be read")
		}
		_ = m.Close(-1)
	}()
	_, err = table.OpenTable(m, opts)
	return err
}
