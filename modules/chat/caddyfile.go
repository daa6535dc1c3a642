package chat

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("chat", parseGlobalOption)
}

func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // so that the error has a place
		return nil, d.Err("the chat option may stand once")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "chat", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. Syntax:
//
//	chat {
//	    store <module> ...
//	    tenant <id> {
//	        host       <names...>
//	        api_key    <keys...>
//	        allow_origin <origins...>|*
//	        model      <name>
//	        models     <names...>
//	        requests   <limit> <window> [per user|ip|tenant|<placeholder>]
//	        burst      <limit> <window> [per ...]
//	        tokens     <limit> <window> [per ...]
//	        concurrent <limit> [per ...]
//	        budget     <amount> tokens|usd/day|month ...
//	        retention  <duration>
//	        max_messages <count>
//	        system     <prompt>
//	        credential <provider> <key>
//	        metadata   <name> <value>
//	    }
//	    tenants <globs...>
//	    budget_warnings <fractions...>
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := seenTenants{names: make(map[string]seenTenant)}
	once := make(advice.Once)
	for d.NextBlock(0) {
		switch d.Val() {
		case "store":
			if err := once.Add(d); err != nil {
				return err
			}
			if err := a.unmarshalStore(d); err != nil {
				return err
			}
		case "tenant":
			c, err := unmarshalTenant(d, &seen)
			if err != nil {
				return err
			}
			a.Tenant = append(a.Tenant, c)
		case "tenants":
			globs := d.RemainingArgs()
			if len(globs) == 0 {
				return d.ArgErr()
			}
			a.Tenants = append(a.Tenants, globs...)
		case "budget_warnings":
			if err := once.Add(d); err != nil {
				return err
			}
			if err := a.unmarshalBudgetWarnings(d); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s', want store, tenant, tenants or budget_warnings%s", d.Val(), advice.Nearest(d.Val(), "store", "tenant", "tenants", "budget_warnings"))
		}
	}
	return nil
}

func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	if _, err := caddy.GetModule("chat.stores." + name); err != nil {
		known := storeNames()
		return d.Errf("unknown store '%s': want %s%s", name, strings.Join(known, " or "), advice.Nearest(name, known...))
	}
	mod, err := caddyfile.UnmarshalModule(d, "chat.stores."+name)
	if err != nil {
		return err
	}
	if _, ok := mod.(StoreModule); !ok {
		return d.Errf("module chat.stores.%s is not a store", name)
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(mod, "module", name, nil)
	return nil
}

func storeNames() []string {
	var names []string
	for _, m := range caddy.GetModules("chat.stores") {
		names = append(names, m.ID.Name())
	}
	return names
}

func (a *App) unmarshalBudgetWarnings(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	for _, arg := range args {
		f, err := strconv.ParseFloat(arg, 64)
		if err != nil || checkFraction(f) != nil {
			return d.Errf("budget_warnings: '%s': %v", arg, errFraction)
		}
		a.BudgetWarnings = append(a.BudgetWarnings, f)
	}
	return nil
}

// seenTenants finds what two tenants of one Caddyfile share: an id, a host
// or a key, by the tenant that had it first.
type seenTenants struct {
	names map[string]seenTenant
	keys  keyAdvice
}

type seenTenant struct{ id, place string }

func (s *seenTenants) claim(d *caddyfile.Dispenser, what, value, shown, owner string) error {
	key := what + " " + value
	other, taken := s.names[key]
	if taken && (other.id != owner || what == "id") {
		return d.Errf("%s %s belongs to tenant %s already (%s)", what, shown, other.id, other.place)
	}
	if !taken {
		s.names[key] = seenTenant{owner, fmt.Sprintf("%s:%d", d.File(), d.Line())}
	}
	return nil
}

func unmarshalTenant(d *caddyfile.Dispenser, seen *seenTenants) (*TenantConfig, error) {
	c := new(TenantConfig)
	if !d.AllArgs(&c.ID) {
		return nil, d.ArgErr()
	}
	if err := checkID(c.ID); err != nil {
		return nil, d.Errf("tenant: %v", err)
	}
	if err := seen.claim(d, "id", c.ID, c.ID, c.ID); err != nil {
		return nil, err
	}
	model := *d // moves to the option, which may come before models
	once := make(advice.Once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if !slices.Contains(tenantOptions, name) {
			return nil, d.Errf("tenant %s: %s: unrecognized subdirective, want one of: %s%s", c.ID, name, strings.Join(tenantOptions, ", "), advice.Nearest(name, tenantOptions...))
		}
		switch name {
		case "model", "system", "retention", "max_messages":
			once.Warn(d)
		}
		args := d.RemainingArgs()
		if len(args) == 0 {
			return nil, d.ArgErr()
		}
		if err := c.set(name, args); err != nil {
			return nil, d.Errf("tenant %s: %s: %v", c.ID, name, err)
		}
		if err := c.claimNames(d, seen, name, args); err != nil {
			return nil, err
		}
		seen.keys.check(d, c.ID, name, args)
		switch name {
		case "model":
			model = *d
		case "requests", "burst", "tokens", "concurrent":
			_, scope, _ := strings.Cut(expand(strings.Join(args, " ")), " per ")
			AdviseOfScope(d, "tenant "+c.ID+": "+name, scope)
		}
	}
	if err := checkModel(&tenant.Tenant{Model: c.Model, Models: c.Models}); err != nil {
		return nil, model.Errf("tenant %s: model: %w", c.ID, err)
	}
	return c, nil
}

var (
	errOneArg  = errors.New("want one argument; put quotes around one with spaces")
	errTwoArgs = errors.New("want two arguments; put quotes around one with spaces")
)

// tenantOptions are the subdirectives of a tenant block.
var tenantOptions = []string{
	"host", "api_key", "allow_origin", "model", "models", "requests", "burst", "tokens", "concurrent", "budget",
	"retention", "max_messages", "system", "credential", "metadata",
}

// set reads one line of a tenant block and checks its values.
func (c *TenantConfig) set(name string, args []string) error {
	joined := strings.Join(args, " ")
	switch name {
	case "host":
		hosts, err := each(args, tenant.ParseHost)
		c.Hosts = append(c.Hosts, hosts...)
		return err
	case "api_key":
		keys, err := each(args, digestOnly)
		c.APIKeys = append(c.APIKeys, keys...)
		return err
	case "allow_origin":
		c.AllowOrigins = append(c.AllowOrigins, args...)
		_, err := tenant.ParseOrigins(args)
		return err
	case "models":
		c.Models = append(c.Models, args...)
		return nil
	case "requests":
		return addRule(&c.Requests, joined, true)
	case "burst":
		return addRule(&c.Burst, joined, true)
	case "tokens":
		return addRule(&c.Tokens, joined, true)
	case "concurrent":
		return addRule(&c.Concurrent, joined, false)
	case "budget":
		c.Budgets = append(c.Budgets, joined)
		_, err := tenant.ParseBudgets(joined)
		return err
	case "credential":
		return setPair(&c.Credentials, args)
	case "metadata":
		return setPair(&c.Metadata, args)
	}
	if len(args) != 1 {
		return errOneArg
	}
	return c.setOne(name, args[0])
}

func (c *TenantConfig) setOne(name, value string) error {
	switch name {
	case "model":
		c.Model = value
	case "system":
		c.System = value
	case "retention":
		dur, err := caddy.ParseDuration(value)
		if err != nil || dur <= 0 {
			return errors.New("want a duration such as 30d or 12h")
		}
		c.Retention = caddy.Duration(dur)
	case "max_messages":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return errors.New("want a whole number of at least 1")
		}
		c.MaxMessages = n
	}
	return nil
}

// digestOnly keeps keys out of the adapted configuration, which the admin
// API shows: one that stands in the Caddyfile goes on as its digest.
func digestOnly(key string) (string, error) {
	if strings.Contains(key, "{") {
		return key, nil
	}
	d, err := tenant.ParseDigest(key)
	return "sha256:" + d.String(), err
}

func addRule(list *[]string, s string, windowed bool) error {
	r, err := limit.ParseRule(expand(s), windowed)
	if err != nil {
		return err
	}
	*list = append(*list, r.String())
	return nil
}

// expand spells out Caddy's short placeholders, such as {header.X-Team}, as
// Caddy itself does in sites but not in global options.
func expand(s string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	segment := caddyfile.Segment{{Text: s}}
	shorthands().ApplyToSegment(&segment)
	return segment[0].Text
}

// shorthands is made once, because that compiles many expressions.
var shorthands = sync.OnceValue(httpcaddyfile.NewShorthandReplacer)

func setPair(m *map[string]string, args []string) error {
	if len(args) != 2 {
		return errTwoArgs
	}
	if *m == nil {
		*m = make(map[string]string)
	}
	(*m)[args[0]] = args[1]
	return nil
}

// claimNames notes the hosts and keys of a line, where they are known now.
func (c *TenantConfig) claimNames(d *caddyfile.Dispenser, seen *seenTenants, name string, args []string) error {
	for _, arg := range args {
		switch name {
		case "host":
			host, _ := tenant.ParseHost(arg)
			if err := seen.claim(d, "host", host, host, c.ID); err != nil {
				return err
			}
		case "api_key":
			// the same placeholder is the same key
			value, shown := arg, arg
			if !strings.Contains(arg, "{") {
				digest, _ := tenant.ParseDigest(arg)
				value = digest.String()
				shown = "sha256:" + value[:8] + "…"
			}
			if err := seen.claim(d, "api_key", value, shown, c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
)
