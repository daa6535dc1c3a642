package aigateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/chatctx"
	"github.com/caddy-chat/caddy-chat/modules/chaterr"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	headerIdempotency = "Idempotency-Key"

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

	idempotent bool
}

// answer has a request answered by an earlier answer where there is one, else
// by call.
func (h *Handler) answer(x *exchange, req *request, choice route.Choice, call func(*exchange) error) error {
	if h.Cache > 0 {
		call = h.cached(x, req, choice, call)
	}
	key, err := idempotencyKey(x)
	if err != nil {
		return err
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
		fresh: strings.Contains(strings.ToLower(x.r.Header.Get("Cache-Control")), "no-cache"),
	}
	tenant := x.rec.TenantID()
	return func(inner *exchange) error {
		hit, err := h.through(inner, req, rc, func(leader *exchange) error {
			x.rec.SetHeader(x.w, "X-Ai-Cache", "miss")
			return call(leader)
		})
		switch {
		case hit:
			h.app.Cached(tenant, chat.CacheHit)
		case rc.fresh:
			h.app.Cached(tenant, chat.CacheBypass)
		default:
			h.app.Cached(tenant, chat.CacheMiss)
		}
		return err
	}
}

// idempotencyKey reads the key by which a client repeats a request.
func idempotencyKey(x *exchange) (string, error) {
	values := x.r.Header.Values(headerIdempotency)
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	invisible := func(r rune) bool { return r < ' ' || r > '~' }
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, invisible) {
		return "", chaterr.InvalidRequest(headerIdempotency, "want one header of 1 to 255 visible characters")
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
// its way, or by a new one, which takes a kept answer or else makes call.
func (h *Handler) through(x *exchange, req *request, rc recall, call func(*exchange) error) (hit bool, err error) {
	tenant := x.rec.TenantID()
	if tenant == "" {
		tenant = noTenant
	}
	f, leads := board(tenant+"/"+rc.key, rc.sum, rc.fresh)
	if leads {
		hit, err = h.lead(x, req, rc, f, tenant, call)
	} else {
		hit = true
		err = h.follow(x, req, rc, f)
	}
	return hit, err
}

// follow rides another request's flight.
func (h *Handler) follow(x *exchange, req *request, rc recall, f *flight) error {
	if f.sum != rc.sum {
		f.leave()
		return chaterr.IdempotencyKeyReused()
	}
	h.markHit(x, rc)
	failure, err := h.ride(x, req, f)
	return h.told(x, failure, err)
}

// lead lands a new flight: with a kept answer, or by a call that goes on for
// as long as anybody rides.
func (h *Handler) lead(x *exchange, req *request, rc recall, f *flight, tenant string, call func(*exchange) error) (hit bool, err error) {
	key := tenant + "/" + rc.key
	kept := h.kept(x, rc, tenant)
	if kept != nil && kept.sum != rc.sum {
		f.leave()
		err = chaterr.IdempotencyKeyReused()
		f.land(key, err)
		return false, err
	}
	if kept != nil {
		h.markHit(x, rc)
		f.fill(kept)
		f.land(key, nil)
		failure, err := h.ride(x, req, f)
		return true, h.told(x, failure, err)
	}

	ctx, cancel := context.WithCancelCause(context.WithoutCancel(x.r.Context()))
	defer cancel(nil)
	// whoever sends a key means to come back for the answer
	f.carry(cancel, rc.idempotent)
	type outcome struct {
		failure *chaterr.Error
		err     error
	}
	rode := make(chan outcome, 1)
	go func() {
		failure, err := h.ride(x, req, f)
		rode <- outcome{failure, err}
	}()
	err = call(&exchange{w: f, r: x.r.WithContext(ctx), rec: x.rec})
	if err == nil {
		h.keep(x, rc, tenant, f)
	}
	f.land(key, err)
	o := <-rode
	if o.err == nil {
		o.err = err
	}
	return false, h.told(x, o.failure, o.err)
}

// markHit notes that no model is called for a request.
func (h *Handler) markHit(x *exchange, rc recall) {
	if !rc.idempotent {
		x.rec.SetHeader(x.w, "X-Ai-Cache", "hit")
	}
}

// ride writes a flight to the request's client.
func (h *Handler) ride(x *exchange, req *request, f *flight) (*chaterr.Error, error) {
	ctx, cancel := chat.CallContext(x.r.Context(), req.stream)
	defer cancel(nil)
	defer chat.CutShort(ctx, x.w, x.r)()
	return f.ride(ctx, x.w)
}

// told tells the client of a failure that came after its answer had begun,
// and returns one that came before.
func (h *Handler) told(x *exchange, failure *chaterr.Error, err error) error {
	if failure == nil {
		if errors.Is(err, chat.ErrShuttingDown) {
			return chaterr.ShuttingDown().Because(err)
		}
		return err
	}
	x.rec.ErrorCode = failure.Code
	if chaterr.HandOver(x.w, failure) {
		return nil
	}
	chaterr.Log(h.log, x.rec, failure)
	_, _ = x.w.Write(sse.AppendEvent(nil, "", "", encode(chaterr.OpenAI(failure, x.rec.TraceID))))
	return nil
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
	for _, name := range []string{chatctx.HeaderTrace, chatctx.HeaderTenant} {
		a.header.Del(name)
	}
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
