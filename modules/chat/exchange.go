package chat

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// Exchange is one request and its answer, as a handler of the chain sees
// them. It knows who writes to the client: the handler whose ResponseWriter
// leads to the connection, and not one whose answer another handler in front
// translates.
type Exchange struct {
	W   http.ResponseWriter
	R   *http.Request
	Rec *record.Record

	app    *App
	client *Exchange // to whose client W passes on all it gets; nil where W says itself
}

// NewExchange returns an exchange whose answer goes to w instead of the
// writer of the exchange that it belongs to.
func (a *App) NewExchange(w http.ResponseWriter, r *http.Request, rec *record.Record) *Exchange {
	return &Exchange{W: w, R: r, Rec: rec, app: a}
}

// Recorded returns the exchange with w in front of its writer. w passes on to
// the client what it records, and when it is written.
func (x *Exchange) Recorded(w http.ResponseWriter, r *http.Request) *Exchange {
	return &Exchange{W: w, R: r, Rec: x.Rec, app: x.app, client: x}
}

// SetHeader sets a header of the answer that no later handler can override.
func (x *Exchange) SetHeader(name, value string) { x.Rec.SetHeader(x.W, name, value) }

// RequireTenant makes sure that the request has a tenant: the one resolved
// before, else the named one. Errors are *apierror.Error.
func (x *Exchange) RequireTenant(named string) error {
	if err := x.app.RequireTenant(x.R, x.Rec, named); err != nil {
		return err
	}
	x.SetHeader(record.HeaderTenant, x.Rec.Tenant.ID)
	return nil
}

// OK answers with data in the envelope of the native API.
func (x *Exchange) OK(data any) error {
	return apierror.WriteJSON(x.W, http.StatusOK, apierror.Success{OK: true, Data: data, TraceID: x.Rec.TraceID})
}

// OwnsConnection says whether what is written to W goes to the client as it
// is. It does not where a handler in front takes the answer: keep-alives, the
// deadline of a client that does not read, and the count of open streams are
// that handler's then.
func (x *Exchange) OwnsConnection() bool {
	if x.client != nil {
		return x.client.OwnsConnection()
	}
	return apierror.TakerOf(x.W) == nil
}

// ChunkTaker is a ResponseWriter that takes a streamed answer chunk by chunk,
// so that two handlers of this process skip the bytes between them, as io.Copy
// does with io.ReaderFrom. Only what the chunks of a stream say is taken so:
// the header and the end mark are written as to any ResponseWriter.
type ChunkTaker interface {
	// TakesChunks says whether an event stream has begun, to which chunks
	// may be added now.
	TakesChunks() bool

	// TakeChunk adds a chunk, which is the caller's again afterwards. It is
	// held back until the next FlushChunks.
	TakeChunk(*provider.Chunk) error

	// FlushChunks passes on the chunks that were taken.
	FlushChunks() error
}

// ChunkTaker returns the writer that takes the answer's chunks, nil where
// they have to be written as bytes: to a client, or to a handler in between
// that changes bytes. It is known once the header has been written, with which
// a recorder in between decides whether it buffers.
func (x *Exchange) ChunkTaker() ChunkTaker {
	w := x.W
	for {
		switch v := w.(type) {
		case ChunkTaker:
			return v
		case *answerWriter:
			w = v.ResponseWriter
		case caddyhttp.ResponseRecorder: // Caddy's metrics and logs count what passes
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
