package harness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Disk is a small disk in memory. It is mounted in a namespace of its own, which
// needs no privileges where the kernel lets users make namespaces.
type Disk struct {
	Dir string // where it is mounted, for processes in its namespace

	t   testing.TB
	cmd *exec.Cmd // keeps the namespace
}

// NewDisk mounts a disk of so many bytes until the test ends.
func NewDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	d := &Disk{Dir: t.TempDir(), t: t}
	const script = `mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec cat`
	d.cmd = exec.Command("unshare", "--user", "--map-root-user", "--mount",
		"sh", "-c", script, "sh", strconv.FormatInt(size, 10), d.Dir)
	d.cmd.Stderr = t.Output()
	stdin, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = d.cmd.Wait()
	})
	if _, err := io.ReadFull(stdout, make([]byte, len("mounted\n"))); err != nil {
		t.Fatalf("mounting a disk in a namespace of its own: %v; run as root, or allow user namespaces", err)
	}
	return d
}

// enter returns the beginning of a command line that runs a command in a directory
// with the disk. nsenter itself would begin at the root.
func (d *Disk) enter(dir string) []string {
	return []string{
		"nsenter", "--preserve-credentials", "--user", "--mount", "--target", strconv.Itoa(d.cmd.Process.Pid),
		"env", "--chdir=" + dir,
	}
}

// path returns the path of a file on the disk, for this process.
func (d *Disk) path(name string) string {
	return fmt.Sprintf("/proc/%d/root%s", d.cmd.Process.Pid, filepath.Join(d.Dir, name))
}

// Fill leaves no room on the disk.
func (d *Disk) Fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.path("filler"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		_, err := f.Write(piece)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			piece = piece[:len(piece)/2]
		case err != nil:
			d.t.Fatal(err)
		}
	}
}

// Empty removes what Fill has written.
func (d *Disk) Empty() {
	d.t.Helper()
	if err := os.Remove(d.path("filler")); err != nil {
		d.t.Fatal(err)
	}
}
