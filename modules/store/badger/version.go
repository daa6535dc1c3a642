package badger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// formatVersion is the version of what the store writes. It is kept in
// versionFile beside the database, so that an older program refuses a store that
// it would misread. See docs/upgrading.md for what changed in each.
const formatVersion = 2

const versionFile = "FORMAT"

// checkVersion compares the version of a folder with ours. Version 1 had no file,
// and is read as it is.
func checkVersion(dir string) error {
	file := filepath.Join(dir, versionFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the version of the store: %w", err)
	}
	version, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	switch {
	case err != nil || version < 1:
		return fmt.Errorf("%s says %.20q: want the number of a version, such as %d", file, text, formatVersion)
	case version > formatVersion:
		return fmt.Errorf("this store was written by a newer version (format %d, this one knows up to %d): use that one or another folder", version, formatVersion)
	}
	return nil
}

// writeVersion writes our version, unless it is there. It replaces the file as a
// whole.
func writeVersion(dir string) error {
	file, ours := filepath.Join(dir, versionFile), fmt.Appendln(nil, formatVersion)
	if text, err := os.ReadFile(file); err == nil && bytes.Equal(text, ours) {
		return nil
	}
	next := file + ".new"
	if err := os.WriteFile(next, ours, 0o600); err != nil {
		return fmt.Errorf("writing the version of the store: %w", err)
	}
	if err := os.Rename(next, file); err != nil {
		return fmt.Errorf("writing the version of the store: %w", err)
	}
	return nil
}
