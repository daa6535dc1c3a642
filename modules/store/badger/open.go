package badger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	kv "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// layoutVersion is written into the database's manifest. Badger refuses to
// open a directory with another one, such as another program's.
const layoutVersion = 1

// maxValue is the largest message or cached value that is stored. A value has
// to fit one file of the value log.
const maxValue = 32 << 20

// lockWait is how long Open waits for a closing instance of this process to
// let go of the directory, as happens when a reload removes the last user of
// the store and another one adds it at once.
const lockWait = 10 * time.Second

// db is the open store.
type db struct {
	disk *kv.DB
	room room
	log  *zap.Logger
	now  func() time.Time

	// gate is held for reading by every call, so that Close waits for those
	// that run and Badger never sees one after it was closed.
	gate   sync.RWMutex
	closed bool

	once     sync.Once
	closeErr error
	done     chan struct{} // closed when Close begins: wakes what waits
	upkeep   sync.WaitGroup

	tenants sync.Map // of id to *tenant
	stripes [256]sync.Mutex

	turns   *turns
	limits  *limit.Memory
	windows atomic.Int64 // that slide, in all ledgers

	unsaved    unsaved // counters that are in memory only
	syncWrites bool

	damaged int // files that were found damaged by Open

	dirty  atomic.Bool // written to since the last sync
	sizeMu sync.Mutex
	size   int64
	sizeAt time.Time
}

// tenant is what the process knows of a tenant besides what is on disk.
type tenant struct {
	// erase is held for writing while the tenant is erased: everything else
	// of this tenant then waits, and sees all of it or nothing.
	erase  sync.RWMutex
	ledger ledger
}

// Open opens the database, and creates it if need be. It waits up to ten
// seconds for another instance in this process to close.
func (b *Badger) Open(log *zap.Logger) (store.Store, error) {
	return b.open(log, time.Now, lockWait)
}

func (b *Badger) open(log *zap.Logger, now func() time.Time, wait time.Duration) (*db, error) {
	dir, err := b.Location()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the store's directory: %w", err)
	}
	d := &db{
		room:   room{dir: dir, log: log, space: b.space},
		log:    log,
		now:    now,
		done:   make(chan struct{}),
		limits: limit.NewMemory(limit.MemoryOptions{Now: now}),

		unsaved:    unsaved{wake: make(chan struct{}, 1)},
		syncWrites: b.SyncWrites,
	}
	d.turns = newTurns(now, d.done)
	if d.room.space == nil {
		d.room.space = diskSpace
	}
	if err := d.room.toOpen(); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	opts := b.options(dir, log)
	err = whileLocked(dir, func() error {
		if err := checkVersion(dir); err != nil {
			return err
		}
		if err := inspect(opts); err != nil {
			return err
		}
		if err := writeVersion(dir); err != nil {
			return err
		}
		d.damaged, err = repairLogs(opts, log)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	}
	d.disk, err = openDisk(opts, wait)
	if err != nil {
		return nil, err
	}
	d.room.look()

	if err := d.recover(); err != nil {
		d.disk.Close()
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	}

	d.upkeep.Go(d.maintain)
	d.upkeep.Go(d.commitInGroups)
	d.upkeep.Go(d.limitMapped)
	return d, nil
}

// recover finishes what the last process left behind.
func (d *db) recover() error {
	if err := d.emptyTrash(); err != nil {
		return fmt.Errorf("removing deleted sessions: %w", err)
	}
	if err := d.restoreLimits(); err != nil {
		return fmt.Errorf("restoring rate limits: %w", err)
	}
	if err := d.restoreWindows(); err != nil {
		return fmt.Errorf("restoring token windows: %w", err)
	}
	return nil
}

// options asks for a small database: the defaults are made for hundreds of
// megabytes of memory.
func (b *Badger) options(dir string, log *zap.Logger) kv.Options {
	opts := kv.DefaultOptions(dir).
		WithLogger(logger{log.Sugar()}).
		WithMetricsEnabled(false).
		WithExternalMagic(layoutVersion).
		WithSyncWrites(b.SyncWrites).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(8). // must be above the line before; writers wait from here on
		WithNumCompactors(2).
		// A compaction writes up to five tables at a time, and Badger keeps the
		// memory of eight for the next ones: twice a table's size each, and
		// several times that with compression.
		WithBaseTableSize(2 << 20).
		WithCompression(options.None).
		WithBlockCacheSize(16 << 20).
		WithValueLogFileSize(64 << 20).
		// A transaction may be 15 % of a memtable, 1.2 MiB, to which a value
		// of this size or more counts as a pointer only.
		WithValueThreshold(16 << 10).
		// Every read-modify-write happens under a lock of ours, so that
		// there is no conflict to find.
		WithDetectConflicts(false)
	opts.TableSizeMultiplier = 1 // tables of all levels have one size

	if len(b.key) > 0 {
		// Unencrypted tables keep their index mapped from the file; the cache
		// holds decrypted ones.
		opts = opts.WithEncryptionKey(b.key).WithIndexCacheSize(8 << 20)
	}
	return opts
}

// whileLocked calls fn with the folder locked as Badger locks it, before Badger
// opens it. It does nothing if the folder is in use: by another process, which
// makes opening fail, or by an instance in this one that is about to close.
func whileLocked(dir string, fn func() error) error {
	unlock, ok, err := lockFolder(dir)
	if err != nil || !ok {
		return err
	}
	defer unlock()
	return fn()
}

func openDisk(opts kv.Options, wait time.Duration) (*kv.DB, error) {
	deadline := time.Now().Add(wait)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		disk, err := kv.Open(opts)
		switch {
		case err == nil:
			return disk, nil
		case errors.Is(err, kv.ErrEncryptionKeyMismatch):
			if len(opts.EncryptionKey) == 0 {
				return nil, fmt.Errorf("the store in %s is encrypted: encryption_key is missing", opts.Dir)
			}
			return nil, fmt.Errorf("encryption_key does not fit the store in %s: it was created with another key, or without one", opts.Dir)
		case wasEmpty(err) && time.Now().Before(deadline):
			continue
		case !isLocked(err):
			return nil, fmt.Errorf("opening the store in %s: %w", opts.Dir, err)
		case time.Now().After(deadline):
			return nil, fmt.Errorf("opening the store: another process holds %s", opts.Dir)
		}
		time.Sleep(pause)
	}
}

// isLocked goes by the text because Badger does not wrap the system's error.
func isLocked(err error) bool {
	return strings.Contains(err.Error(), "Another process is using this Badger database")
}

// wasEmpty says that Badger met an empty file, of a memtable or of values, and
// stopped. It empties these before it removes them, and a process may be killed
// in between. It has made a fresh one of it by then, so that it can be opened
// the next time.
func wasEmpty(err error) bool {
	return strings.Contains(err.Error(), "Create a new file")
}

// Close writes out what is in memory only and closes the database.
func (d *db) Close() error {
	d.once.Do(func() {
		close(d.done)
		d.gate.Lock()
		d.closed = true
		d.gate.Unlock()
		d.upkeep.Wait()

		if err := d.room.toClose(); err != nil {
			// Badger would be killed by what it writes at its end. What was
			// acknowledged is in its logs, as after a kill.
			d.closeErr = fmt.Errorf("closing the store without writing out what is in memory: %w", err)
			return
		}
		// The database is closed even if the last writes fail.
		d.closeErr = errors.Join(d.commitCounters(), d.saveLimits(), d.saveWindows(), d.disk.Close())
	})
	return d.closeErr
}

// enter begins a call, which ends with leave unless an error is returned.
func (d *db) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.gate.RLock()
	if d.closed {
		d.gate.RUnlock()
		return store.ErrClosed
	}
	return nil
}

func (d *db) leave() { d.gate.RUnlock() }

func (d *db) isClosing() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func (d *db) tenant(id string) *tenant {
	if t, ok := d.tenants.Load(id); ok {
		return t.(*tenant)
	}
	t, _ := d.tenants.LoadOrStore(id, &tenant{ledger: ledger{tenant: id}})
	return t.(*tenant)
}

// logger hands Badger's messages to zap. What Badger calls information is of
// use to those who look for a fault in it only.
type logger struct{ log *zap.SugaredLogger }

func (l logger) Errorf(f string, args ...any)   { l.log.Errorf(strings.TrimSpace(f), args...) }
func (l logger) Warningf(f string, args ...any) { l.log.Warnf(strings.TrimSpace(f), args...) }
func (l logger) Infof(f string, args ...any)    { l.log.Debugf(strings.TrimSpace(f), args...) }

// Debugf drops the message: Badger puts keys into these, and keys hold the
// names of users.
func (l logger) Debugf(string, ...any) {}

// Interface guards
var (
	_ store.Store = (*db)(nil)
	_ kv.Logger   = logger{}
)
