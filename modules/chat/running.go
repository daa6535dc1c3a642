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

// rolls has the one roll of the process while a configuration has the app.
// Configurations overlap during a reload, and requests outlive theirs: the tenants
// of the next configuration decide whether they may go on.
var rolls = caddy.NewUsagePool()

const rollKey = "tenants"

// roll lists the running requests of tenants, and ends those whose tenant goes.
type roll struct {
	mu     sync.Mutex
	apps   []*App // that have started and not been replaced, the oldest first
	visits map[string]map[*visit]struct{}
}

// visit is one request, or its work that outlives it.
type visit struct {
	app    *App
	tenant string
	keys   []tenant.Digest // any of which let it in; empty without a key
	cancel context.CancelCauseFunc
}

func takeRoll() *roll {
	val, _, _ := rolls.LoadOrNew(rollKey, func() (caddy.Destructor, error) {
		return &roll{visits: make(map[string]map[*visit]struct{})}, nil
	})
	return val.(*roll)
}

// Destruct implements caddy.Destructor.
func (*roll) Destruct() error { return nil }

// open adds an app whose configuration starts.
func (l *roll) open(a *App) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apps = append(l.apps, a)
}

// close removes an app whose configuration has been replaced, or has failed to
// start. The requests that it still serves are from now on judged by its
// successor. It may be called twice.
func (l *roll) close(a *App) {
	l.mu.Lock()
	i := slices.Index(l.apps, a)
	if i >= 0 {
		l.apps = slices.Delete(l.apps, i, i+1)
		a.replaced = true
	}
	l.mu.Unlock()
	if i >= 0 && !caddy.Exiting() {
		l.sweep()
	}
}

// current returns the app of the running configuration, or nil.
func (l *roll) current() *App {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.apps) == 0 {
		return nil
	}
	return l.apps[0]
}

// enter adds a visit until leave is called. If its tenant has gone in the
// meantime, the visit ends at once.
func (l *roll) enter(v *visit) (leave func()) {
	l.mu.Lock()
	if l.visits[v.tenant] == nil {
		l.visits[v.tenant] = make(map[*visit]struct{})
	}
	l.visits[v.tenant][v] = struct{}{}
	stays := l.admits(v)
	l.mu.Unlock()
	if !stays {
		v.cancel(apierror.TenantGone())
	}
	return func() { l.leave(v) }
}

func (l *roll) leave(v *visit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.visits[v.tenant], v)
	if len(l.visits[v.tenant]) == 0 {
		delete(l.visits, v.tenant)
	}
}

// admits reports whether a visit may go on, by the tenants of its configuration, or
// if that was replaced, by those of the next one.
func (l *roll) admits(v *visit) bool {
	judge := v.app
	if judge.replaced {
		if len(l.apps) == 0 {
			return false
		}
		judge = l.apps[0]
	}
	return judge.Tenancy().Admits(v.tenant, v.keys)
}

// sweep ends the visits whose tenant is gone, or has lost the key that let them in.
func (l *roll) sweep() {
	for id, gone := range l.gone() {
		gone[0].app.log.Info("ending the requests of a tenant that was removed, or has lost the key that let them in",
			zap.String("tenant", id), zap.Int("requests", len(gone)), zap.String("error_code", apierror.TenantGone().Code))
		for _, v := range gone {
			v.cancel(apierror.TenantGone())
		}
	}
}

// gone returns the visits that may not go on, by tenant.
func (l *roll) gone() map[string][]*visit {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make(map[string][]*visit)
	for id, visits := range l.visits {
		for v := range visits {
			if !l.admits(v) {
				list[id] = append(list[id], v)
			}
		}
	}
	return list
}
