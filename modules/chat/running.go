package chat

import (
	"context"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// trackers has the one tracker of the process while a configuration has the app.
// Configurations overlap during a reload, and requests outlive theirs: the tenants
// of the next configuration decide whether they may go on.
var trackers = caddy.NewUsagePool()

const trackerKey = "tenants"

// tracker lists the running requests of tenants, and ends those whose tenant goes.
type tracker struct {
	mu       sync.Mutex
	apps     []*App // that have started and not been replaced, the oldest first
	requests map[string]map[*tracked]struct{}
}

// tracked is one request, or its work that outlives it.
type tracked struct {
	app    *App
	tenant string
	keys   []tenant.Digest // any of which let it in; empty without a key
	cancel context.CancelCauseFunc
}

func takeTracker() *tracker {
	val, _, _ := trackers.LoadOrNew(trackerKey, func() (caddy.Destructor, error) {
		return &tracker{requests: make(map[string]map[*tracked]struct{})}, nil
	})
	return val.(*tracker)
}

// Destruct implements caddy.Destructor.
func (*tracker) Destruct() error { return nil }

// open adds an app whose configuration starts.
func (t *tracker) open(a *App) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apps = append(t.apps, a)
}

// close removes an app whose configuration has been replaced, or has failed to
// start. The requests that it still serves are from now on judged by its
// successor. It may be called twice.
func (t *tracker) close(a *App) {
	t.mu.Lock()
	i := slices.Index(t.apps, a)
	if i >= 0 {
		t.apps = slices.Delete(t.apps, i, i+1)
		a.replaced = true
	}
	t.mu.Unlock()
	if i >= 0 && !caddy.Exiting() {
		t.sweep()
	}
}

// current returns the app of the running configuration, or nil.
func (t *tracker) current() *App {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.apps) == 0 {
		return nil
	}
	return t.apps[0]
}

// add adds a request until remove is called. If its tenant has gone in the
// meantime, the request ends at once.
func (t *tracker) add(r *tracked) (remove func()) {
	t.mu.Lock()
	if t.requests[r.tenant] == nil {
		t.requests[r.tenant] = make(map[*tracked]struct{})
	}
	t.requests[r.tenant][r] = struct{}{}
	stays := t.admits(r)
	t.mu.Unlock()
	if !stays {
		r.cancel(apierror.TenantGone())
	}
	return func() { t.remove(r) }
}

func (t *tracker) remove(r *tracked) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.requests[r.tenant], r)
	if len(t.requests[r.tenant]) == 0 {
		delete(t.requests, r.tenant)
	}
}

// admits reports whether a request may go on, by the tenants of its configuration, or
// if that was replaced, by those of the next one.
func (t *tracker) admits(r *tracked) bool {
	judge := r.app
	if judge.replaced {
		if len(t.apps) == 0 {
			return false
		}
		judge = t.apps[0]
	}
	return judge.Tenancy().Admits(r.tenant, r.keys)
}

// sweep ends the requests whose tenant is gone, or has lost the key that let them in.
func (t *tracker) sweep() {
	for id, gone := range t.gone() {
		gone[0].app.log.Info("ending the requests of a tenant that was removed, or has lost the key that let them in",
			zap.String("tenant", id), zap.Int("requests", len(gone)), zap.String("error_code", apierror.TenantGone().Code))
		for _, r := range gone {
			r.cancel(apierror.TenantGone())
		}
	}
}

// gone returns the requests that may not go on, by tenant.
func (t *tracker) gone() map[string][]*tracked {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make(map[string][]*tracked)
	for id, requests := range t.requests {
		for r := range requests {
			if !t.admits(r) {
				list[id] = append(list[id], r)
			}
		}
	}
	return list
}
