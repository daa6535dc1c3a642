// Package sharedanswer gives one answer to all who ask for it: to those who come
// while it is made as it comes, to those who come later as it is kept.
package sharedanswer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// HeaderCache says whether an answer comes from the cache.
const HeaderCache = "X-Ai-Cache"

// noTenant is whose answers those without a tenant are. No tenant can be
// called so.
const noTenant = "-"

// Recall says under which key an answer may be found again.
type Recall struct {
	Key   string // by KeyOf
	Keep  time.Duration
	Sum   [32]byte // of the request, where another one must not have the key
	Fresh bool     // whether an earlier answer will not do

	Keyed bool // by a client's key, and not by the cache
	Lasts bool // the call goes on when nobody waits for it

	// Bound says that the call uses what is the request's: that is then not
	// left before the call has ended, and its record is the call's.
	Bound bool

	// Holds says whether a kept answer still counts, by the note that its call
	// has made; only answers with one are kept, those that end in a failure
	// among them. Nil where every answer counts that went well.
	Holds func(ctx context.Context, note []byte) (bool, error)
}

// Request is one that is answered.
type Request struct {
	W      http.ResponseWriter
	R      *http.Request
	Rec    *record.Record
	Stream bool // whether it asks for one
}

// Call makes an answer by writing it to f, or returns why there is none. r
// goes on for as long as anybody waits for the answer.
type Call func(f *Flight, r *http.Request, rec *record.Record) error

// Replayer gives answers again, out of the app's store.
type Replayer struct {
	app *chat.App
	log *zap.Logger
}

// New returns the Replayer of a handler.
func New(app *chat.App, log *zap.Logger) *Replayer { return &Replayer{app, log} }

// Answer has a request answered by the flight of its key: by one that is on
// its way, or by a new one, which takes a kept answer or else makes call. hit
// says that it was answered, and that nothing was called for it.
func (p *Replayer) Answer(x *Request, rc Recall, call Call) (hit bool, err error) {
	tenant := cmp.Or(x.Rec.TenantID(), noTenant)
	key := tenant + "/" + rc.Key
	f, leads := board(key, rc.Fresh)
	calls := leads && p.depart(x, rc, f, key, tenant, call)
	begun, err := p.ride(x, rc, f, calls)
	return begun && !calls, err
}

// depart sends a new flight on its way: with a kept answer, or by call, and
// says whether it is that. The call goes on for as long as anybody rides, be
// it without the request that it was made for.
func (p *Replayer) depart(x *Request, rc Recall, f *Flight, key, tenant string, call Call) (calls bool) {
	kept, err := p.kept(x, rc, tenant)
	if kept != nil || err != nil {
		if kept != nil {
			f.fill(kept)
		}
		f.land(key, err)
		return false
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(x.R.Context()))
	// the client's connection is its rider's to watch over
	ctx = caddyhttp.ContextWithIdleTimeouts(ctx, nil, nil)
	r, rec := x.R.WithContext(ctx), x.Rec
	if !rc.Bound {
		rec = rec.Fork()
	}
	f.carry(rc.Sum, rec, cancel, rc.Lasts)
	go func() {
		defer cancel(nil)
		err := f.make(func() error { return call(f, r, rec) })
		p.keep(x, rc, tenant, f, err)
		f.land(key, err)
	}()
	return true
}

// ride has a flight answer the request. calls says that its call is made for
// this one.
func (p *Replayer) ride(x *Request, rc Recall, f *Flight, calls bool) (begun bool, err error) {
	// The end of the process ends the call, which tells all who ride. A client
	// that does not read is not waited for.
	ctx, cancel := chat.CallContext(x.R.Context(), x.Stream)
	defer cancel(nil)
	defer chat.CutShort(ctx, x.W, x.R)()

	bound := calls && rc.Bound
	r := &rider{w: x.W, sum: rc.Sum}
	over := func() {}
	defer func() { over() }()
	r.begin = func() {
		if !bound {
			learn(x, f, calls, false)
		}
		if !calls {
			x.W.Header().Del(HeaderCache)
		}
		if !calls && !rc.Keyed {
			x.Rec.SetHeader(x.W, HeaderCache, chat.CacheHit)
		}
		if _, shared := x.W.(*Flight); !shared && !bound && x.Rec.Turn == nil && isStream(r.header) {
			over = p.app.OpenStream(x.Rec.TenantID())
		}
	}
	err = f.ride(x.R.Context(), r)
	if errors.Is(err, errOtherRequest) {
		return false, apierror.IdempotencyKeyReused()
	}
	if bound {
		<-f.landed
	} else {
		learn(x, f, calls, true)
	}
	if err == nil {
		return r.header != nil, nil
	}
	if errors.Is(err, errGone) {
		if bound {
			// the call has noted what became of it
			if r.header != nil {
				return true, nil
			}
			return false, f.err
		}
		err = context.Canceled
		if errors.Is(context.Cause(ctx), chat.ErrShuttingDown) {
			err = apierror.ShuttingDown()
		}
	}
	if r.header == nil {
		return false, err
	}
	p.told(x, r, apierror.From(err))
	return true, nil
}

// learn notes what is known of the call that answers a request. What it used
// is told by the request that it was made for, if that was there to its end.
func learn(x *Request, f *Flight, calls, atEnd bool) {
	c, landed := f.call()
	if !calls || atEnd && !landed {
		c = record.Call{Model: x.Rec.CallSoFar().Model, Attempts: c.Attempts, BudgetSpent: c.BudgetSpent}
	}
	x.Rec.SetCall(c)
}

// told tells the client of a failure that comes after its answer has begun. A
// document that is broken off would look whole, if not for its connection.
func (p *Replayer) told(x *Request, r *rider, e *apierror.Error) {
	x.Rec.ErrorCode = e.Code
	if apierror.HandOver(x.W, e) {
		return
	}
	apierror.Log(p.log, x.Rec, e)
	if !isStream(r.header) {
		panic(http.ErrAbortHandler)
	}
	doc, _ := json.Marshal(apierror.OpenAI(e, x.Rec.TraceID)) // cannot fail
	_, _ = x.W.Write(sse.AppendEvent(nil, "", "", doc))
}
