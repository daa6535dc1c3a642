//go:build linux || darwin || freebsd

package badger

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFolder locks a folder as Badger does. ok is false if it is locked already.
func lockFolder(dir string) (unlock func(), ok bool, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, false, fmt.Errorf("locking the folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { _ = f.Close() }, true, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("locking the folder: %w", err)
}
