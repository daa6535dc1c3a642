package badger

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	kv "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// residentTables returns how many bytes of a folder's tables are mapped and in
// memory.
func residentTables(t *testing.T, dir string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	sum, in := 0, false
	for line := range strings.Lines(string(maps)) {
		name, _, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(name, ":") { // a mapping, whose figures follow
			in = strings.Contains(line, dir) && strings.HasSuffix(line, ".sst\n")
			continue
		}
		if !in || name != "Rss:" {
			continue
		}
		var kib int
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &kib); err != nil {
			t.Fatal(err)
		}
		sum += kib << 10
	}
	return sum
}

// openTables returns a database with tables of about 10 MB, and its entries.
// Nothing else works on it.
func openTables(t *testing.T, b Badger) (*kv.DB, map[string]string) {
	t.Helper()
	b.Path = t.TempDir()
	p := provisioned(t, b)
	open := func() *kv.DB {
		disk, err := kv.Open(p.options(p.dir, quiet(t)))
		if err != nil {
			t.Fatal(err)
		}
		return disk
	}
	disk := open()
	entries := make(map[string]string)
	for n := range 1000 {
		key := fmt.Sprintf("entry %d", n)
		entries[key] = randomText(10_000)
		if err := disk.Update(func(txn *kv.Txn) error { return txn.Set([]byte(key), []byte(entries[key])) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Close(); err != nil { // which makes a table of what is in memory
		t.Fatal(err)
	}
	disk = open()
	t.Cleanup(func() { disk.Close() })
	if err := disk.Flatten(1); err != nil { // so that no compaction touches them
		t.Fatal(err)
	}
	return disk, entries
}

func checkEntry(t *testing.T, disk *kv.DB, key, want string) {
	t.Helper()
	err := disk.View(func(txn *kv.Txn) error {
		item, err := txn.Get([]byte(key))
		if err != nil {
			return err
		}
		return item.Value(func(got []byte) error {
			if string(got) != want {
				t.Errorf("%s: read %d bytes, want %d", key, len(got), len(want))
			}
			return nil
		})
	})
	if err != nil {
		t.Errorf("%s: %v", key, err)
	}
}

func randomText(size int) string {
	text := make([]byte, size)
	for i := range text {
		text[i] = byte('a' + rand.IntN(26))
	}
	return string(text)
}

func appendText(t *testing.T, d *db, id, text string) {
	t.Helper()
	m := &store.Message{ID: "m", Role: "user", Content: text, Time: time.Now(), Status: store.StatusComplete}
	key := store.SessionKey{User: "anna", ID: id}
	if err := d.Append(t.Context(), "acme", key, store.AppendOptions{Create: true, MaxMessages: 1}, m); err != nil {
		t.Fatal(err)
	}
}

func checkText(t *testing.T, d *db, id, want string) {
	t.Helper()
	msgs, _, err := d.History(t.Context(), "acme", store.SessionKey{User: "anna", ID: id}, store.Range{Limit: 1})
	if err != nil || len(msgs) != 1 || msgs[0].Content != want {
		t.Errorf("%s: %d messages, %v", id, len(msgs), err)
	}
}

func TestMappedTables(t *testing.T) {
	for name, b := range map[string]Badger{
		"plain":     {},
		"encrypted": {EncryptionKey: strings.Repeat("0f", 16)},
	} {
		t.Run(name, func(t *testing.T) {
			disk, entries := openTables(t, b)
			dir := disk.Opts().Dir
			readAll := func() {
				for key, value := range entries {
					checkEntry(t, disk, key, value)
				}
			}
			readAll()
			before := residentTables(t, dir)
			if before < 5<<20 {
				t.Fatalf("%d bytes of the tables are in memory, want most of 10 MB", before)
			}

			m := mapped{disk: disk, dir: dir, rest: residentFiles()}
			if err := m.limit(); err != nil {
				t.Fatal(err)
			}
			if after := residentTables(t, dir); after < before/2 {
				t.Errorf("%d of %d bytes are left where nothing had come", after, before)
			}
			// a table that a compaction replaces meanwhile is left for the next time
			after := before
			for end := time.Now().Add(time.Minute); after > before/10; after = residentTables(t, dir) {
				if time.Now().After(end) {
					t.Fatalf("%d of %d bytes are still in memory", after, before)
				}
				m.rest = residentFiles() - maxMapped
				if err := m.limit(); err != nil {
					t.Fatal(err)
				}
			}
			readAll()
		})
	}
}

// Tables come and go while their memory is given back.
func TestMappedTablesUnderLoad(t *testing.T) {
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	done := make(chan struct{})
	var giving, working sync.WaitGroup
	giving.Go(func() {
		m := mapped{disk: d.disk, dir: d.room.dir}
		for {
			if err := m.giveBack(); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	var last [4]map[string]string
	for worker := range last {
		last[worker] = make(map[string]string)
		working.Go(func() {
			for n := range 1000 {
				id := fmt.Sprintf("session %d of worker %d", n%50, worker)
				text := randomText(10_000)
				appendText(t, d, id, text)
				checkText(t, d, id, text)
				last[worker][id] = text
			}
		})
	}
	working.Wait()
	if err := d.disk.Flatten(2); err != nil {
		t.Error(err)
	}
	close(done)
	giving.Wait()
	for _, texts := range last {
		for id, text := range texts {
			checkText(t, d, id, text)
		}
	}
}

// Earlier versions compressed their tables, and made some of them larger.
func TestTablesOfEarlierVersions(t *testing.T) {
	b := provisioned(t, Badger{Path: t.TempDir()})
	opts := b.options(b.dir, quiet(t)).WithCompression(options.Snappy)
	opts.TableSizeMultiplier = 2
	disk, err := kv.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("some words ", 1000)
	err = disk.Update(func(txn *kv.Txn) error { return txn.Set([]byte("~key"), []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // as they were, and compacted
		d := openAt(t, Badger{Path: b.dir}, time.Now)
		checkEntry(t, d.disk, "~key", value)
		if err := d.disk.Flatten(1); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
