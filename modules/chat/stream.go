package chat

import (
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// Stream is an answer of server-sent events. Where the exchange owns the
// connection, it sends keep-alives, does not let a client that stopped reading
// hold up the end, and is counted as an open stream.
type Stream struct {
	x      *Exchange
	rc     *http.ResponseController
	beats  *sse.Heartbeat // guards what follows
	begun  bool
	header http.Header // what else goes into the answer's header

	owned  bool
	closed func() // ends the count of open streams; nil before the answer has begun
	unhook func() // ends the watch over a client that does not read
}

// KeepAlive says when a silent stream sends a comment.
type KeepAlive struct {
	Interval time.Duration // 0 sends none

	// Begins lets a keep-alive begin the answer: the handler reports failures
	// as events from then on. Otherwise the first one comes after the first
	// event.
	Begins bool
}

// NewStream prepares an answer, of which nothing is sent yet. Once ctx has
// ended, a write that waits for the client fails within seconds. Close must be
// called before the handler returns.
func (x *Exchange) NewStream(ctx context.Context, k KeepAlive) *Stream {
	s := &Stream{x: x, rc: http.NewResponseController(x.W), header: make(http.Header), owned: x.OwnsConnection()}
	if !s.owned {
		s.beats = sse.NewHeartbeat(0, nil)
		return s
	}
	s.unhook = CutShort(ctx, x.W, x.R)
	s.beats = sse.NewHeartbeat(k.Interval, func() error {
		if !s.begun && !k.Begins {
			return nil
		}
		return s.write(keepAliveComment)
	})
	return s
}

var keepAliveComment = sse.AppendComment(nil, "keep-alive")

// SetHeader sets a header of the answer, where it has not begun.
func (s *Stream) SetHeader(name, value string) {
	_ = s.beats.Do(func() error {
		s.header.Set(name, value)
		return nil
	})
}

// Begin sends the header, where that has not been done.
func (s *Stream) Begin() {
	_ = s.beats.Do(func() error {
		s.begin()
		return nil
	})
}

// Send writes events and flushes them, in one go. It begins the answer where
// that has not been done.
func (s *Stream) Send(events []byte) error {
	return s.beats.Do(func() error { return s.write(events) })
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
	maps.Copy(h, s.header)
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	h.Del("Content-Length")
	s.x.W.WriteHeader(http.StatusOK)
}

// Stop ends the keep-alives, and says whether the answer has begun. Nothing
// begins it afterwards but Begin and Send.
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
