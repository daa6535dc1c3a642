package chat

import (
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// Stream writes an answer of server-sent events. If the exchange owns the
// connection, Stream also sends keep-alives, keeps a client that stopped reading
// from delaying the end, and counts as an open stream.
type Stream struct {
	x      *Exchange
	rc     *http.ResponseController
	beats  *sse.Heartbeat // guards what follows
	begun  bool
	sent   bool              // at least one event
	begins func(http.Header) // as of MayBegin
	header http.Header       // additional headers of the answer

	owned  bool
	closed func() // decrements the count of open streams; nil before the answer begins
	unhook func() // undoes CutShort
}

// KeepAlive says when a silent stream sends a sign of life.
type KeepAlive struct {
	Interval time.Duration // 0 sends none
	Event    []byte        // what is sent; nil for a comment

	// Begins lets a keep-alive begin the answer, after which the handler must
	// report failures as events. Otherwise keep-alives wait for the first event, or for
	// MayBegin.
	Begins bool
}

// NewStream prepares an answer and sends nothing. After ctx ends, a write that
// blocks on the client fails within seconds. Close must be called before the
// handler returns.
func (x *Exchange) NewStream(ctx context.Context, k KeepAlive) *Stream {
	s := &Stream{x: x, rc: http.NewResponseController(x.W), header: make(http.Header), owned: x.OwnsConnection()}
	if !s.owned {
		s.beats = sse.NewHeartbeat(k.Interval, func() error {
			if !s.begun && s.begins != nil {
				s.begin() // the handler in front goes on with its own keep-alives
			}
			return nil
		})
		return s
	}
	s.unhook = CutShort(ctx, x.W, x.R)
	if k.Begins {
		s.begins = func(http.Header) {}
	}
	s.beats = sse.NewHeartbeat(k.Interval, func() error {
		switch {
		case !s.begun && s.begins == nil:
			return nil
		case k.Event == nil || !s.sent: // the first event of an API may be another one
			return s.write(keepAliveComment)
		}
		return s.write(k.Event)
	})
	return s
}

// MayBegin lets a keep-alive begin the answer from now on, or no longer if set is nil. Set
// sets the header of an answer that begins so.
func (s *Stream) MayBegin(set func(http.Header)) {
	_ = s.beats.Do(func() error {
		s.begins = set
		return nil
	})
}

var keepAliveComment = sse.AppendComment(nil, "keep-alive")

// SetHeader sets a header of the answer. It has no effect once the answer has
// begun.
func (s *Stream) SetHeader(name, value string) {
	_ = s.beats.Do(func() error {
		s.header.Set(name, value)
		return nil
	})
}

// Begin sends the header, unless it was sent. What MayBegin was given last sets it.
func (s *Stream) Begin() {
	_ = s.beats.Do(func() error {
		s.begin()
		return nil
	})
}

// Flush sends what was written.
func (s *Stream) Flush() error { return s.beats.Do(s.rc.Flush) }

// Send writes events with one write and one flush, after the header if that was
// not sent.
func (s *Stream) Send(events []byte) error {
	return s.beats.Do(func() error {
		s.sent = true
		return s.write(events)
	})
}

func (s *Stream) write(p []byte) error {
	s.begin()
	if _, err := s.x.W.Write(p); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (s *Stream) begin() {
	if s.begun {
		return
	}
	s.begun = true
	if s.owned {
		s.closed = s.x.app.OpenStream(s.x.Rec.TenantID())
	}
	h := s.x.W.Header()
	if s.begins != nil {
		s.begins(h)
	}
	maps.Copy(h, s.header)
	if !sse.IsStream(h) { // else as a next handler has set it, such as with a charset
		h.Set("Content-Type", sse.MediaType)
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	h.Del("Content-Length")
	s.x.W.WriteHeader(http.StatusOK)
}

// Stop ends the keep-alives, and reports whether the answer has begun. After that
// only Begin and Send can begin it.
func (s *Stream) Stop() (begun bool) {
	s.beats.Stop()
	return s.begun
}

// Close ends the stream. It may be called twice.
func (s *Stream) Close() {
	s.beats.Stop()
	if s.unhook != nil {
		s.unhook()
	}
	if s.closed != nil {
		s.closed()
		s.closed = nil
	}
}
