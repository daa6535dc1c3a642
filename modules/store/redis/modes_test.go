package redis

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
	"github.com/caddy-chat/caddy-chat/modules/store/storetest"
)

// TestModes runs the suite of stores over each way to reach a server.
func TestModes(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{
		"TLS": func(t testing.TB) string {
			c := redistest.NewCertificates(t)
			return redistest.StartTLS(t, c).URL() + "?" + c.Query()
		},
		"cluster with TLS": func(t testing.TB) string {
			c := redistest.NewCertificates(t)
			return redistest.StartClusterTLS(t, c).URL() + "&" + c.Query()
		},
		"unix socket": func(t testing.TB) string {
			socket := filepath.Join(t.TempDir(), "redis.sock")
			redistest.Start(t, "--unixsocket", socket, "--requirepass", "")
			return "unix://" + socket + "?db=1"
		},
		"sentinels": func(t testing.TB) string { return redistest.StartSentinels(t, nil).URL() },
		"sentinels with TLS": func(t testing.TB) string {
			c := redistest.NewCertificates(t)
			return redistest.StartSentinels(t, c).URL() + "&" + c.Query()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := start(t)
			var n atomic.Int64
			storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
				return openAt(t, url, fmt.Sprintf("test%d:", n.Add(1)), now)
			})
		})
	}
}

// TestIPv6 reaches a server at an address with colons.
func TestIPv6(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine is without IPv6: %v", err)
	}
	l.Close()
	server := redistest.Start(t, "--bind", "127.0.0.1 ::1")
	d := openAt(t, strings.Replace(server.URL(), "127.0.0.1", "[::1]", 1), "test:", nil)
	if err := d.CachePut(t.Context(), "acme", "k", []byte("v"), time.Hour); err != nil {
		t.Error(err)
	}
}

// TestRenewed has all certificates replaced, those of the authority, too. A store that is
// open uses the new files, which a reload would not have it do.
func TestRenewed(t *testing.T) {
	t.Parallel()
	c := redistest.NewCertificates(t)
	server := redistest.StartTLS(t, c)
	d := openAt(t, server.URL()+"?"+c.Query(), "test:", nil)
	d.limit = callTimeout
	server.Kill()
	c.Renew(t)
	server.Restart()
	becomes(t, "the store goes on", func() bool { return d.CachePut(t.Context(), "acme", "k", []byte("v"), time.Hour) == nil })
}

// TestAnnouncedNames has a cluster whose certificates are for a name, as docs/store_redis.md
// says how: the servers name each other by it.
func TestAnnouncedNames(t *testing.T) {
	t.Parallel()
	c := redistest.NewCertificates(t)
	cluster := redistest.StartNamedTLS(t, c, "localhost")
	d := openAt(t, strings.ReplaceAll(cluster.URL(), "127.0.0.1", "localhost")+"&"+c.Query(), "test:", nil)
	for i := range 20 { // on all servers
		if err := d.CachePut(t.Context(), fmt.Sprint("t", i), "k", []byte("v"), time.Hour); err != nil {
			t.Error(err)
		}
	}
}

// TestSentinelFailover kills the master: the store goes on with the replica.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinels(t, nil)
	goesOnWithReplica(t, openAt(t, s.URL(), "test:", nil), s)
}

// TestAnnouncedNamesOfSentinels is TestAnnouncedNames with sentinels, and a failover.
func TestAnnouncedNamesOfSentinels(t *testing.T) {
	t.Parallel()
	c := redistest.NewCertificates(t)
	s := redistest.StartNamedSentinels(t, c, "localhost")
	url := strings.ReplaceAll(s.URL(), "127.0.0.1", "localhost") + "&" + c.Query()
	goesOnWithReplica(t, openAt(t, url, "test:", nil), s)
}

func goesOnWithReplica(t *testing.T, d *db, s *redistest.Sentinels) {
	t.Helper()
	d.limit = callTimeout
	put := func() error { return d.CachePut(t.Context(), "acme", "k", []byte("v"), time.Hour) }
	if err := put(); err != nil {
		t.Fatal(err)
	}
	s.Master.WaitForReplica()
	s.Master.Kill()
	becomes(t, "the store goes on", func() bool { return put() == nil && d.Health() == nil }) // which notices by itself
	if value, err := d.CacheGet(t.Context(), "acme", "k"); err != nil || string(value) != "v" {
		t.Errorf("got %q, %v", value, err)
	}
	if role := s.Replica.Command("ROLE"); !strings.Contains(role, "master") {
		t.Errorf("the replica is %s", role)
	}
}

// TestUntrusted has certificates that do not fit, and sentinels' wrong passwords.
func TestUntrusted(t *testing.T) {
	c, other := redistest.NewCertificates(t), redistest.NewCertificates(t)
	server, plain := redistest.StartTLS(t, c), redistest.Start(t)
	_, port, _ := strings.Cut(server.Addr, ":")
	sentinels := redistest.StartSentinels(t, nil)
	for name, tc := range map[string]struct{ url, want string }{
		"another authority":       {"rediss://" + server.Addr + "?" + other.Query(), "certificate signed by unknown authority"},
		"the system's":            {"rediss://" + server.Addr, "certificate signed by unknown authority"},
		"another name":            {"rediss://localhost:" + port + "?" + c.Query(), "certificate is not valid for any names"},
		"no client's certificate": {"rediss://" + server.Addr + "?ca=" + c.CA, "certificate"},
		"no TLS":                  {"redis://" + server.Addr, "a server with TLS wants rediss://"},
		"a server without TLS":    {"rediss://" + plain.Addr, "no answer in TLS, want redis:// for a server without"},
		"no sentinel's password":  {"redis://default:server-secret@" + sentinels.Sentinels[0].Addr + "?master_set=main", "NOAUTH"},
		"another name of a set":   {strings.Replace(sentinels.URL(), "master_set=main", "master_set=other", 1), "No such master with that name"},
		"no sentinels":            {"redis://" + plain.Addr + "?master_set=main", "master_set is for the addresses of sentinels, and this is a server"},
		"no set is named":         {"redis://default:sentinel-secret@" + sentinels.Sentinels[0].Addr, "sentinels want ?master_set=name"},
		"no socket":               {"unix:///no/such.sock", "dial unix /no/such.sock"},
		"no server's password":    {strings.Replace(sentinels.URL(), "default:server-secret@", "", 1), "NOAUTH"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Redis{URL: tc.url}
			if err := r.Provision(caddy.Context{}); err != nil {
				t.Fatal(err)
			}
			d, err := r.open(quiet(t), nil)
			if err == nil {
				d.Close()
				t.Fatal("it connects")
			}
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
