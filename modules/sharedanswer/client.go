// Package sharedanswer gives one answer to several requests: to identical ones
// that come while a call is running or that the cache can answer, and to those
// that repeat an Idempotency-Key.
package sharedanswer

import (
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// noTenant owns the answers of requests without a tenant. It is not a valid
// tenant id.
const noTenant = "-"

// Request is a request to answer.
type Request struct {
	*chat.Exchange
	Stream bool // whether the request asks for a stream

	// KeepAlive is how a shared stream is kept alive while it is silent.
	KeepAlive chat.KeepAlive

	// Frame returns the events that report a failure within a stream of the
	// requested API, if the failure has none. Default: OpenAI's error frame.
	Frame func(*apierror.Error) []byte
}

// client writes a shared answer to one client.
type client struct {
	x       *Request
	log     *zap.Logger
	stream  *chat.Stream // for events; nil if the answer contains its keep-alives
	onBegin func()       // called before the header is sent; may be nil
	header  http.Header  // of the answer; nil until it has begun
	events  bool         // the answer is a stream

	failureID string // of the event that reports a failure; may be empty
}

// begin sends the header. It copies the values, since handlers in front may
// change them.
func (c *client) begin(status int, header http.Header) {
	c.header, c.events = header, sse.IsStream(header)
	for name, values := range header {
		c.x.W.Header()[name] = slices.Clone(values)
	}
	if c.onBegin != nil {
		c.onBegin()
	}
	if c.events && c.stream != nil {
		c.stream.Begin()
		return
	}
	c.x.W.WriteHeader(status)
}

// write sends a part of the answer, and flushes if it is a stream.
func (c *client) write(p []byte) error {
	if c.events && c.stream != nil {
		return c.stream.Send(p)
	}
	if _, err := c.x.W.Write(p); err != nil { //nolint:gosec // a model's answer, with the Content-Type that was recorded with it
		return err
	}
	return c.flush()
}

func (c *client) flush() error {
	if !c.events {
		return nil
	}
	return http.NewResponseController(c.x.W).Flush()
}

// tell ends an answer that has begun with a failure. A partial document has no
// place for one, so tell aborts the connection lest it look complete.
func (c *client) tell(e *apierror.Error) {
	c.x.Rec.ErrorCode = e.Code
	if apierror.HandOver(c.x.W, e) {
		return
	}
	apierror.Log(c.log, c.x.Rec, e)
	if !c.events {
		panic(http.ErrAbortHandler)
	}
	_ = c.write(frameWithID(c.failureID, c.frame(e))) // the client may have gone
}

func (c *client) frame(e *apierror.Error) []byte {
	switch {
	case e.Events != nil:
		return e.Events
	case c.x.Frame != nil:
		return c.x.Frame(e)
	}
	return apierror.OpenAIFrame(e, c.x.Rec.TraceID)
}
