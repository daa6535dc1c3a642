package tenantresolve

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/jwt"
)

// unmarshalJWT reads the block of from jwt; the syntax is above
// UnmarshalCaddyfile.
func unmarshalJWT(d *caddyfile.Dispenser) (*JWT, error) {
	c := new(JWT)
	begin := *d // its line is the one to name if the block lacks something
	once := make(advice.Once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "tenant_claim", "user_claim", "leeway":
			once.Warn(d)
		}
		if err := c.unmarshalOption(d); err != nil {
			return nil, err
		}
	}
	if err := c.validate(); err != nil {
		return nil, begin.Errf("from jwt: %v", err)
	}
	return c, nil
}

func (c *JWT) unmarshalOption(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "jwks", "secret", "public_key":
		return c.unmarshalKeys(d, name)
	case "issuer":
		return appendArgs(d, &c.Issuer)
	case "audience":
		return appendArgs(d, &c.Audience)
	case "tenant_claim":
		return oneArg(d, &c.TenantClaim)
	case "user_claim":
		return oneArg(d, &c.UserClaim)
	case "algorithms":
		return c.unmarshalAlgorithms(d)
	case "leeway":
		return c.unmarshalLeeway(d)
	default:
		return d.Errf("unrecognized subdirective '%s', want jwks, secret, public_key, issuer, audience, tenant_claim, user_claim, algorithms or leeway%s", name,
			advice.Nearest(name, "jwks", "secret", "public_key", "issuer", "audience", "tenant_claim", "user_claim", "algorithms", "leeway"))
	}
}

// unmarshalKeys checks what can be checked before placeholders have values.
func (c *JWT) unmarshalKeys(d *caddyfile.Dispenser, name string) error {
	if c.keySources() > 0 {
		return d.Errf("from jwt: %v", errKeySources)
	}
	value := ""
	if err := oneArg(d, &value); err != nil {
		return err
	}
	switch name {
	case "jwks":
		c.JWKS = value
		advice.Environment(d, name, value)
		return advice.Check(d, name, value, checkJWKS)
	case "secret":
		c.Secret = value
		advice.Secret(d, name, value)
		return advice.Check(d, name, value, func(s string) error { return jwt.Secret(s).Check(nil) })
	default:
		c.PublicKey = value
		advice.Environment(d, name, value)
		return nil
	}
}

// checkJWKS leaves a file for Provision to look at.
func checkJWKS(place string) error {
	if !isURL(place) {
		return nil
	}
	_, err := parseURL(place)
	return err
}

func (c *JWT) unmarshalAlgorithms(d *caddyfile.Dispenser) error {
	var names []string
	if err := appendArgs(d, &names); err != nil {
		return err
	}
	for _, name := range names {
		if !knownAlgorithm(name) {
			return d.Errf("algorithms: %v", unknownAlgorithm(name))
		}
	}
	c.Algorithms = append(c.Algorithms, names...)
	return nil
}

func (c *JWT) unmarshalLeeway(d *caddyfile.Dispenser) error {
	value := ""
	if err := oneArg(d, &value); err != nil {
		return err
	}
	leeway, err := chat.ParseDuration(value)
	if err != nil {
		return d.Errf("leeway: %v", err)
	}
	c.Leeway = leeway
	return nil
}

func oneArg(d *caddyfile.Dispenser, value *string) error {
	if !d.AllArgs(value) || *value == "" {
		return d.ArgErr()
	}
	return nil
}

func appendArgs(d *caddyfile.Dispenser, list *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*list = append(*list, args...)
	return nil
}
