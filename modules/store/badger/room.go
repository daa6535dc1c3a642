package badger

import (
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"
)

// Badger writes into mapped files that have no blocks yet. If the disk has none
// left, the system answers with a signal that kills the process rather than with
// an error. So nothing is written to a disk that is nearly full.
const (
	// What stays free for Badger's own work behind the writes: memtables that
	// become tables, and compactions. An eighth of a small disk is enough,
	// since the store on it is small, too.
	maxReserve = 64 << 20
	minReserve = 24 << 20

	// closeRoom is what Close needs to write out a memtable and the counters.
	closeRoom = 16 << 20

	// openRoom is what Open needs: a new log, and tables for the old ones.
	openRoom = 32 << 20
)

// roomError says how little room a disk has left.
type roomError struct {
	dir        string
	left, want int64
}

func (e *roomError) Error() string {
	return fmt.Sprintf("the disk of %s is nearly full: %d MiB left, want at least %d MiB", e.dir, e.left>>20, e.want>>20)
}

// room is the space that is left on the store's disk.
type room struct {
	dir     string
	log     *zap.Logger
	space   func(dir string) (free, total int64, ok bool)
	noticed atomic.Bool // full at the last look, and logged
}

// toWrite returns a *roomError if there is too little room to write more.
func (r *room) toWrite() error {
	return r.leaves(reserve)
}

// toDelete returns a *roomError if there is too little room to delete. A deletion
// needs some, too, but it is what makes room.
func (r *room) toDelete() error {
	return r.leaves(func(total int64) int64 { return reserve(total) / 2 })
}

// toOpen returns a *roomError if there is too little room to open the store.
func (r *room) toOpen() error { return r.leaves(func(int64) int64 { return openRoom }) }

// toClose returns a *roomError if there is too little room for a clean end.
func (r *room) toClose() error { return r.leaves(func(int64) int64 { return closeRoom }) }

// leaves returns a *roomError if less is left than a disk of this size wants.
func (r *room) leaves(want func(total int64) int64) error {
	free, total, ok := r.space(r.dir)
	if !ok {
		return nil
	}
	if most := want(total); free < most {
		return &roomError{r.dir, free, most}
	}
	return nil
}

func reserve(total int64) int64 { return min(max(total/8, minReserve), maxReserve) }

// Health implements store.Store.
func (d *db) Health() error {
	if err := d.room.toWrite(); err != nil {
		return err
	}
	if d.damaged > 0 {
		return fmt.Errorf("%d damaged files were found when the store was opened: see the log", d.damaged)
	}
	return nil
}

// look logs when the disk has become full, and when there is room again.
func (r *room) look() {
	err := r.toWrite()
	if full := err != nil; r.noticed.Swap(full) == full {
		return
	}
	if err != nil {
		r.log.Error("the store writes nothing until its disk has room", zap.Error(err))
		return
	}
	r.log.Info("the store's disk has room again", zap.String("dir", r.dir))
}
