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

// HeaderCache says whether an answer comes from the cache.
const HeaderCache = "X-Ai-Cache"

// maxCached is the longest answer that is cached, in bytes.
const maxCached = 1 << 20

// storeTimeout bounds one read or write of an answer.
const storeTimeout = 5 * time.Second

// Cache answers requests from the app's store, and has those that ask for the
// same at the same time share one call.
type Cache struct {
	app *chat.App
	log *zap.Logger
}

// NewCache returns the cache of a handler.
func NewCache(app *chat.App, log *zap.Logger) *Cache { return &Cache{app, log} }

// Entry is the place of an answer in the cache.
type Entry struct {
	Key   string // by KeyOf
	TTL   time.Duration
	Fresh bool // an earlier answer will not do
}

// Call makes an answer, or returns why it did not. The exchange is its own, and
// lives as long as anybody waits for the answer.
type Call func(*chat.Exchange) error

// Answer answers a request from the cache, from a call that is running, or
// with a call of its own. hit says that it needed none.
func (c *Cache) Answer(x *Request, e Entry, call Call) (hit bool, err error) {
	tenant := cmp.Or(x.Rec.TenantID(), noTenant)
	key := tenant + "/" + e.Key
	f, leads := join(key, e.Fresh)
	calls := leads && c.lead(x, e, f, key, tenant, call)
	begun, err := c.wait(x, f, calls)
	return begun && !calls, err
}

// keepAliveInterval is how long a stream may be silent before a comment goes
// out.
const keepAliveInterval = 15 * time.Second

// lead answers a new flight, from the cache or with a call, and says whether
// it made one. The call may outlive the request that it was made for.
func (c *Cache) lead(x *Request, e Entry, f *flight, key, tenant string, call Call) (calls bool) {
	if a := c.get(x, e, tenant); a != nil {
		f.fill(a)
		f.finish(key, nil)
		return false
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(x.R.Context()))
	// the waiters watch over their clients' connections
	ctx = caddyhttp.ContextWithIdleTimeouts(ctx, nil, nil)
	r, rec := x.R.WithContext(ctx), x.Rec.Fork()
	f.call(rec, cancel)
	go func() {
		defer cancel(nil)
		err := f.run(func() error { return call(c.app.NewExchange(f, r, rec)) })
		c.put(x, e, tenant, f.recording(err))
		f.finish(key, err)
	}()
	return true
}

// wait answers the request with a flight. calls says that its call is made for
// this request.
func (c *Cache) wait(x *Request, f *flight, calls bool) (begun bool, err error) {
	// The end of the process ends the call, which its waiters then tell. A
	// client that does not read is not waited for.
	ctx, cancel := chat.CallContext(x.R.Context(), x.Stream)
	defer cancel(nil)
	w := &client{x: x, log: c.log, stream: x.NewStream(ctx, chat.KeepAlive{Interval: keepAliveInterval})}
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
		err = goneBecause(ctx)
	}
	if err == nil || w.header == nil {
		return w.header != nil, err
	}
	w.tell(apierror.From(err))
	return true, nil
}

// goneBecause is why a client can be sent no more.
func goneBecause(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), chat.ErrShuttingDown) {
		return apierror.ShuttingDown()
	}
	return context.Canceled
}

// learn notes what is known of the call that answers a request. Only the
// request that it was made for counts its usage, if it was there to its end.
func learn(x *Request, f *flight, calls, atEnd bool) {
	call, over := f.callSoFar()
	if !calls || atEnd && !over {
		call = record.Call{Model: x.Rec.CallSoFar().Model, Attempts: call.Attempts, BudgetSpent: call.BudgetSpent}
	}
	x.Rec.SetCall(call)
}

// get reads a cached answer, nil on a miss. A store that fails is a miss, too:
// the model can be asked instead.
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

// put caches an answer, unless it is nil or too long.
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
