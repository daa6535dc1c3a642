package badger

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	kv "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"go.uber.org/zap"
)

const (
	// maxMapped is how much more of mapped files the process may hold before it
	// gives back the tables.
	maxMapped = 32 << 20

	mappedEvery = 100 * time.Millisecond

	// To list the tables of an encrypted store means to decrypt their indexes.
	mappedEveryEncrypted = time.Second
)

// mapped limits what the process holds of the tables. Badger maps them into
// memory, and reads and compactions touch all of them in time, so that the
// process would seem to need as much memory as the store has data. What is given
// back stays in the system's cache: the next touch costs a microsecond, and no
// read of the disk.
type mapped struct {
	disk *kv.DB
	dir  string
	rest int64 // mapped memory when the tables had been given back
}

// limitMapped runs until the store is closed.
func (d *db) limitMapped() {
	every := mappedEvery
	if len(d.disk.Opts().EncryptionKey) > 0 {
		every = mappedEveryEncrypted
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	m := mapped{disk: d.disk, dir: d.room.dir}
	for failing := false; ; {
		select {
		case <-d.done:
			return
		case <-tick.C:
		}
		err := m.limit()
		if err != nil && !failing {
			d.log.Warn("giving back the memory of mapped tables, trying again", zap.Error(err))
		}
		failing = err != nil
	}
}

// limit gives the tables back if much has come since the last time.
func (m *mapped) limit() error {
	held := residentFiles()
	m.rest = min(m.rest, held)
	if held-m.rest < maxMapped {
		return nil
	}
	err := m.giveBack()
	m.rest = residentFiles()
	return err
}

// giveBack takes the pages of all tables out of the process. A table must not be
// removed meanwhile, since something else could then be mapped at its address.
// An iterator keeps the tables that are in use when it is opened: those listed
// both before and after are among them.
func (m *mapped) giveBack() error {
	before := m.tables()
	return m.disk.View(func(txn *kv.Txn) error {
		it := txn.NewIterator(kv.IteratorOptions{})
		defer it.Close()
		after := m.tables()
		return eachMapping(func(file string, start, end uintptr) error {
			if !before[file] || !after[file] {
				return nil
			}
			_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, start, end-start, syscall.MADV_DONTNEED)
			if errno != 0 {
				return fmt.Errorf("madvise of %s: %w", file, errno)
			}
			return nil
		})
	})
}

// tables returns the names of the tables' files.
func (m *mapped) tables() map[string]bool {
	files := make(map[string]bool)
	for _, t := range m.disk.Tables() {
		files[filepath.Join(m.dir, table.IDToFilename(t.ID))] = true
	}
	return files
}

// eachMapping calls fn for every shared mapping of a file in this process.
func eachMapping(fn func(file string, start, end uintptr) error) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		// 7f0c1c000000-7f0c1c200000 rw-s 00000000 fe:00 1234    /data/000001.sst
		head, file, named := strings.Cut(strings.TrimSuffix(line, "\n"), " /")
		if !named {
			continue
		}
		var start, end uintptr
		var access string
		if _, err := fmt.Sscanf(head, "%x-%x %s", &start, &end, &access); err != nil {
			return fmt.Errorf("reading /proc/self/maps: %w", err)
		}
		if !strings.HasSuffix(access, "s") {
			continue
		}
		if err := fn("/"+file, start, end); err != nil {
			return err
		}
	}
	return nil
}

// residentFiles returns how many bytes of mapped files the process holds; 0 where
// that cannot be known.
func residentFiles() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 3 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
