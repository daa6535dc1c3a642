package aigateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/chatctx"
	"github.com/caddy-chat/caddy-chat/modules/chaterr"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	headerCache       = "X-Ai-Cache"
	headerIdempotency = "Idempotency-Key"

	maxKey = 255 // characters

	// idempotentFor is how long a repeated key gets the first answer.
	idempotentFor = 24 * time.Hour

	// maxRecording is the longest answer that is kept. It fits every store.
	maxRecording = 1 << 20

	// noTenant is whose answers those without a tenant are. No tenant can be
	// called so.
	noTenant = "-"

	recallTimeout = 5 * time.Second
)

// recall says under which key an answer may be found again.
type recall struct {
	key   string
	keeps time.Duration
	sum   [32]byte // of the body, where another one must not have the key
	fresh bool     // whether an earlier answer will not do

	idempotent bool // by a client's key, and not by the cache
}

// answer has a request answered by an earlier answer where there is one, else
// by call.
func (h *Handler) answer(x *exchange, req *request, choice route.Choice, call func(*exchange) error) error {
	key, err := idempotencyKey(x)
	if err != nil {
		return err
	}
	if h.Cache > 0 {
		call = h.cached(x, req, choice, call)
	}
	if key == "" {
		return call(x)
	}
	rc := recall{
		key:        keyOf("idempotent", x.rec.User, x.r.URL.Path, key),
		keeps:      idempotentFor,
		sum:        sha256.Sum256(req.body),
		idempotent: true,
	}
	_, err = h.through(x, req, rc, call)
	return err
}

// cached has call answered from the cache.
func (h *Handler) cached(x *exchange, req *request, choice route.Choice, call func(*exchange) error) func(*exchange) error {
	rc := recall{
		key:   keyOf("cache", h.fingerprint, x.r.URL.Path, choice.Name, choice.Primary.String(), string(req.body)),
		keeps: time.Duration(h.Cache),
		fresh: strings.Contains(strings.ToLower(strings.Join(x.r.Header.Values("Cache-Control"), ",")), "no-cache"),
	}
	return func(x *exchange) error {
		x.rec.SetHeader(x.w, headerCache, chat.CacheMiss)
		hit, err := h.through(x, req, rc, call)
		result := chat.CacheMiss
		switch {
		case hit:
			result = chat.CacheHit
		case rc.fresh:
			result = chat.CacheBypass
		}
		h.app.Cached(x.rec.TenantID(), result)
		return err
	}
}

// idempotencyKey reads the key by which a client repeats a request.
func idempotencyKey(x *exchange) (string, error) {
	values := x.r.Header.Values(headerIdempotency)
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", chaterr.InvalidRequest(headerIdempotency, "want this header once")
	}
	key := values[0]
	invisible := func(r rune) bool { return r <= ' ' || r > '~' }
	if key == "" || len(key) > maxKey || strings.ContainsFunc(key, invisible) {
		return "", chaterr.InvalidRequest(headerIdempotency, "want 1 to 255 visible ASCII characters")
	}
	return key, nil
}

// keyOf makes a key of parts, none of which can be mistaken for another.
func keyOf(kind string, parts ...string) string {
	sum := sha256.New()
	for _, p := range parts {
		part := sha256.Sum256([]byte(p))
		sum.Write(part[:])
	}
	return kind + ":" + hex.EncodeToString(sum.Sum(nil))
}

// through has a request answered by the flight of its key: by one that is on
// its way, or by a new one, which takes a kept answer or else makes call. hit
// says that it was answered, and that nothing was called for it.
func (h *Handler) through(x *exchange, req *request, rc recall, call func(*exchange) error) (hit bool, err error) {
	tenant := cmp.Or(x.rec.TenantID(), noTenant)
	key := tenant + "/" + rc.key
	f, leads := board(key, rc.fresh)
	calls := leads && h.depart(x, rc, f, key, tenant, call)
	begun, err := h.ride(x, req, rc, f, calls)
	return begun && !calls, err
}

// depart sends a new flight on its way: with a kept answer, or by call, and
// says whether it is that. The call goes on for as long as anybody rides, be
// it without the request that it was made for.
func (h *Handler) depart(x *exchange, rc recall, f *flight, key, tenant string, call func(*exchange) error) (calls bool) {
	if kept := h.kept(x, rc, tenant); kept != nil {
		f.fill(kept)
		f.land(key, nil)
		return false
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(x.r.Context()))
	// the client's connection is its rider's to watch over
	ctx = caddyhttp.ContextWithIdleTimeouts(ctx, nil, nil)
	made := &exchange{w: f, r: x.r.WithContext(ctx), rec: x.rec.Fork()}
	// whoever sends a key means to come back for the answer
	f.carry(rc.sum, made.rec, cancel, rc.idempotent)
	go func() {
		defer cancel(nil)
		f.land(key, f.make(func() error {
			err := call(made)
			if err == nil {
				h.keep(made, rc, tenant, f)
			}
			return err
		}))
	}()
	return true
}

// ride has a flight answer the request. calls says that its call is made for
// this one.
func (h *Handler) ride(x *exchange, req *request, rc recall, f *flight, calls bool) (begun bool, err error) {
	// The end of the process ends the call, which tells all who ride. A client
	// that does not read is not waited for.
	ctx, cancel := chat.CallContext(x.r.Context(), req.stream)
	defer cancel(nil)
	defer chat.CutShort(ctx, x.w, x.r)()

	r := &rider{w: x.w, sum: rc.sum}
	over := func() {}
	defer func() { over() }()
	r.begin = func() {
		h.learn(x, f, calls, false)
		if !calls {
			x.w.Header().Del(headerCache)
		}
		if !calls && !rc.idempotent {
			x.rec.SetHeader(x.w, headerCache, chat.CacheHit)
		}
		if _, shared := x.w.(*flight); !shared && x.rec.Turn == nil && isStream(r.header) {
			over = h.app.OpenStream(x.rec.TenantID())
		}
	}
	err = f.ride(x.r.Context(), r)
	if errors.Is(err, errOtherRequest) {
		return false, chaterr.IdempotencyKeyReused()
	}
	h.learn(x, f, calls, true)
	if err == nil {
		return r.header != nil, nil
	}
	if errors.Is(err, errClientGone) {
		err = context.Canceled
		if errors.Is(context.Cause(ctx), chat.ErrShuttingDown) {
			err = chaterr.ShuttingDown()
		}
	}
	if r.header == nil {
		return false, err
	}
	h.told(x, r, chaterr.From(err))
	return true, nil
}

// learn notes what is known of the call that answers a request. What it used
// is told by the request that it was made for, if that was there to its end.
func (h *Handler) learn(x *exchange, f *flight, calls, atEnd bool) {
	c, landed := f.call()
	if !calls || atEnd && !landed {
		c = chatctx.Call{Model: x.rec.CallSoFar().Model, Attempts: c.Attempts, BudgetSpent: c.BudgetSpent}
	}
	x.rec.SetCall(c)
}

// told tells the client of a failure that comes after its answer has begun.
func (h *Handler) told(x *exchange, r *rider, e *chaterr.Error) {
	x.rec.ErrorCode = e.Code
	if chaterr.HandOver(x.w, e) {
		return
	}
	chaterr.Log(h.log, x.rec, e)
	if isStream(r.header) {
		_, _ = x.w.Write(sse.AppendEvent(nil, "", "", encode(chaterr.OpenAI(e, x.rec.TraceID))))
	}
}

// kept finds an answer that was kept; nil where there is none. A store that
// fails is as good as an empty one: the model can be asked.
func (h *Handler) kept(x *exchange, rc recall, tenant string) *recording {
	if rc.fresh {
		return nil
	}
	var value []byte
	err := h.withStore(x, func(ctx context.Context, s store.Store) (err error) {
		value, err = s.CacheGet(ctx, tenant, rc.key)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	var a *recording
	if err == nil {
		a, err = decodeRecording(value)
	}
	if err != nil {
		h.cacheFailed(x, "reading a kept answer", err)
		return nil
	}
	return a
}

// keep keeps a flight's answer, where it is whole and not too long.
func (h *Handler) keep(x *exchange, rc recall, tenant string, f *flight) {
	a := f.recording()
	if a == nil || len(a.body) > maxRecording || f.partial && !rc.idempotent {
		return
	}
	a.header = a.header.Clone()
	a.header.Del(headerCache)
	err := h.withStore(x, func(ctx context.Context, s store.Store) error {
		return s.CachePut(ctx, tenant, rc.key, a.encode(), rc.keeps)
	})
	if err != nil {
		h.cacheFailed(x, "keeping an answer", err)
	}
}

func (h *Handler) withStore(x *exchange, do func(context.Context, store.Store) error) error {
	s, release, err := h.app.Lease()
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), recallTimeout)
	defer cancel()
	return do(ctx, s)
}

func (h *Handler) cacheFailed(x *exchange, doing string, err error) {
	h.app.StoreFailed("cache")
	h.log.Error(doing, zap.String("tenant", x.rec.TenantID()), zap.Error(err))
}
