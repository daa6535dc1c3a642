package sharedanswer

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// HeaderCache is the response header that says whether an answer comes from the
// cache.
const HeaderCache = "X-Ai-Cache"

// maxCached is the largest answer that is cached, in bytes.
const maxCached = 1 << 20

// storeTimeout bounds one read or write of an answer.
const storeTimeout = 5 * time.Second

// Cache answers requests from the app's store. Identical requests that come while
// a call is running share that call.
type Cache struct {
	app *chat.App
	log *zap.Logger
}

// NewCache returns a cache for a handler.
func NewCache(app *chat.App, log *zap.Logger) *Cache { return &Cache{app, log} }

// Entry says how to cache an answer.
type Entry struct {
	Key   string // by KeyOf
	TTL   time.Duration
	Fresh bool // do not use an earlier answer
}

// Call writes an answer to the exchange, or returns why it could not. The
// exchange is its own, and its context ends when the last waiter leaves.
type Call func(*chat.Exchange) error

// Answer answers a request from the cache, from a running call, or with a call of
// its own. hit is false for the latter.
func (c *Cache) Answer(x *Request, e Entry, call Call) (hit bool, err error) {
	tenant := cmp.Or(x.Rec.TenantID(), noTenant)
	key := tenant + "/" + e.Key
	f, leads := join(key, e.Fresh)
	calls := leads && c.lead(x, e, f, key, tenant, call)
	begun, err := c.wait(x, f, calls)
	return begun && !calls, err
}

// lead fills a new flight from the cache, or starts a call that does, and reports
// whether it started one. The call may outlive the request.
func (c *Cache) lead(x *Request, e Entry, f *flight, key, tenant string, call Call) (calls bool) {
	if a := c.get(x, e, tenant); a != nil {
		f.fill(a)
		f.finish(key, nil)
		return false
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(x.R.Context()))
	// the timeouts are those of the client's connection, which the call does not use
	ctx = caddyhttp.ContextWithIdleTimeouts(ctx, nil, nil)
	r, rec := x.R.WithContext(ctx), x.Rec.Fork()
	f.call(rec, cancel)
	go func() {
		defer cancel(nil)
		err := f.run(func() error {
			err := call(c.app.NewExchange(f, r, rec))
			c.put(x, e, tenant, f.recording(err))
			return err
		})
		f.finish(key, err)
	}()
	return true
}

// wait answers the request with a flight. calls says that this request leads the
// flight's call.
func (c *Cache) wait(x *Request, f *flight, calls bool) (begun bool, err error) {
	// At shutdown the call ends, and its waiters pass on why. This context only
	// keeps a client that does not read from delaying that.
	ctx, cancel := chat.CallContext(x.R.Context(), x.Stream)
	defer cancel(nil)
	w := &client{x: x, log: c.log, stream: x.NewStream(ctx, x.KeepAlive)}
	defer w.stream.Close()
	w.onBegin = func() {
		learn(x, f, calls, false)
		if !calls {
			x.SetHeader(HeaderCache, chat.CacheHit)
		}
	}
	err = f.wait(x.R.Context(), w)
	learn(x, f, calls, true)
	if errors.Is(err, errGone) {
		// A context wakes those who wait for it before it ends its children, so that
		// ctx may not have ended yet.
		if err = apierror.Cancelled(x.R.Context()); x.R.Context().Err() == nil {
			err = apierror.Cancelled(ctx)
		}
	}
	if err == nil || w.header == nil {
		return w.header != nil, err
	}
	w.tell(apierror.From(err))
	return true, nil
}

// learn updates the request's record with the flight's call. Only the request
// that leads the call counts its usage, and only if it stayed to the end.
func learn(x *Request, f *flight, calls, atEnd bool) {
	call, over := f.callSoFar()
	if !calls || atEnd && !over {
		call = record.Call{Model: x.Rec.CallSoFar().Model, Attempts: call.Attempts, BudgetSpent: call.BudgetSpent}
	}
	x.Rec.SetCall(call)
}

// get returns a cached answer, or nil on a miss. A failure of the store is a miss
// too, because the model can answer instead.
func (c *Cache) get(x *Request, e Entry, tenant string) (a *recording) {
	if e.Fresh {
		return nil
	}
	err := c.withStore(x, func(ctx context.Context, s store.Store) error {
		value, err := s.CacheGet(ctx, tenant, e.Key)
		if err != nil {
			return err
		}
		a, err = decodeRecording(value)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		c.storeFailed(x, "reading a cached answer", err)
	}
	return a
}

// put caches an answer, unless it is nil or too large.
func (c *Cache) put(x *Request, e Entry, tenant string, a *recording) {
	if a == nil || len(a.body) > maxCached {
		return
	}
	err := c.withStore(x, func(ctx context.Context, s store.Store) error {
		return s.CachePut(ctx, tenant, e.Key, a.encode(), e.TTL)
	})
	if err != nil {
		c.storeFailed(x, "caching an answer", err)
	}
}

func (c *Cache) withStore(x *Request, do func(context.Context, store.Store) error) error {
	s, release, err := c.app.Lease()
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.R.Context()), storeTimeout)
	defer cancel()
	return do(ctx, s)
}

func (c *Cache) storeFailed(x *Request, doing string, err error) {
	c.app.StoreFailed("cache")
	c.log.Error(doing, zap.String("tenant", x.Rec.TenantID()), zap.Error(err))
}
