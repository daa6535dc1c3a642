package tenantresolve

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/jwt"
)

const (
	defaultTenantClaim = "tenant_id"
	defaultUserClaim   = "sub"
	defaultLeeway      = 30 * time.Second
)

// JWT says which JSON Web Tokens let a request in, and where they name the
// tenant and the user. One of jwks, secret and public_key is required.
type JWT struct {
	// The issuer's JSON Web Key Set, by URL or file. A URL is fetched when the
	// first token comes, and again from time to time and for a new key; a file
	// is read again when it changes. Default: none.
	JWKS string `json:"jwks,omitempty"`

	// A secret of at least 32 bytes that the issuer shares with this server,
	// for HS256, HS384 and HS512. Default: none.
	Secret string `json:"secret,omitempty"`

	// A file with the issuer's public key in PEM, or several. It is read again
	// when it changes. Default: none.
	PublicKey string `json:"public_key,omitempty"`

	// The issuers whose tokens count, as in the claim iss. Default: any.
	Issuer []string `json:"issuer,omitempty"`

	// Whom a token may be meant for; one of them must be in the claim aud.
	// Default: anyone.
	Audience []string `json:"audience,omitempty"`

	// The claim that names the tenant. Dots lead into nested objects.
	// Default: tenant_id.
	TenantClaim string `json:"tenant_claim,omitempty"`

	// The claim that names the user. Dots lead into nested objects.
	// Default: sub.
	UserClaim string `json:"user_claim,omitempty"`

	// The algorithms that a token may be signed with. Default: all that fit
	// the kind of key.
	Algorithms []string `json:"algorithms,omitempty"`

	// How far the clocks of the issuer and this server may differ. Default:
	// 30s.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	verifier *jwt.Verifier
	issuer   string // its key in issuers; empty for other keys
}

var errKeySources = errors.New("want one of jwks <url or file>, secret <secret> and public_key <file>")

// validate checks what can be known without placeholders and files.
func (c *JWT) validate() error {
	if c.keySources() != 1 {
		return errKeySources
	}
	if c.Leeway < 0 {
		return fmt.Errorf("leeway %v: want a duration such as 30s", time.Duration(c.Leeway))
	}
	return c.checkAlgorithms()
}

func (c *JWT) keySources() int {
	n := 0
	for _, s := range []string{c.JWKS, c.Secret, c.PublicKey} {
		if s != "" {
			n++
		}
	}
	return n
}

// checkAlgorithms keeps the algorithms of secrets and public keys apart: if a
// public key counted as a secret, everyone could sign.
func (c *JWT) checkAlgorithms() error {
	want, others := jwt.PublicKeyAlgorithms, "secret"
	if c.Secret != "" {
		want, others = jwt.SecretAlgorithms, "jwks or public_key"
	}
	for _, name := range c.Algorithms {
		if !knownAlgorithm(name) {
			return fmt.Errorf("algorithms: %w", unknownAlgorithm(name))
		}
		if !slices.Contains(want, jwt.Algorithm(name)) {
			return fmt.Errorf("algorithms: %s needs %s", name, others)
		}
	}
	return nil
}

func knownAlgorithm(name string) bool {
	alg := jwt.Algorithm(name)
	return slices.Contains(jwt.PublicKeyAlgorithms, alg) || slices.Contains(jwt.SecretAlgorithms, alg)
}

func unknownAlgorithm(name string) error {
	var names []string
	for _, alg := range slices.Concat(jwt.PublicKeyAlgorithms, jwt.SecretAlgorithms) {
		names = append(names, string(alg))
	}
	return fmt.Errorf("'%s': want %s", name, strings.Join(names, ", "))
}

// provision sets the defaults and makes the verifier.
func (c *JWT) provision(log *zap.Logger) error {
	if err := c.validate(); err != nil {
		return err
	}
	if c.TenantClaim == "" {
		c.TenantClaim = defaultTenantClaim
	}
	if c.UserClaim == "" {
		c.UserClaim = defaultUserClaim
	}
	if c.Leeway == 0 {
		c.Leeway = caddy.Duration(defaultLeeway)
	}
	v := &jwt.Verifier{Leeway: time.Duration(c.Leeway)}
	var err error
	if v.Issuers, err = replaceAll(c.Issuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if v.Audiences, err = replaceAll(c.Audience); err != nil {
		return fmt.Errorf("audience: %w", err)
	}
	if c.JWKS, err = replace(c.JWKS); err != nil {
		return fmt.Errorf("jwks: %w", err)
	}
	if c.PublicKey, err = replace(c.PublicKey); err != nil {
		return fmt.Errorf("public_key: %w", err)
	}
	for _, name := range c.Algorithms {
		v.Algorithms = append(v.Algorithms, jwt.Algorithm(name))
	}
	c.verifier = v
	return c.provisionKeys(log)
}

func (c *JWT) provisionKeys(log *zap.Logger) error {
	v := c.verifier
	if c.Secret != "" {
		if err := provisionSecret(v, c.Secret); err != nil {
			return fmt.Errorf("secret: %w", err)
		}
		return nil
	}
	if len(v.Algorithms) == 0 {
		v.Algorithms = jwt.PublicKeyAlgorithms
	}
	failed := func(err error) { logKeys(log, err) }
	var err error
	if c.PublicKey != "" {
		if v.Keys, err = jwt.OpenFile(c.PublicKey, jwt.ParsePEM, failed); err != nil {
			return fmt.Errorf("public_key: %w", err)
		}
		return nil
	}
	if !isURL(c.JWKS) {
		if v.Keys, err = jwt.OpenFile(c.JWKS, jwt.ParseJWKS, failed); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
		return nil
	}
	if v.Keys, err = c.remoteKeys(log); err != nil {
		return fmt.Errorf("jwks: %w", err)
	}
	return nil
}

func provisionSecret(v *jwt.Verifier, s string) error {
	value, err := replace(s)
	if err != nil {
		return err
	}
	secret := jwt.Secret(value)
	if err := secret.Check(v.Algorithms); err != nil {
		return err
	}
	v.Keys = secret
	if len(v.Algorithms) == 0 {
		v.Algorithms = secret.Algorithms()
	}
	return nil
}

func (c *JWT) remoteKeys(log *zap.Logger) (jwt.Keys, error) {
	u, err := parseURL(c.JWKS)
	if err != nil {
		return nil, err
	}
	c.warn(u, log)
	i, err := useIssuer(u.String(), log)
	if err != nil {
		return nil, err
	}
	c.issuer = u.String()
	return i.keys, nil
}

// cleanup lets go of the issuer, if there is one.
func (c *JWT) cleanup() error {
	if c.issuer == "" {
		return nil
	}
	_, err := issuers.Delete(c.issuer)
	return err
}

// warn says what makes a token from that issuer less than it seems.
func (c *JWT) warn(u *url.URL, log *zap.Logger) {
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		log.Warn("jwks is fetched over http: whoever can change the answer can sign tokens; use https", zap.String("jwks", u.Redacted()))
	}
	if len(c.Audience) == 0 {
		log.Warn("tokens that the issuer made for other applications are accepted, too: set audience", zap.String("jwks", u.Redacted()))
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func isURL(place string) bool { return strings.Contains(place, "://") }

func parseURL(place string) (*url.URL, error) {
	u, err := url.Parse(place)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("'%s': want a URL such as https://login.example.com/keys, or a file", place)
	}
	return u, nil
}

// replace replaces placeholders. Its errors quote nothing that may be a secret.
func replace(s string) (string, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(s, true, true)
	if err == nil {
		return value, nil
	}
	if strings.HasPrefix(s, "{env.") || strings.HasPrefix(s, "{file.") {
		return "", fmt.Errorf("%s has no value", s)
	}
	return "", errors.New("a placeholder in it has no value")
}

func replaceAll(list []string) ([]string, error) {
	var values []string
	for _, s := range list {
		value, err := replace(s)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}
