package redis

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// checkTenant is no tenant's id, so that the check meets none of their keys.
const checkTenant = "_"

var (
	errOld       = errors.New("the server is too old: want Redis 7 or later, or Valkey")
	errReplica   = errors.New("the server is a replica, want its master")
	errForbidden = errors.New("the user lacks a permission")
)

//go:embed lua
var luaFiles embed.FS

// commands are those that the scripts call, and one that followers need.
var commands = sync.OnceValues(func() (list []string, err error) {
	list = []string{"SSUBSCRIBE"}
	files, err := luaFiles.ReadDir("lua")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := luaFiles.ReadFile("lua/" + f.Name())
		if err != nil {
			return nil, err
		}
		for _, call := range commandCall.FindAllSubmatch(text, -1) {
			list = append(list, string(call[1]))
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
})

var commandCall = regexp.MustCompile(`redis\.call\('([A-Z]+)'`)

// check finds out whether the store can work for a tenant: whether the server is recent enough, the
// user may do what the scripts do, and a write is accepted.
func (d *db) check(ctx context.Context, tenant string) error {
	list, err := commands()
	if err != nil {
		return fmt.Errorf("listing the commands of the scripts: %w", err)
	}
	args := append([]string{d.clock(), d.cancelChannel("")}, list...)
	missing, err := checkScript.Exec(ctx, d.client, d.keys.declared(tenant), args).ToString()
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "READONLY"):
		return fmt.Errorf("%w: %w", errReplica, err)
	case err != nil && strings.HasPrefix(err.Error(), "NOPERM"):
		return fmt.Errorf("%w: scripts on keys that begin with %s: %w", errForbidden, d.keys, err)
	case err != nil && strings.Contains(err.Error(), "unknown command 'EVALSHA'"):
		return fmt.Errorf("the server runs no scripts, and sentinels want ?master_set=name: %w", err)
	case err != nil:
		return fmt.Errorf("checking redis: %w", err)
	case missing == "old":
		return errOld
	case missing != "":
		return fmt.Errorf("%w: %s on keys or channels that begin with %s", errForbidden, missing, d.keys)
	}
	return nil
}

// checkAtStart refuses a server that will not do. One that only cannot write for the
// moment may be given time.
func (d *db) checkAtStart() error {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	err := d.check(ctx, checkTenant)
	if !refusedForNow(err) || errors.Is(err, errReplica) {
		return err
	}
	d.note(checkTenant, err)
	return nil
}

// explain adds to an error of the first connection what it is likely to mean.
func (p *place) explain(err error) error {
	if strings.Contains(err.Error(), "cluster support disabled") {
		return fmt.Errorf("several addresses are nodes of a cluster, or sentinels with ?master_set=name: %w", err)
	}
	if strings.Contains(err.Error(), "unknown command 'SENTINEL'") {
		return fmt.Errorf("master_set is for the addresses of sentinels, and this is a server: %w", err)
	}
	// a server with TLS closes the connection, and may not be heard saying why
	closed := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
	switch {
	case closed && p.scheme == schemePlain:
		return fmt.Errorf("a server with TLS wants rediss://: %w", err)
	case closed && p.scheme == schemeTLS && p.cert == "":
		return fmt.Errorf("a server may want a certificate, by cert and key: %w", err)
	}
	return err
}

// failure is why the store cannot be relied on. In a cluster, other tenants may be on a
// server that is well.
type failure struct {
	tenant  string
	err     error
	refused bool // by a server that answers
}

// note remembers whether a tenant's server can be reached and does what it is asked.
func (d *db) note(tenant string, err error) {
	if err == nil || rueidis.IsRedisNil(err) {
		// what was refused may be a write, and this a read: check finds out
		if f := d.failure.Load(); f != nil && !f.refused && f.tenant == tenant {
			d.answers(f)
		}
		return
	}
	if errors.Is(err, context.Canceled) {
		return
	}
	var e *rueidis.RedisError
	f := &failure{tenant, err, errors.As(err, &e) || errors.Is(err, errForbidden)}
	if d.failure.Swap(f) == nil {
		d.log.Error("redis fails", zap.String("tenant", tenant), zap.Error(err))
	}
}

// away says that a server is silent, as a check has found out, too. Calls are not sent to
// it: a request makes several, and each would wait. One that refuses connections says so
// at once.
type away struct {
	tenant string // whose server it is; empty for that of all
	err    error
}

var errAway = errors.New("redis does not answer")

// isAway returns why nothing is sent to a tenant's server; nil if it may answer.
func (d *db) isAway(tenant string) error {
	if a := d.away.Load(); a != nil && (a.tenant == "" || a.tenant == tenant) {
		return fmt.Errorf("%w: %w", errAway, a.err)
	}
	return nil
}

// goesAway remembers that a tenant's server does not answer. A cluster's other servers may.
func (d *db) goesAway(tenant string, err error) {
	if len(d.client.Nodes()) <= 1 {
		tenant = ""
	}
	d.away.Store(&away{tenant, err})
}

// answers forgets a failure.
func (d *db) answers(f *failure) {
	d.away.Store(nil)
	d.answered.Store(time.Now().UnixNano())
	if d.failure.CompareAndSwap(f, nil) {
		d.log.Info("redis works again")
	}
}

// renewTime is how long nodes may take to renew their leases after the server was
// away.
const renewTime = 10 * time.Second

// renewed reports whether a lease that has ended says that its node is gone, and not
// only that the server was away for longer than it.
func (d *db) renewed() bool {
	return d.failure.Load() == nil && time.Since(time.Unix(0, d.answered.Load())) > renewTime
}

// pingTime is how often a server is asked whether it is there.
const pingTime = 5 * time.Second

// recover checks a server that failed, and whether one that did not is still there, so
// that a node without requests notices when it goes and when it is back.
func (d *db) recover() {
	var pinged time.Time
	ticker := time.NewTicker(retryTime)
	defer ticker.Stop()
	for {
		select {
		case <-d.done:
			return
		case <-ticker.C:
		}
		before := d.failure.Load()
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		if before == nil {
			if time.Since(pinged) > pingTime {
				pinged = time.Now()
				// what the scripts may do, and always of the same node of a cluster
				key := d.keys.tenant(checkTenant) + "ping"
				d.note(checkTenant, d.client.Do(ctx, d.client.B().Get().Key(key).Build()).Error())
			}
			cancel()
			continue
		}
		err := d.check(ctx, before.tenant)
		cancel()
		if err == nil {
			d.answers(before)
			continue
		}
		d.note(before.tenant, err)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			d.goesAway(before.tenant, err)
		} else {
			d.away.Store(nil)
		}
		if errors.Is(err, errForbidden) && !errors.Is(before.err, errForbidden) {
			// the failed call's error does not name the command
			d.log.Error("redis refuses to work", zap.Error(err))
		}
	}
}

// Health implements store.Store.
func (d *db) Health() error {
	if f := d.failure.Load(); f != nil {
		return fmt.Errorf("redis: %w", f.err)
	}
	if n := d.later.len(); n > 0 {
		return fmt.Errorf("redis: %d writes wait for it", n)
	}
	return nil
}
