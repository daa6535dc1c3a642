package aigateway

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("ai_gateway", parseCaddyfile)
	// before handle and route, so that a catch-all does not take its routes
	httpcaddyfile.RegisterDirectiveOrder("ai_gateway", httpcaddyfile.After, "templates")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if handler.Tenant == tenantNone {
		return handler, nil
	}
	return handler, chat.CheckNamedTenant(h, handler.Tenant)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	ai_gateway [<matcher>] [<provider type> [<api key>]] {
//	    provider <name> [<type>] {
//	        ...
//	    }
//	    model <name> {
//	        to        <provider>/<upstream model> [<weight>]
//	        lb_policy first|round_robin|weighted_random|least_conn|lowest_latency
//	        price     <in> <out>
//	        thinks
//	        try_duration|response_timeout|first_token_timeout|stall_timeout <duration>
//	    }
//	    default_model       <name>
//	    passthrough         [<providers...>]
//	    model_override      <name>
//	    retries             <count>
//	    retry_after_max     <duration>
//	    try_duration        <duration>
//	    response_timeout    <duration>
//	    first_token_timeout <duration>
//	    stall_timeout       <duration>
//	    rescue              on|off
//	    circuit_breaker     off|<failures> [<pause>]
//	    cache               <duration>
//	    max_body            <size>
//	    read_timeout        <duration>
//	    keep_alive          <duration>
//	    health_path         <path>
//	    tenant              <id>|none
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	begin, refs := *d, new(references)
	h.ProvidersRaw = make(caddy.ModuleMap)
	if err := h.unmarshalShort(d); err != nil {
		return err
	}
	once := make(advice.Once)
	for d.NextBlock(0) {
		var err error
		switch name := d.Val(); name {
		case "provider":
			err = h.unmarshalProvider(d)
		case "model":
			err = h.unmarshalModel(d, refs)
		case "passthrough":
			h.unmarshalPassthrough(d, refs)
		case "circuit_breaker":
			once.Warn(d)
			err = h.unmarshalBreaker(d)
		default:
			once.Warn(d)
			err = h.unmarshalOption(d, refs, name)
		}
		if err != nil {
			return err
		}
	}
	return refs.check(&begin, h)
}

func (h *Handler) unmarshalPassthrough(d *caddyfile.Dispenser, refs *references) {
	names := d.RemainingArgs()
	if len(names) == 0 {
		names = []string{route.AllProviders}
	}
	for _, name := range names {
		refs.provider(d, "passthrough", name)
	}
	h.Passthrough = append(h.Passthrough, names...)
}

// unmarshalShort reads a provider given on the directive's own line.
func (h *Handler) unmarshalShort(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil
	}
	if len(args) > 2 {
		return d.ArgErr()
	}
	typ := args[0]
	if err := checkType(d, typ); err != nil {
		return err
	}
	fields := map[string]string{"type": typ}
	if len(args) == 2 {
		fields["api_key"] = args[1]
		advice.Secret(d, "api_key", args[1])
	}
	h.ProvidersRaw[typ] = caddyconfig.JSON(fields, nil)
	return nil
}

func checkType(d *caddyfile.Dispenser, typ string) error {
	if _, err := caddy.GetModule("chat.providers." + typ); err != nil {
		types := providerTypes()
		return d.Errf("'%s' is not a provider type, want one of: %s; a name of your own goes before the type, as in: provider local openai%s", typ, strings.Join(types, ", "), advice.Nearest(typ, types...))
	}
	return nil
}

func providerTypes() []string {
	var names []string
	for _, m := range caddy.GetModules("chat.providers") {
		names = append(names, m.ID.Name())
	}
	return names
}

func (h *Handler) unmarshalProvider(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name, typ := d.Val(), d.Val()
	if d.NextArg() {
		typ = d.Val()
	}
	if err := route.CheckProvider(name); err != nil {
		return d.WrapErr(err)
	}
	if err := checkType(d, typ); err != nil {
		return err
	}
	if _, ok := h.ProvidersRaw[name]; ok {
		return d.Errf("provider %s is defined twice", name)
	}
	mod, err := caddyfile.UnmarshalModule(d, "chat.providers."+typ)
	if err != nil {
		return err
	}
	h.ProvidersRaw[name] = caddyconfig.JSONModuleObject(mod, "type", typ, nil)
	return nil
}

func (h *Handler) unmarshalModel(d *caddyfile.Dispenser, refs *references) error {
	m := new(Model)
	begin := *d
	if !d.AllArgs(&m.Name) {
		return d.ArgErr()
	}
	if slices.ContainsFunc(h.Models, func(o *Model) bool { return o.Name == m.Name }) {
		return d.Errf("model %s is defined twice", m.Name)
	}
	if err := route.CheckAlias(m.Name); err != nil {
		return d.Errf("model %s: %w", m.Name, err)
	}
	once := make(advice.Once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "to" {
			once.Warn(d)
		}
		switch d.Val() {
		case "to":
			if err := m.unmarshalTo(d, refs); err != nil {
				return err
			}
		case "lb_policy":
			if !d.AllArgs(&m.LBPolicy) {
				return d.ArgErr()
			}
			if err := route.CheckPolicy(m.LBPolicy); err != nil {
				return d.Errf("model %s: %v", m.Name, err)
			}
		case "price":
			var in, out string
			if !d.AllArgs(&in, &out) {
				return d.ArgErr()
			}
			price, err := parsePrice(in, out)
			if err != nil {
				return d.Errf("model %s: %v", m.Name, err)
			}
			m.Price = price
		case "thinks":
			if d.NextArg() {
				return d.ArgErr()
			}
			m.Thinks = true
		default:
			if err := m.unmarshalTimeout(d); err != nil {
				return err
			}
		}
	}
	if len(m.To) == 0 {
		return begin.Errf("model %s: want at least one line 'to <provider>/<upstream model>'", m.Name)
	}
	h.Models = append(h.Models, m)
	return nil
}

func (m *Model) unmarshalTo(d *caddyfile.Dispenser, refs *references) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.ArgErr()
	}
	target, err := route.ParseWeighted(strings.Join(args, " "))
	if err != nil {
		return d.Errf("model %s: %w", m.Name, err)
	}
	for _, other := range m.To {
		if name, _, _ := strings.Cut(other, " "); name == args[0] {
			return d.Errf("model %s: target %s: listed twice", m.Name, args[0])
		}
	}
	refs.provider(d, "model "+m.Name, target.Provider)
	m.To = append(m.To, strings.Join(args, " "))
	return nil
}

// unmarshalTimeout reads a timeout of a model.
func (m *Model) unmarshalTimeout(d *caddyfile.Dispenser) error {
	name := d.Val()
	timeout := m.timeout(name)
	if timeout == nil {
		return d.Errf("unrecognized subdirective '%s', want one of: to, lb_policy, price, thinks, %s%s", name, strings.Join(timeoutOptions, ", "),
			advice.Nearest(name, append([]string{"to", "lb_policy", "price", "thinks"}, timeoutOptions...)...))
	}
	var value string
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	var err error
	if *timeout, err = chat.ParseDuration(value); err != nil {
		return d.Errf("model %s: %s: %v", m.Name, name, err)
	}
	return nil
}

func parsePrice(in, out string) (*Price, error) {
	p := new(Price)
	var err1, err2 error
	p.Input, err1 = strconv.ParseFloat(in, 64)
	p.Output, err2 = strconv.ParseFloat(out, 64)
	sum := p.Input + p.Output
	if err1 != nil || err2 != nil || p.Input < 0 || p.Output < 0 || math.IsNaN(sum) || math.IsInf(sum, 0) {
		return nil, fmt.Errorf("price %s %s: want US dollars a million tokens, in and out, such as 0.15 0.60", in, out)
	}
	return p, nil
}

// options are the subdirectives that take one value.
var options = []string{
	"default_model", "model_override", "retries", "retry_after_max", "try_duration",
	"response_timeout", "first_token_timeout", "stall_timeout", "rescue", "cache", "max_body", "read_timeout", "keep_alive", "health_path", "tenant",
}

// providerOptions are subdirectives of a provider block.
var providerOptions = []string{"base_url", "api_key", "header", "transport", "continue"}

func (h *Handler) unmarshalOption(d *caddyfile.Dispenser, refs *references, name string) error {
	if slices.Contains(providerOptions, name) {
		return d.Errf("%s belongs in a provider block, as in: provider openai { %s ... }", name, name)
	}
	if !slices.Contains(options, name) {
		return d.Errf("unrecognized subdirective '%s', want one of: provider, model, passthrough, circuit_breaker, %s%s", name, strings.Join(options, ", "),
			advice.Nearest(name, append([]string{"provider", "model", "passthrough", "circuit_breaker"}, options...)...))
	}
	var value string
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	var err error
	switch name {
	case "default_model":
		h.DefaultModel = value
		refs.model(d, name, value)
	case "model_override":
		h.ModelOverride = value
		refs.model(d, name, value)
	case "tenant":
		h.Tenant = value
	case "health_path":
		h.HealthPath = value
		err = checkPath(value)
	case "retries":
		h.Retries, err = parseCount(value)
	case "retry_after_max":
		h.RetryAfterMax, err = chat.ParseDuration(value)
	case "rescue":
		h.Rescue, err = parseSwitch(value)
	case "try_duration", "response_timeout", "first_token_timeout", "stall_timeout":
		*h.timeout(name), err = chat.ParseDuration(value)
	case "cache":
		h.Cache, err = chat.ParseDuration(value)
	case "max_body":
		h.MaxBody, err = chat.ParseSize(value)
	case "read_timeout":
		h.ReadTimeout, err = chat.ParseDuration(value)
	case "keep_alive":
		h.KeepAlive, err = chat.ParseDuration(value)
	}
	if err != nil {
		return d.Errf("%s: %v", name, err)
	}
	return nil
}

// maxRetries is the most that retries may be set to.
const maxRetries = 100

func parseCount(s string) (*int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxRetries {
		return nil, fmt.Errorf("%q: want a number from 0 to %d", s, maxRetries)
	}
	return &n, nil
}

func parseSwitch(s string) (*bool, error) {
	if s != "on" && s != "off" {
		return nil, fmt.Errorf("%q: want on or off", s)
	}
	return new(s == "on"), nil
}

func (h *Handler) unmarshalBreaker(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.ArgErr()
	}
	h.CircuitBreaker = new(CircuitBreaker)
	if args[0] == "off" && len(args) == 1 {
		return nil
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return d.Errf("circuit_breaker: %q: want off, or failures in a row and a pause, such as 5 30s", args[0])
	}
	h.CircuitBreaker.Failures = n
	if len(args) == 1 {
		return nil
	}
	if h.CircuitBreaker.Pause, err = chat.ParseDuration(args[1]); err != nil {
		return d.Errf("circuit_breaker: %v", err)
	}
	return nil
}

func checkPath(s string) error {
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("%q: want a path such as /health", s)
	}
	if _, taken := endpoints[record.CleanPath(s)]; taken && record.CleanPath(s) != pathHealth {
		return fmt.Errorf("%q: want a path such as /health, and not one of an API", s)
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
