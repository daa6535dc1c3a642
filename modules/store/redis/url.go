package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-chat/caddy-chat/modules/advice"
)

const (
	defaultPort  = "6379"
	sentinelPort = "26379"
)

// The schemes of URLs.
const (
	schemePlain = "redis"
	schemeTLS   = "rediss"
	schemeUnix  = "unix"
)

// parameters are those that a URL may have.
var parameters = []string{"addr", "master_set", "sentinel_user", "sentinel_password", "ca", "cert", "key", "db"}

// refreshSentinels is how often sentinels are asked which server is the master, beside what
// they tell: a lost message would leave the store at a replica.
const refreshSentinels = 5 * time.Second

// place is where a server is, and how it is reached.
type place struct {
	scheme         string
	addrs          []string
	user, password string
	database       int

	masterSet                      string // that sentinels at addrs watch; empty without any
	sentinelUser, sentinelPassword string

	ca, cert, key string // files
}

var (
	errURL      = errors.New("want redis://user:password@host:6379/0, rediss:// with TLS, or unix:///path")
	errEncoding = errors.New("want redis://user:password@host:6379/0: a number as the port, and the password percent-encoded, such as %2F for /")
	errPort     = errors.New("want a port from 1 to 65535")
	errHosts    = errors.New("want one host; further nodes are added by ?addr=host:6379")
)

// parseURL reads a URL. Its errors never have the URL, since it may have a password.
func parseURL(text string) (p place, err error) {
	scheme, _, _ := strings.Cut(text, "://")
	if !slices.Contains([]string{schemePlain, schemeTLS, schemeUnix}, scheme) {
		return p, errURL
	}
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" {
		return p, errEncoding
	}
	p.scheme, p.user = u.Scheme, u.User.Username()
	p.password, _ = u.User.Password()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return p, errors.New("want parameters as in ?addr=host:6379&master_set=name")
	}
	if err := p.readQuery(query); err != nil {
		return p, err
	}
	if u.Scheme == schemeUnix {
		return p, p.unix(u, query)
	}
	return p, p.hosts(u, query)
}

func (p *place) readQuery(query url.Values) error {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := query[name]
		switch {
		case !slices.Contains(parameters, name):
			return fmt.Errorf("unknown parameter '%s': want %s%s", name, strings.Join(parameters, ", "), advice.Nearest(name, parameters...))
		case name != "addr" && len(values) > 1:
			return fmt.Errorf("%s is given twice", name)
		case slices.Contains(values, ""):
			return fmt.Errorf("%s is empty", name)
		}
	}
	p.masterSet = query.Get("master_set")
	p.sentinelUser, p.sentinelPassword = query.Get("sentinel_user"), query.Get("sentinel_password")
	p.ca, p.cert, p.key = query.Get("ca"), query.Get("cert"), query.Get("key")
	switch {
	case p.masterSet == "" && p.sentinelUser+p.sentinelPassword != "":
		return errors.New("sentinel_user and sentinel_password need master_set, the name that the sentinels watch")
	case p.scheme != schemeTLS && p.ca+p.cert+p.key != "":
		return errors.New("ca, cert and key are for rediss://")
	case (p.cert == "") != (p.key == ""):
		return errors.New("cert and key need each other")
	}
	if db := query.Get("db"); db != "" {
		return p.selects("db", db)
	}
	return nil
}

func (p *place) selects(name, db string) (err error) {
	if p.database, err = strconv.Atoi(db); err != nil || p.database < 0 {
		return fmt.Errorf("%s: %q is no number of a database", name, db)
	}
	return nil
}

func (p *place) unix(u *url.URL, query url.Values) error {
	if u.Host != "" || len(u.Path) < 2 {
		return errors.New("want unix:///path/of/the.sock")
	}
	if query.Has("addr") || p.masterSet != "" {
		return errors.New("a unix socket is one server: want no addr and no master_set")
	}
	p.addrs = []string{u.Path}
	return nil
}

func (p *place) hosts(u *url.URL, query url.Values) error {
	port := defaultPort
	if p.masterSet != "" {
		port = sentinelPort
	}
	for i, text := range append([]string{u.Host}, query["addr"]...) {
		addr, err := withPort(text, port)
		switch {
		case err != nil && i == 0:
			return err
		case err != nil:
			return fmt.Errorf("addr: %q: want host:%s", text, port)
		case slices.Contains(p.addrs, addr):
			return fmt.Errorf("addr: %s is given twice", addr)
		}
		p.addrs = append(p.addrs, addr)
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if query.Has("db") {
			return errors.New("the database is given twice: as the path, and as db")
		}
		if err := p.selects("path", db); err != nil {
			return err
		}
	}
	if p.database != 0 && p.isCluster() {
		return errors.New("several addresses are nodes of a cluster, which has database 0 only, or sentinels with ?master_set=name")
	}
	return nil
}

// withPort returns the address of a host with or without a port.
func withPort(text, port string) (string, error) {
	if strings.Contains(text, ",") {
		return "", errHosts
	}
	u, err := url.Parse("//" + text) // which knows [::1]
	if err != nil || u.Hostname() == "" || u.Host != text || strings.HasSuffix(text, ":") {
		return "", errURL
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errPort
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// isCluster reports whether the addresses are nodes of a cluster. With one address the
// server tells.
func (p *place) isCluster() bool { return len(p.addrs) > 1 && p.masterSet == "" }

// location names the server and the database, without what is secret. The order of the
// addresses does not matter.
func (p *place) location() string {
	addrs := slices.Sorted(slices.Values(p.addrs))
	name := fmt.Sprintf("redis://%s/%d", strings.Join(addrs, ","), p.database)
	if p.masterSet != "" {
		name += "?master_set=" + url.QueryEscape(p.masterSet)
	}
	return name
}

// option returns how rueidis connects. It reads the files, so that a mistake in them is
// found at once.
func (p *place) option() (opt rueidis.ClientOption, err error) {
	opt = rueidis.ClientOption{
		InitAddress: p.addrs, Username: p.user, Password: p.password, SelectDB: p.database,
		ClientName: "caddy-chat", DisableCache: true,
		Dialer: net.Dialer{Timeout: dialTimeout}, ConnWriteTimeout: dialTimeout,
	}
	if p.scheme == schemeTLS {
		if opt.TLSConfig, err = p.tls(); err != nil {
			return opt, err
		}
	}
	switch p.scheme {
	case schemeUnix:
		opt.DialCtxFn = func(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}
	case schemeTLS:
		opt.DialCtxFn = p.dialTLS
	}
	if p.masterSet != "" {
		opt.Sentinel = rueidis.SentinelOption{
			MasterSet: p.masterSet, Username: p.sentinelUser, Password: p.sentinelPassword, ClientName: "caddy-chat",
			Dialer: opt.Dialer, TLSConfig: opt.TLSConfig, TopologyRefreshInterval: refreshSentinels,
		}
	}
	return opt, nil
}

// dialTLS checks the certificate of each server against the name or address by which it
// is dialed: the nodes of a cluster, and sentinels, name others. It reads the files again:
// a reload keeps the open store, and certificates are renewed.
func (p *place) dialTLS(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	config, err := p.tls()
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", addr)
	var dialing *net.OpError
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &dialing) {
		return nil, fmt.Errorf("no answer in TLS, want redis:// for a server without: %w", err)
	}
	return conn, err
}

func (p *place) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.ca != "" {
		pem, err := os.ReadFile(p.ca)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s has no certificate in PEM", p.ca)
		}
	}
	if p.cert != "" {
		pair, err := tls.LoadX509KeyPair(p.cert, p.key)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
