package form

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// sound is a form with a file of some bytes.
func sound(size int64) io.Reader {
	begin := strings.TrimSuffix(partFile, file+"\r\n")
	return io.MultiReader(strings.NewReader(partModel+begin), io.LimitReader(zeros{}, size), strings.NewReader("\r\n"+partText+endOfForm))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestSpool reads forms around what is kept in memory, and sends them twice.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, size := range []int64{0, inMemory / 2, inMemory - 500, inMemory, inMemory + 1, 10 * inMemory} {
		f, err := Read(sound(size), "b!", "model")
		if err != nil {
			t.Fatal(err)
		}
		if (f.text.file != nil) != (size >= inMemory) {
			t.Errorf("of %d bytes %d are in memory", size, f.text.mem.Len())
		}
		for range 2 {
			r, n := f.With("upstream")
			body, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			fields := read(t, f.ContentType(), strings.NewReader(string(body)))
			if int64(len(body)) != n || len(fields) != 3 || fields[0].value != "upstream" || int64(len(fields[1].value)) != size || fields[2].value != "two\r\nlines" {
				t.Errorf("of %d bytes %d were sent, want %d", size, len(body), n)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestSpoolMemory counts what a long form takes.
func TestSpoolMemory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := Read(sound(64<<20), "b!", "model")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, _ := f.With("upstream")
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16*inMemory {
		t.Errorf("it took %d bytes", n)
	}
}

func TestSpoolFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()+"/missing")
	if f, err := Read(sound(10), "b!", "model"); err != nil {
		t.Error(err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Read(sound(inMemory), "b!", "model"); !errors.Is(err, ErrSpool) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
