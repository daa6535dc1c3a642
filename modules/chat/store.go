package chat

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// StoreModule is what the app asks of a module in the namespace chat.stores.
type StoreModule interface {
	// Location names the place where the data is, such as a directory with
	// its links resolved. Configurations with the same location share one
	// open store.
	Location() (string, error)

	// Fingerprint differs between options that an open store cannot change.
	Fingerprint() string

	// Open opens the store.
	Open(log *zap.Logger) (store.Store, error)
}

// stores are the open ones, by location. Configurations overlap during a
// reload and requests outlive both, so each configuration holds a reference,
// and keeps it for as long as one of its requests has a lease.
var stores = caddy.NewUsagePool()

// pooledStore is an open store with the options it was opened with.
type pooledStore struct {
	store.Store
	fingerprint string
}

// Destruct closes the store when its last holder lets go.
func (p *pooledStore) Destruct() error { return p.Close() }

// storePlace identifies a store. It is worked out once: the links in a path may
// change while the store behind them is open.
type storePlace struct{ location, fingerprint string }

func (a *App) storePlace() (*storePlace, error) {
	if place := a.place.Load(); place != nil {
		return place, nil
	}
	location, err := a.store.Location()
	if err != nil {
		return nil, fmt.Errorf("locating the store: %w", err)
	}
	return &storePlace{location, a.store.Fingerprint()}, nil
}

// storeHold is one reference to an open store in the pool, shared by a
// configuration and its requests.
type storeHold struct {
	store    store.Store
	location string

	// holders are the configuration and its leases. At zero the reference is
	// given back, and the hold cannot be taken again.
	holders atomic.Int64

	endLease func() // made once, so that a lease allocates nothing
}

// take adds a holder, unless the last one has gone.
func (h *storeHold) take() bool {
	for {
		n := h.holders.Load()
		if n == 0 {
			return false
		}
		if h.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (h *storeHold) release() error {
	if h.holders.Add(-1) > 0 {
		return nil
	}
	_, err := stores.Delete(h.location)
	return err
}

// openStore returns a hold with one holder on the store, which it opens if
// need be.
func (a *App) openStore() (*storeHold, error) {
	place, err := a.storePlace()
	if err != nil {
		return nil, err
	}
	val, _, err := stores.LoadOrNew(place.location, func() (caddy.Destructor, error) {
		s, err := a.store.Open(a.log.Named("store"))
		if err != nil {
			return nil, err
		}
		if s.Health() != nil { // the store has logged why
			a.StoreFailed("recover")
		}
		return &pooledStore{s, place.fingerprint}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	pooled := val.(*pooledStore)
	hold := &storeHold{store: pooled.Store, location: place.location}
	hold.holders.Store(1)
	hold.endLease = func() {
		if err := hold.release(); err != nil {
			a.log.Error("closing the store", zap.Error(err))
		}
	}
	if pooled.fingerprint != place.fingerprint {
		return nil, errors.Join(
			fmt.Errorf("the store at %s is open with other options: restart needed", place.location),
			hold.release())
	}
	a.place.CompareAndSwap(nil, place)
	return hold, nil
}

// Lease returns the store for the time of one request. A reload closes no
// store under a lease; release must be called once.
func (a *App) Lease() (s store.Store, release func(), err error) {
	hold := a.hold.Load()
	if hold != nil && hold.take() {
		return hold.store, hold.endLease, nil
	}
	// A request came before Start or after Cleanup.
	hold, err = a.openStore()
	if err != nil {
		a.StoreFailed("open")
		return nil, nil, err
	}
	return hold.store, hold.endLease, nil
}

// StoreHealth returns why the store cannot be relied on, or nil if it can or is
// not open.
func (a *App) StoreHealth() error {
	hold := a.hold.Load()
	if hold == nil || !hold.take() {
		return nil
	}
	defer hold.endLease()
	return hold.store.Health()
}

// StoreFailed counts a failed operation of the store.
func (a *App) StoreFailed(op string) { a.metrics.storeErrors.WithLabelValues(op).Inc() }
