//go:build !linux

package badger

// limitMapped does nothing: how to do it is known on Linux only.
func (d *db) limitMapped() {}
