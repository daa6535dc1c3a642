// Package sharedanswer gives one answer to several requests: to those that come
// while a call runs, to those that the cache answers, and to those that repeat
// an Idempotency-Key.
package sharedanswer

import (
	"mime"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
)

// noTenant owns the answers of requests without a tenant. It is no valid
// tenant id.
const noTenant = "-"

// Request is a request to answer.
type Request struct {
	*chat.Exchange
	Stream bool // whether it asks for one

	// Frame renders a failure as the end of a stream, in the words of the API
	// that was asked. Default: OpenAI's error frame.
	Frame func(*apierror.Error) []byte
}

// client writes an answer that was made for another request, or that others
// share.
type client struct {
	x       *Request
	log     *zap.Logger
	stream  *chat.Stream // for events; nil where they bring their own keep-alives
	onBegin func()       // called before the header goes out; may be nil
	header  http.Header  // of the answer; nil until it has begun
	events  bool         // it is a stream
}

// begin sends the header. Its values are copied: the handlers in front may
// change them.
func (c *client) begin(status int, header http.Header) {
	c.header, c.events = header, isStream(header)
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

// write sends a piece of the answer, at once where it is a stream.
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

// tell ends an answer that has begun with a failure. A document that stops
// halfway would look whole, so its connection is broken off.
func (c *client) tell(e *apierror.Error) {
	c.x.Rec.ErrorCode = e.Code
	if apierror.HandOver(c.x.W, e) {
		return
	}
	apierror.Log(c.log, c.x.Rec, e)
	if !c.events {
		panic(http.ErrAbortHandler)
	}
	_ = c.write(c.frame(e)) // the client may have gone
}

func (c *client) frame(e *apierror.Error) []byte {
	if c.x.Frame != nil {
		return c.x.Frame(e)
	}
	return apierror.OpenAIFrame(e, c.x.Rec.TraceID)
}

func isStream(header http.Header) bool {
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return mediaType == "text/event-stream"
}
