package badger

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// killedStore returns a folder as a killed process leaves it, with sessions of one
// message each.
func killedStore(t *testing.T, b Badger, sessions int) (dir, log string) {
	t.Helper()
	b.Path = t.TempDir()
	d := openAt(t, b, time.Now)
	for i := range sessions {
		must(t, d.Append(context.Background(), "acme", numbered(i), store.AppendOptions{Create: true}, message(fmt.Sprint("message ", i))))
	}
	dir = filepath.Join(t.TempDir(), "killed")
	must(t, os.CopyFS(dir, os.DirFS(b.Path)))
	must(t, d.Close())
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	must(t, err)
	if len(logs) != 1 {
		t.Fatalf("logs: %v, want one", logs)
	}
	return dir, logs[0]
}

func numbered(i int) store.SessionKey {
	return store.SessionKey{User: "anna", ID: fmt.Sprintf("7b0d1e3c-2f3a-4c5d-8e9f-%012d", i)}
}

// reopened opens a folder and returns which sessions it has, and what was logged
// as an error.
func reopened(t *testing.T, b Badger, dir string, sessions int) (found []int, logged []string) {
	t.Helper()
	b.Path = dir
	core, logs := observer.New(zap.ErrorLevel)
	d, err := provisioned(t, b).open(zap.New(core), time.Now, lockWait)
	must(t, err)
	for i := range sessions {
		msgs, _, err := d.History(context.Background(), "acme", numbered(i), store.Range{Limit: 10})
		if err == nil && len(msgs) == 1 && msgs[0].Content == fmt.Sprint("message ", i) {
			found = append(found, i)
		}
	}
	if damaged := d.Health() != nil; damaged != (logs.Len() > 0) {
		t.Errorf("health is %v, %d errors were logged", d.Health(), logs.Len())
	}
	// what is there can be changed, and read by the next process
	must(t, d.Append(context.Background(), "acme", numbered(sessions), store.AppendOptions{Create: true}, message("new")))
	must(t, d.Close())
	d = openAt(t, b, time.Now)
	for _, i := range append(found, sessions) {
		if _, _, err := d.History(context.Background(), "acme", numbered(i), store.Range{Limit: 10}); err != nil {
			t.Errorf("session %d after another start: %v", i, err)
		}
	}
	must(t, d.Close())
	for _, e := range logs.All() {
		logged = append(logged, e.Message)
	}
	return found, logged
}

func TestDamagedLog(t *testing.T) {
	const sessions = 40
	for name, b := range map[string]Badger{"plain": {}, "encrypted": {EncryptionKey: testKey}} {
		t.Run(name, func(t *testing.T) {
			t.Run("whole", func(t *testing.T) {
				dir, _ := killedStore(t, b, sessions)
				found, logged := reopened(t, b, dir, sessions)
				if len(found) != sessions || len(logged) > 0 {
					t.Errorf("found %v, logged %q", found, logged)
				}
			})
			t.Run("64 bytes in the middle", func(t *testing.T) {
				dir, log := killedStore(t, b, sessions)
				data, err := os.ReadFile(log)
				must(t, err)
				used := len(bytes.TrimRight(data, "\x00"))
				for i := range 64 {
					data[used/2+i] ^= 0xa5
				}
				must(t, os.WriteFile(log, data, 0o600))

				found, logged := reopened(t, b, dir, sessions)
				if lost := sessions - len(found); lost < 1 || lost > 3 {
					t.Errorf("%d sessions lost, found %v", lost, found)
				}
				if !slices.Contains(found, 0) || !slices.Contains(found, sessions-1) {
					t.Errorf("found %v, want what is before and behind the damage", found)
				}
				if len(logged) != 1 || !strings.Contains(logged[0], "damaged") {
					t.Errorf("logged %q", logged)
				}
				kept, err := os.ReadFile(log + damagedSuffix)
				if must(t, err); !bytes.Equal(kept, data) {
					t.Error("the damaged file was not kept as it was")
				}
			})
			t.Run("cut short", func(t *testing.T) {
				dir, log := killedStore(t, b, sessions)
				data, err := os.ReadFile(log)
				must(t, err)
				used := len(bytes.TrimRight(data, "\x00"))
				must(t, os.WriteFile(log, data[:used/2+7], 0o600))

				found, logged := reopened(t, b, dir, sessions)
				if len(found) == 0 || len(found) == sessions || found[len(found)-1] != len(found)-1 {
					t.Errorf("found %v, want what is before the cut", found)
				}
				if len(logged) != 1 || !strings.Contains(logged[0], "damaged at its end") {
					t.Errorf("logged %q", logged)
				}
			})
		})
	}
}

// TestTornLog has a process that was killed between two entries of a transaction,
// which was not acknowledged.
func TestTornLog(t *testing.T) {
	dir, log := killedStore(t, Badger{}, 3)
	data, err := os.ReadFile(log)
	must(t, err)
	w := wal{data: data}
	last := 0
	for at := walHeader; at < w.used(); {
		e, err := w.entry(at)
		must(t, err)
		last, at = e.from, e.to
	}
	clear(data[last:])
	must(t, os.WriteFile(log, data, 0o600))
	found, logged := reopened(t, Badger{}, dir, 3)
	if !slices.Equal(found, []int{0, 1}) || len(logged) > 0 {
		t.Errorf("found %v, logged %q", found, logged)
	}
}

// TestDamageAnywhere damages a log at random. The store opens, loses nothing
// before the damage, and the sessions behind it are found.
func TestDamageAnywhere(t *testing.T) {
	const sessions = 12
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 15 {
		dir, log := killedStore(t, Badger{}, sessions)
		data, err := os.ReadFile(log)
		must(t, err)
		used := len(bytes.TrimRight(data, "\x00"))
		from := walHeader + rnd.IntN(used-walHeader)
		n := rnd.IntN(200)
		before := wholeBefore(&wal{data: data}, from)
		for i := from; i < min(from+n, used); i++ {
			data[i] = byte(rnd.Uint32())
		}
		must(t, os.WriteFile(log, data, 0o600))
		found, _ := reopened(t, Badger{}, dir, sessions)
		for i := range before {
			if !slices.Contains(found, i) {
				t.Errorf("session %d stood before the damage at %d: found %v", i, from, found)
			}
		}
		if from+n < used-400 && !slices.Contains(found, sessions-1) {
			t.Errorf("the last session stood behind the damage at %d: found %v", from, found)
		}
	}
}

// FuzzGaps covers the gaps of any log. Afterwards all of it can be read, but for
// what is at its end.
func FuzzGaps(f *testing.F) {
	whole := &wal{data: make([]byte, walHeader+200)}
	for _, g := range []gap{{20, 60}, {60, 100}, {100, 220}} {
		if err := whole.cover(g); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(whole.data, uint16(70), []byte("damage"))
	f.Add(whole.data, uint16(20), bytes.Repeat([]byte{0x40, 0, 9, 9}, 10))
	f.Add([]byte("not a log at all, but long enough for one"), uint16(3), []byte{})
	f.Fuzz(func(t *testing.T, data []byte, at uint16, damage []byte) {
		if len(data) <= walHeader {
			return
		}
		w := &wal{data: bytes.Clone(data)}
		copy(w.data[int(at)%len(data):], damage)
		end := w.used()
		covered := walHeader
		for _, g := range w.gaps() {
			if g.from < covered || g.to <= g.from || g.to > end {
				t.Fatalf("gap %v behind %d in a log of %d bytes", g, covered, end)
			}
			if covered = g.to; g.to == end {
				break
			}
			if err := w.cover(g); err != nil && g.to-g.from >= 18 {
				t.Fatalf("gap %v: %v", g, err)
			} else if err != nil {
				return
			}
		}
		for _, g := range w.gaps() {
			if g.to != w.used() {
				t.Fatalf("gap %v is left", g)
			}
		}
	})
}

// wholeBefore counts the transactions that end at an offset at the latest.
func wholeBefore(w *wal, offset int) (n int) {
	for at := walHeader; ; n++ {
		end, err := w.unit(at)
		if err != nil || end > offset {
			return n
		}
		at = end
	}
}

// TestCover fills gaps of every size with an entry that Badger can read.
func TestCover(t *testing.T) {
	for _, key := range [][]byte{nil, []byte("0123456789abcdef")} {
		for size := 18; size < 20_000; size++ {
			if size > 600 && size%97 != 0 && (size < 16_300 || size > 16_500) {
				continue
			}
			w := &wal{data: make([]byte, walHeader+size+30), key: key}
			g := gap{walHeader, walHeader + size}
			if err := w.cover(g); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if end, err := w.unit(g.from); err != nil || end != g.to {
				t.Fatalf("%d bytes: an entry to %d, %v", size, end-g.from, err)
			}
		}
	}
}
