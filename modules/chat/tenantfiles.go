package chat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// watchInterval is how often tenant files are looked at for changes.
const watchInterval = 2 * time.Second

// readTenants builds the registry from the tenant blocks and files.
func (a *App) readTenants() (*tenant.Registry, error) {
	repl := caddy.NewReplacer()
	var list []*tenant.Tenant
	for i, c := range a.Tenant {
		t, err := c.build(repl)
		if err != nil {
			return nil, fmt.Errorf("tenant %d (%s): %w", i+1, c.ID, err)
		}
		t.Origin = "the tenant block " + t.ID
		list = append(list, t)
	}
	files, err := a.tenantFiles()
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		t, err := readTenantFile(name, repl)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	if len(list) == 0 {
		// No tenant at all is the default one. No file where there should
		// be some is a mistake, and must not open the site to everybody.
		if len(a.Tenants) > 0 {
			return nil, errNoTenants
		}
		list = []*tenant.Tenant{{ID: tenant.DefaultID}}
	}
	return tenant.NewRegistry(list)
}

// tenantFiles returns the files that the globs match, each once, in order.
func (a *App) tenantFiles() ([]string, error) {
	var files []string
	for _, pattern := range a.Tenants {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("tenants: pattern %q: %w", pattern, err)
		}
		if len(found) == 0 && !strings.ContainsAny(pattern, "*?[") {
			return nil, fmt.Errorf("tenants: %s: no such file", pattern)
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// readTenantFile reads one tenant. Errors begin with file:line.
func readTenantFile(name string, repl *caddy.Replacer) (*tenant.Tenant, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("tenants: %w", err)
	}
	var c TenantConfig
	if err := json.Unmarshal(data, &c, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, errorLine(data, err), plainError(err))
	}
	t, err := c.build(repl)
	if err != nil {
		line := 1
		if fe, ok := errors.AsType[*fieldError](err); ok {
			line = memberLine(data, fe.field)
		}
		return nil, fmt.Errorf("%s:%d: %w", name, line, err)
	}
	t.Origin = fmt.Sprintf("%s:%d", name, memberLine(data, "id"))
	return t, nil
}

func errorLine(data []byte, err error) int {
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return lineAt(data, syntactic.ByteOffset)
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return lineAt(data, semantic.ByteOffset)
	}
	return 1
}

// plainError says what is wrong in a tenant file in the file's own words,
// not in those of Go's types.
func plainError(err error) error {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return err
	}
	field := strings.ReplaceAll(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/", ".")
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return fmt.Errorf("unrecognized member %s", field)
	case semantic.Err != nil:
		return fmt.Errorf("%s: %w", field, semantic.Err)
	default:
		return fmt.Errorf("%s: cannot be a JSON %s", field, semantic.JSONKind)
	}
}

func lineAt(data []byte, offset int64) int {
	offset = min(max(offset, 0), int64(len(data)))
	// an offset may point at the white space before what is wrong
	for offset < int64(len(data)) && strings.IndexByte(" \t\r\n,:", data[offset]) >= 0 {
		offset++
	}
	return 1 + bytes.Count(data[:offset], []byte("\n"))
}

// memberLine finds the line of a member of the document's object.
func memberLine(data []byte, name string) int {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	want := jsontext.Pointer("").AppendToken(name)
	for {
		if _, err := d.ReadToken(); err != nil {
			return 1
		}
		if d.StackPointer() == want {
			return lineAt(data, d.InputOffset()-1)
		}
	}
}

// fileWatch reads the tenant files again when they change.
type fileWatch struct {
	quit chan struct{}
	done chan struct{}
}

func (a *App) watchFiles() *fileWatch {
	w := &fileWatch{make(chan struct{}), make(chan struct{})}
	seen := a.fileState()
	go func() {
		defer close(w.done)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			select {
			case <-w.quit:
				return
			case <-tick.C:
			}
			if now := a.fileState(); now != seen {
				seen = now
				a.rereadTenants()
			}
		}
	}()
	return w
}

func (w *fileWatch) stop() {
	close(w.quit)
	<-w.done
}

// fileState changes when a tenant file comes, goes or is written.
func (a *App) fileState() string {
	files, err := a.tenantFiles()
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s %v\n", name, err)
			continue
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

func (a *App) rereadTenants() {
	reg, err := a.readTenants()
	if err != nil {
		a.log.Error("tenant files changed, and the tenants stay as they were", zap.Error(err))
		return
	}
	a.registry.Store(reg)
	a.log.Info("tenant files changed", zap.Int("tenants", len(reg.All())))
}
