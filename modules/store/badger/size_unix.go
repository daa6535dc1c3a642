//go:build linux || darwin || freebsd

package badger

import (
	"io/fs"
	"os"
	"syscall"
)

// usedBytes sums up the blocks of a directory's files. Badger makes its logs
// long before it fills them, so that their length says nothing.
func usedBytes(dir string) int64 {
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var sum int64
	for _, f := range files {
		sum += fileBytes(f)
	}
	return sum
}

func fileBytes(f fs.DirEntry) int64 {
	info, err := f.Info()
	if err != nil {
		return 0 // removed meanwhile
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(st.Blocks) * 512 //nolint:unconvert // its type differs between systems
	}
	return info.Size()
}

// diskSpace returns what this user may still write to a directory's disk, and
// the size of that disk.
func diskSpace(dir string) (free, total int64, ok bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, false
	}
	size := int64(st.Bsize) //nolint:unconvert // its type differs between systems
	return int64(st.Bavail) * size, int64(st.Blocks) * size, true
}
