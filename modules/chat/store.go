package chat

import (
	"errors"
	"fmt"

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

	// Fingerprint tells options apart that an open store cannot change.
	Fingerprint() string

	// Open opens the store.
	Open(log *zap.Logger) (store.Store, error)
}

// stores are the open ones, by location. Configurations overlap during a
// reload and requests outlive both, so each of them holds a reference.
var stores = caddy.NewUsagePool()

// pooledStore is an open store with the options it was opened with.
type pooledStore struct {
	store.Store
	fingerprint string
}

// Destruct closes the store when nobody holds it any more.
func (p *pooledStore) Destruct() error { return p.Close() }

// storeHold is one reference to an open store.
type storeHold struct {
	*pooledStore
	location string
}

func (h *storeHold) release() error {
	_, err := stores.Delete(h.location)
	return err
}

// openStore returns a reference to the store, which it opens if need be.
func (a *App) openStore() (*storeHold, error) {
	location, err := a.store.Location()
	if err != nil {
		return nil, fmt.Errorf("locating the store: %w", err)
	}
	val, _, err := stores.LoadOrNew(location, func() (caddy.Destructor, error) {
		s, err := a.store.Open(a.log.Named("store"))
		if err != nil {
			return nil, err
		}
		return &pooledStore{s, a.store.Fingerprint()}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	hold := &storeHold{val.(*pooledStore), location}
	if hold.fingerprint != a.store.Fingerprint() {
		return nil, errors.Join(
			fmt.Errorf("the store at %s is open with other options: restart needed", location),
			hold.release())
	}
	return hold, nil
}

// Lease returns the store for the time of one request. A reload closes no
// store under a lease; release must be called once.
func (a *App) Lease() (s store.Store, release func(), err error) {
	hold, err := a.openStore()
	if err != nil {
		a.StoreFailed("open")
		return nil, nil, err
	}
	return hold.Store, func() {
		if err := hold.release(); err != nil {
			a.log.Error("closing the store", zap.Error(err))
		}
	}, nil
}

// StoreFailed counts a failed operation of the store.
func (a *App) StoreFailed(op string) { a.metrics.storeErrors.WithLabelValues(op).Inc() }
