// Package chat is the Caddy app that the chat handlers stand on: it opens the
// store, holds the tenants, and owns the metrics.
package chat

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds what all chat handlers share: the store and the tenants. A
// configuration that says nothing about tenants has one, named default.
type App struct {
	// The store of conversations and counters, a module of the namespace
	// chat.stores. Default: badger, in the folder chat of Caddy's data
	// directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=chat.stores inline_key=module"`

	// The tenants. Two of them with one id, host or key are an error.
	Tenant []*TenantConfig `json:"tenant,omitempty"`

	// Files with one tenant each, as JSON; globs. Each is read again when it
	// changes. A file with a mistake in it is logged, and its tenant stays as it
	// was; a file that is removed takes its tenant along. Default: none.
	Tenants []string `json:"tenants,omitempty"`

	// The fractions of a tenant's budget at which a warning is given: an
	// event, a line in the log and a metric. Each greater than 0 and 1 at most;
	// an empty list warns at none. Default: 0.8 and 1.
	BudgetWarnings []float64 `json:"budget_warnings,omitempty"`

	ctx      caddy.Context
	log      *zap.Logger
	metrics  *metrics
	events   *caddyevents.App
	budgets  *budget.Book
	store    StoreModule
	registry atomic.Pointer[tenant.Registry]
	place    atomic.Pointer[storePlace] // once the store was opened
	hold     atomic.Pointer[storeHold]  // between Start and Cleanup
	files    *tenantFiles               // nil without the tenants option
	watch    *tenantWatch               // between Start and Cleanup
	tracker  *tracker                   // from Provision to Cleanup, and for the requests after that
	replaced bool                       // guarded by the tracker

	gateways     []Gateway // noted while the configuration is provisioned
	sessions     []string  // their paths, noted as well
	warnNames    sync.Once
	warnNoTenant sync.Once
	warned       sync.Map

	// open are the tenants that anyone can enter, by the server that resolves
	// them. Only Provision uses it.
	open map[*caddyhttp.Server][]*tenant.Tenant

	serving atomic.Bool // a request has come
	leaving atomic.Bool // the configuration is about to stop
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision reads the tenants and sets up the store, without opening it.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.open = make(map[*caddyhttp.Server][]*tenant.Tenant)
	a.log = ctx.Logger()
	a.tracker = takeTracker()

	if err := a.provisionStore(ctx); err != nil {
		return err
	}
	if err := a.provisionTenants(); err != nil {
		return err
	}
	if err := a.provisionBudgets(); err != nil {
		return err
	}
	var err error
	a.metrics, err = newMetrics(ctx.GetMetricsRegistry())
	if err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return a.watchForExit(ctx)
}

func (a *App) provisionStore(ctx caddy.Context) error {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"module":"badger"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading the store: %w", err)
	}
	a.store = mod.(StoreModule)
	return nil
}

func (a *App) watchForExit(ctx caddy.Context) error {
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	a.events = events.(*caddyevents.App)
	return a.events.On("stopping", stopWatch{a})
}

// Start opens the store and begins to watch the tenant files.
func (a *App) Start() error {
	hold, err := a.openStore()
	if err != nil {
		return err
	}
	a.hold.Store(hold)
	a.tracker.open(a)
	a.warnNames.Do(a.warnOfNames)
	if a.files != nil {
		a.watch = a.watchFiles()
	}
	return nil
}

// Stop leaves the store open: handlers of this configuration may still be
// serving requests. Cleanup lets go of it.
func (a *App) Stop() error {
	a.tracker.close(a) // its stop has done so, unless a start has failed
	return nil
}

// Cleanup lets go of the store, which closes once no request holds it either.
func (a *App) Cleanup() error {
	a.warnNames.Do(a.warnOfNames) // a validation ends here, without a start
	if a.watch != nil {
		a.watch.stop()
	}
	if a.tracker != nil {
		_, _ = trackers.Delete(trackerKey) // has no error
	}
	hold := a.hold.Swap(nil)
	if hold == nil {
		return nil
	}
	return hold.release()
}

// FromContext returns the app of a configuration, for a handler to keep.
func FromContext(ctx caddy.Context) (*App, error) {
	mod, err := ctx.App("chat")
	if err != nil {
		return nil, fmt.Errorf("getting the chat app: %w", err)
	}
	return mod.(*App), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
