package chatsession

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
)

// doors are the APIs besides chat completions whose requests are remembered. A
// remembered request reaches the next handler as a chat completions request, since
// history is put into it.
var doors = map[string]door.Door{
	"/v1/messages": messages.Door{},
}

// remembers reports whether a request has a session, and can have one.
func remembers(r *http.Request) bool {
	if _, named := r.Header[headerSession]; !named || r.Method != http.MethodPost {
		return false
	}
	path := record.Path(r)
	return path == completionsPath || path == countPath || doors[path] != nil
}

// converses returns what takes a turn with a request and its stored answer.
func (h *Handler) converses(x *chat.Exchange, next caddyhttp.Handler) (*talk, error) {
	body, gates, err := x.ReadGated(h.maxCompletion(), time.Duration(h.ReadTimeout))
	if err != nil {
		return nil, err
	}
	c := &talk{h: h, next: next, sent: body, gates: gates}
	if d := doors[record.Path(x.R)]; d != nil {
		if c.call, err = d.Open(body); err != nil {
			return nil, apierror.FromProvider(err)
		}
		body, err = withUsageOf(c.call.Completion())
	}
	if err != nil {
		return nil, err
	}
	if c.call == nil {
		c.req, err = parseCompletion(body)
	} else {
		c.req, err = parseCall(body, c.call, nil)
	}
	return c, err
}

// talk is a chat completion with a session, or a request of another API that
// has become one.
type talk struct {
	h     *Handler
	next  caddyhttp.Handler
	sent  []byte       // the body as it came
	gates record.Gates // to be passed when the turn begins
	req   *sentCompletion
	call  door.Call // nil for a chat completion

	// Of a response that is kept; nil and empty otherwise.
	kept     *keptResponse
	turnID   string
	made     bool   // its session was made for it
	after    uint64 // the message that its session has to end with; 0 for any
	keeping  responses.Keeping
	followed bool // the client wants a stream

	// Of a response in the background; nil otherwise. begun is called when the turn has
	// begun, and called before the model is: it ends the turn with an error.
	claim  *sharedanswer.Claim // to be made when the turn begins
	begun  func()
	called func() error
}

// turn takes the turn.
func (c *talk) turn(x *chat.Exchange) error {
	if c.call == nil {
		x.Rec.Translated, x.Rec.FlatTools = c.req.translated, c.req.flat
		chat.AddDropped(x.W.Header(), c.req.dropped)
		return c.h.converse(x, c, c.next)
	}
	w := newDoorWriter(c.h, x, c.call, c.sent)
	w.kept, w.called = c.kept, c.called
	defer w.close()
	x.Rec.Translated = true
	return w.end(w.serve(func() error { return c.h.converse(x.Recorded(w, x.R), c, c.next) }))
}

// limits returns how much of the past goes to the model: by default all of it in front of a
// response that is kept, as in OpenAI's API.
func (c *talk) limits() contextLimits {
	if c.kept != nil && !c.keeping.Truncate {
		return wholeContext
	}
	return c.h.limits()
}

// keyed returns the request as the one of an Idempotency-Key.
func (c *talk) keyed(x *chat.Exchange, key string) *sharedanswer.KeyedRequest {
	session := x.Rec.Session
	if c.kept != nil {
		session = x.R.Header.Get(headerSession) // what else names it is in the body
	}
	k := &sharedanswer.KeyedRequest{Key: key, Same: [][]byte{c.sent, []byte(session)}}
	k.Stream = c.req.stream
	if c.keeping.Background {
		k.Stream, k.Continue = c.followed, true
	}
	if c.call != nil {
		k.Frame = func(e *apierror.Error) []byte { return c.failedFrame(e, x.Rec.TraceID) }
	}
	return k
}

// lastUsage returns the usage of an answer: that of its last chunk, else what the
// gateway has counted.
func lastUsage(x *chat.Exchange, of *provider.Usage) provider.Usage {
	if of != nil {
		return *of
	}
	return x.Rec.CallSoFar().Usage
}
