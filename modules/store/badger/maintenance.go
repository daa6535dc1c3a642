package badger

import (
	"errors"
	"time"

	kv "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

const (
	syncEvery    = time.Second
	expireEvery  = 30 * time.Second
	collectEvery = 10 * time.Minute
	sizeEvery    = 5 * time.Second
)

// maintain does the work that no call waits for, until the store is closed.
// Where writes are not synced one by one, it bounds what a power failure can
// lose.
func (d *db) maintain() {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()
	collect := time.NewTicker(collectEvery)
	defer collect.Stop()

	for {
		select {
		case <-d.done:
			return
		case <-tick.C:
			d.room.look()
			if !d.syncWrites {
				d.sync()
			}
		case <-expire.C:
			d.turns.expire()
			d.expireWindows()
			d.dropIdleCounters()
		case <-collect.C:
			d.collect()
		}
	}
}

// sync writes out what was written since the last time, if anything was.
func (d *db) sync() {
	if !d.dirty.Swap(false) {
		return
	}
	if err := d.disk.Sync(); err != nil {
		d.dirty.Store(true)
		d.log.Error("syncing the store to disk", zap.Error(err))
	}
}

// collect gives back the space of large values that were deleted or have
// expired, one file of the value log at a time, until none is worth it.
func (d *db) collect() {
	for d.room.toWrite() == nil { // it moves what is still in use
		select {
		case <-d.done:
			return
		default:
		}
		err := d.disk.RunValueLogGC(0.5)
		if errors.Is(err, kv.ErrNoRewrite) || errors.Is(err, kv.ErrRejected) {
			return
		}
		if err != nil {
			d.log.Warn("collecting garbage of the store, trying again later", zap.Error(err))
			return
		}
	}
}

// Waiting implements store.Store. Nothing waits for an embedded store.
func (d *db) Waiting() int { return 0 }

// Size implements store.Store: the bytes that the files take on the disk,
// which is less than their length, at most five seconds old.
func (d *db) Size() int64 {
	d.sizeMu.Lock()
	defer d.sizeMu.Unlock()
	if time.Since(d.sizeAt) >= sizeEvery {
		d.size, d.sizeAt = usedBytes(d.room.dir), time.Now()
	}
	return d.size
}
