package badger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// TestDamagedFiles opens folders in which Badger would remove what its list of
// tables does not name, or panic.
func TestDamagedFiles(t *testing.T) {
	for _, key := range []string{"", testKey} {
		for _, name := range []string{"MANIFEST", "000001.sst"} {
			for how, damage := range map[string]func(file string, data []byte) error{
				"cut":   func(file string, data []byte) error { return os.WriteFile(file, data[:len(data)/2], 0o600) },
				"empty": func(file string, _ []byte) error { return os.WriteFile(file, nil, 0o600) },
				"gone":  func(file string, _ []byte) error { return os.Remove(file) },
			} {
				t.Run(fmt.Sprintf("%s %s %t", name, how, key != ""), func(t *testing.T) {
					b := Badger{Path: t.TempDir(), EncryptionKey: key}
					d := openAt(t, b, time.Now)
					for i := range 20 {
						must(t, d.Append(context.Background(), "acme", numbered(i), store.AppendOptions{Create: true}, message("hello")))
					}
					must(t, d.Close())
					file := filepath.Join(b.Path, name)
					whole, err := os.ReadFile(file)
					must(t, err)
					must(t, damage(file, whole))

					_, err = provisioned(t, b).open(quiet(t), time.Now, 0)
					if _, ok := errors.AsType[*damageError](err); !ok || !strings.Contains(err.Error(), name+" is damaged") {
						t.Fatalf("error is %v", err)
					}
					must(t, os.WriteFile(file, whole, 0o600)) // from a backup
					d = openAt(t, b, time.Now)
					for i := range 20 {
						if _, _, err := d.History(context.Background(), "acme", numbered(i), store.Range{Limit: 1}); err != nil {
							t.Errorf("session %d: %v", i, err)
						}
					}
				})
			}
		}
	}
}

func TestFormatVersion(t *testing.T) {
	open := func(t *testing.T, dir string) error {
		d, err := provisioned(t, Badger{Path: dir}).open(quiet(t), time.Now, 0)
		if err == nil {
			err = d.Close()
		}
		return err
	}
	file := func(dir string) string { return filepath.Join(dir, versionFile) }
	for _, test := range []struct{ name, content, want string }{
		{"a newer version", "3\n", "this store was written by a newer version (format 3, this one knows up to 2): use that one or another folder"},
		{"not a number", "two", `says "two": want the number of a version`},
		{"empty", "", "want the number of a version"},
		{"negative", "-1", "want the number of a version"},
		{"huge", strings.Repeat("9", 100), "want the number of a version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, open(t, dir))
			before, err := os.ReadDir(dir)
			must(t, err)
			must(t, os.WriteFile(file(dir), []byte(test.content), 0o600))
			if err := open(t, dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error is %v, want %q", err, test.want)
			}
			after, err := os.ReadDir(dir)
			must(t, err)
			if len(before) != len(after) {
				t.Errorf("the folder was changed: %v, before %v", after, before)
			}
		})
	}
	t.Run("an older one without a file is read", func(t *testing.T) {
		dir := t.TempDir()
		must(t, open(t, dir))
		must(t, os.Remove(file(dir)))
		must(t, open(t, dir))
		if text, err := os.ReadFile(file(dir)); err != nil || string(text) != "2\n" {
			t.Errorf("the file says %q, %v", text, err)
		}
	})
	t.Run("another program's database", func(t *testing.T) {
		dir := t.TempDir()
		other, err := kv.Open(kv.DefaultOptions(dir).WithLogger(nil))
		must(t, err)
		must(t, other.Close())
		if err := open(t, dir); err == nil || !strings.Contains(err.Error(), "another program's database") {
			t.Fatalf("error is %v", err)
		}
		if _, err := os.Stat(file(dir)); err == nil {
			t.Error("the folder was changed")
		}
	})
}
