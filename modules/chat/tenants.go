package chat

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

var errNoTenants = errors.New("tenants: no file matches, and there is no tenant block either")

// provisionTenants reads the tenant blocks and files. A mistake in a file is an
// error only when the configuration is validated: a server starts without the
// tenant of that file.
func (a *App) provisionTenants() error {
	repl := caddy.NewReplacer()
	blocks, err := a.buildBlocks(repl)
	if err != nil {
		return err
	}
	if len(a.Tenants) == 0 {
		if len(blocks) == 0 {
			blocks = []*tenant.Tenant{{ID: tenant.DefaultID}}
		}
		reg, err := tenant.NewRegistry(blocks)
		a.registry.Store(reg)
		return err
	}
	if _, err := tenant.NewRegistry(blocks); err != nil {
		return err
	}
	a.files, err = newTenantFiles(a.Tenants, blocks, repl)
	if err != nil {
		return err
	}
	reg, failed := a.files.lookAtAll()
	a.registry.Store(reg)
	if len(failed) > 0 && validating() {
		return failed[0].err
	}
	a.logFailures(failed)
	a.warnOfPlainKeys(reg.All())
	if len(reg.All()) == 0 && validating() {
		return errNoTenants
	}
	return nil
}

func (a *App) buildBlocks(repl *caddy.Replacer) ([]*tenant.Tenant, error) {
	list := make([]*tenant.Tenant, 0, len(a.Tenant))
	for i, c := range a.Tenant {
		t, err := c.build(repl)
		if err != nil {
			return nil, fmt.Errorf("tenant %d (%s): %w", i+1, c.ID, err)
		}
		t.Origin = "the tenant block " + t.ID
		list = append(list, t)
	}
	a.Tenant = nil // it is of no more use, and may be large
	return list, nil
}

// validating reports whether the configuration is only checked and will not run.
// Caddy provisions modules in the same way for both, so that the only difference
// is in the call stack.
func validating() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if f.Function == "github.com/caddyserver/caddy/v2.Validate" {
			return true
		}
		if !more {
			return false
		}
	}
}

// maxLogged is how many tenant files one look at the files logs by name.
const maxLogged = 20

func (a *App) logFailures(failed []fileFailure) {
	for i, f := range failed {
		if i == maxLogged {
			a.log.Error("more tenant files are broken", zap.Int("files", len(failed)-i))
			return
		}
		if f.kept != "" {
			a.log.Error("a tenant file is broken, and its tenant stays as it was", zap.String("tenant", f.kept), zap.Error(f.err))
		} else {
			a.log.Error("a tenant file is broken, and its tenant is away", zap.Error(f.err))
		}
	}
}

// Tenancy returns the tenants as they are now.
func (a *App) Tenancy() *tenant.Registry { return a.registry.Load() }

// applyFiles makes these the tenants, and logs what is broken. reg is nil if the
// tenants have not changed.
func (a *App) applyFiles(reg *tenant.Registry, failed []fileFailure) {
	a.logFailures(failed)
	if reg == nil {
		return
	}
	a.registry.Store(reg)
	a.log.Info("tenant files changed", zap.Int("tenants", len(reg.All())))
	a.tracker.sweep()
}

// TenantFilesBroken reports whether the tenants of some files are away, or not
// what the files say.
func (a *App) TenantFilesBroken() bool { return a.files != nil && a.files.broken.Load() > 0 }

// CheckTenant says whether a tenant that a directive names is configured. At the
// start of a server a tenant file may be broken or still to come.
func (a *App) CheckTenant(id string) error {
	if id == "" || a.Tenancy().ByID(id) != nil {
		return nil
	}
	err := fmt.Errorf("tenant %s: no such tenant is configured", id)
	if a.files == nil || validating() {
		return err
	}
	a.log.Warn("a directive names a tenant that no tenant file has", zap.Error(err))
	return nil
}

// hasWildcard reports whether a pattern of filepath.Match has any.
func hasWildcard(pattern string) bool { return strings.ContainsAny(pattern, `*?[`) }
