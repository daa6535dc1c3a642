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
	maxMapped = 16 << 20

	// mappedEvery is how long a compaction may fill memory unnoticed, or longer
	// by what it costs to give the tables back: a few microseconds each, many
	// more if the index has to be decrypted.
	mappedEvery             = 100 * time.Millisecond
	mappedPerTable          = 100 * time.Microsecond
	mappedPerEncryptedTable = time.Millisecond
)

// mapped limits what the process holds of the tables. Badger maps them into
// memory, and reads and compactions touch all of them in time, so that the
// process would seem to need as much memory as the store has data. What is given
// back stays in the system's cache: the next touch costs a microsecond, and no
// read of the disk.
type mapped struct {
	disk *kv.DB
	dir  string
	rest int64         // mapped memory when the tables had been given back
	wait time.Duration // until the next look
}

// limitMapped runs until the store is closed.
func (d *db) limitMapped() {
	m := mapped{disk: d.disk, dir: d.room.dir, wait: mappedEvery}
	timer := time.NewTimer(m.wait)
	defer timer.Stop()
	for failing := false; ; {
		select {
		case <-d.done:
			return
		case <-timer.C:
		}
		err := m.limit()
		if err != nil && !failing {
			d.log.Warn("giving back the memory of mapped tables, trying again", zap.Error(err))
		}
		failing = err != nil
		timer.Reset(m.wait)
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
	m.wait = max(mappedEvery, time.Duration(len(before))*m.perTable())
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

func (m *mapped) perTable() time.Duration {
	if len(m.disk.Opts().EncryptionKey) > 0 {
		return mappedPerEncryptedTable
	}
	return mappedPerTable
}

// tables returns the names of the tables' files.
func (m *mapped) tables() map[string]bool {
	files := make(map[string]bool)
	for _, t := range m.disk.Tables() {
		files[filepath.Join(m.dir, table.IDToFilename(t.ID))] = true
	}
	return files
}

// eachMapping calls fn for every file that this process has mapped to write to.
func eachMapping(fn func(file string, start, end uintptr) error) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		// 7f0c1c000000-7f0c1c200000 rw-s 00000000 fe:00 1234    /data/000001.sst
		head, file, named := strings.Cut(strings.TrimSuffix(line, "\n"), " /")
		from, rest, _ := strings.Cut(head, "-")
		to, access, _ := strings.Cut(rest, " ")
		if !named || !strings.HasPrefix(access, "rw-s") {
			continue
		}
		start, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return fmt.Errorf("reading /proc/self/maps: %w", err)
		}
		end, err := strconv.ParseUint(to, 16, 64)
		if err != nil {
			return fmt.Errorf("reading /proc/self/maps: %w", err)
		}
		if err := fn("/"+file, uintptr(start), uintptr(end)); err != nil {
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
