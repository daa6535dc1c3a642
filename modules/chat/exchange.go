package chat

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Exchange is one request and its answer, as a handler of the chain sees them. It
// knows which handler writes to the client: the one whose ResponseWriter leads to
// the connection, not one whose answer a handler in front translates.
type Exchange struct {
	W   http.ResponseWriter
	R   *http.Request
	Rec *record.Record

	// Store is the open store, from Lease until its release.
	Store store.Store

	app      *App
	admitted func()    // undoes Admit; nil before it
	client   *Exchange // set if W passes everything on to the client of another exchange
}

// NewExchange returns an exchange that writes to w, which is not a client's
// writer.
func (a *App) NewExchange(w http.ResponseWriter, r *http.Request, rec *record.Record) *Exchange {
	return &Exchange{W: w, R: r, Rec: rec, app: a}
}

// Recorded returns the exchange with w in front of its writer. w must pass
// everything on to the client when it is written.
func (x *Exchange) Recorded(w http.ResponseWriter, r *http.Request) *Exchange {
	return &Exchange{W: w, R: r, Rec: x.Rec, Store: x.Store, app: x.app, client: x}
}

// Lease sets Store, which stays open until release is called. Errors are
// *apierror.Error.
func (x *Exchange) Lease() (release func(), err error) {
	x.Store, release, err = x.app.Lease()
	if err != nil {
		return nil, apierror.StorageUnavailable(err)
	}
	return release, nil
}

// SetHeader sets a header of the answer that later handlers cannot override.
func (x *Exchange) SetHeader(name, value string) { x.Rec.SetHeader(x.W, name, value) }

// RequireTenant ensures that the request has a tenant: the resolved one, else the
// named one. Errors are *apierror.Error.
func (x *Exchange) RequireTenant(named string) error {
	if err := x.app.RequireTenant(x, named); err != nil {
		return err
	}
	x.SetHeader(record.HeaderTenant, x.Rec.Tenant.ID)
	return nil
}

// Admit lets the request in for the record's tenant, which is then not changed. It
// sets R: if the tenant is removed, or loses the keys that let the request in, the
// context of R ends with apierror.TenantGone as its cause.
func (x *Exchange) Admit() {
	ctx, release := x.track(x.R.Context())
	x.R, x.admitted = x.R.WithContext(ctx), release
}

// Outlive returns a context for work that may outlive the request's client, but not
// its tenant. release must be called.
func (x *Exchange) Outlive() (ctx context.Context, release func()) {
	ctx = context.WithoutCancel(x.R.Context())
	if x.Rec.Tenant == nil {
		return ctx, func() {}
	}
	return x.track(ctx)
}

// track returns a context that ends when the tenant is gone, until release is called.
func (x *Exchange) track(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	remove := x.app.tracker.add(&tracked{x.app, x.Rec.Tenant.ID, x.Rec.Keys, cancel})
	return ctx, func() {
		remove()
		cancel(nil)
	}
}

// untrack undoes Admit.
func (x *Exchange) untrack() {
	if x.admitted != nil {
		x.admitted()
	}
}

// ClientGone reports whether the client has left, or cannot be written to.
func (x *Exchange) ClientGone() bool {
	ctx := x.R.Context()
	return ctx.Err() != nil && apierror.Ended(ctx) == nil
}

// OK answers with data in the success envelope of the native API.
func (x *Exchange) OK(data any) error {
	return apierror.WriteJSON(x.W, http.StatusOK, apierror.Success{OK: true, Data: data, TraceID: x.Rec.TraceID})
}

// OwnsConnection reports whether what is written to W goes to the client
// unchanged. If a handler in front takes the answer, that handler sends the
// keep-alives, sets the deadline of a client that does not read, and counts the
// open stream.
func (x *Exchange) OwnsConnection() bool {
	if x.client != nil {
		return x.client.OwnsConnection()
	}
	return apierror.TakerOf(x.W) == nil
}

// ChunkTaker is a ResponseWriter that takes the chunks of a stream without
// encoding them, as io.ReaderFrom lets io.Copy skip its buffer. Two handlers of
// this chain need not encode and parse events between them. The header and the
// end mark are written as to any ResponseWriter.
type ChunkTaker interface {
	// TakesChunks reports whether chunks can be taken. It is true once the
	// header of an event stream was written.
	TakesChunks() bool

	// TakeChunk adds a chunk, which it must not keep. The chunk may be held
	// back until FlushChunks.
	TakeChunk(*provider.Chunk) error

	// FlushChunks sends the chunks that were taken.
	FlushChunks() error
}

// ChunkTaker returns the writer that takes the answer's chunks. It returns nil if
// they must be written as bytes, to the client or to a handler in between that
// may change them. Call it after WriteHeader, which is when a ResponseRecorder in
// between decides whether to buffer.
func (x *Exchange) ChunkTaker() ChunkTaker {
	w := x.W
	for {
		switch v := w.(type) {
		case ChunkTaker:
			return v
		case *answerWriter:
			w = v.ResponseWriter
		case caddyhttp.ResponseRecorder: // such as that of Caddy's metrics
			u, ok := w.(interface{ Unwrap() http.ResponseWriter })
			if !ok || v.Buffered() {
				return nil
			}
			w = u.Unwrap()
		default:
			return nil
		}
	}
}
