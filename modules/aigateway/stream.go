package aigateway

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/chaterr"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

const (
	// keepAlive is how long a stream may be silent before a comment goes out.
	keepAlive = 15 * time.Second

	// maxHeld bounds what is held back while there is no content yet.
	maxHeld = 1 << 20
)

// stream makes a call whose answer is streamed.
func (c *call) stream() error {
	p, preq := c.providerRequest()
	in, err := p.Stream(c.ctx, preq)
	if err != nil {
		return c.failed(err)
	}
	defer in.Close()
	defer func() { c.h.app.SkippedChunks(c.choice.Target.Provider, in.Skipped()) }()
	c.watch.Reset(time.Duration(c.h.FirstTokenTimeout))

	out := &chunkWriter{c: c}
	defer out.close()
	defer chat.CutShort(c.ctx, c.x.w, c.x.r)()
	err = c.pump(in, out)
	if err == nil {
		err = out.finish()
	}
	if err != nil {
		return c.cut(out, err)
	}
	return nil
}

// pump reads a chunk and writes a chunk until the answer is complete. Nothing
// is written before there is content: until then the call may still fail with
// a status of its own.
func (c *call) pump(in provider.Stream, out *chunkWriter) error {
	for {
		chunk, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if chunk.Content && c.info.TTFT == 0 {
			c.info.TTFT = time.Since(c.begun)
		}
		if c.info.TTFT > 0 {
			c.watch.Reset(time.Duration(c.h.StallTimeout))
		}
		c.outputBytes += chunk.OutputBytes
		if chunk.Usage != nil {
			c.usage = chunk.Usage
		}
		if err := out.write(chunk); err != nil {
			return err
		}
	}
}

// cut ends a stream that failed. Once content is out, an error frame without
// [DONE] says that the answer is not whole. A provider that has begun to
// answer did not find the request at fault, whatever it says now: its reason
// is not the client's to know.
func (c *call) cut(out *chunkWriter, err error) error {
	err = c.failed(err)
	if !out.begun {
		return err
	}
	e := chaterr.From(err)
	if pe, ok := errors.AsType[*provider.Error](e); ok && (pe.Reason == provider.ReasonInvalid || pe.Reason == provider.ReasonContextLength) {
		e = chaterr.AIError().Because(err)
		err = e
	}
	c.x.rec.ErrorCode = e.Code
	c.told = true
	out.fail(e)
	return err
}

// chunkWriter writes a stream in OpenAI's shape.
type chunkWriter struct {
	c     *call
	begun bool
	held  []byte // events that wait for content
	last  []byte // a chunk to take the id and the rest from for the last one
	usage []byte // the provider's usage, as JSON
	beats *sse.Heartbeat
	done  func() // ends the count of open streams
	buf   []byte
}

func (w *chunkWriter) write(chunk *provider.Chunk) error {
	raw, usage := splitUsage(chunk.Raw)
	if usage != nil {
		w.usage = usage
	}
	if chunk.Choices || w.last == nil {
		w.last = append(w.last[:0], raw...)
	}
	if usage != nil && !chunk.Choices {
		// it comes last, in a chunk of its own
		return nil
	}
	if !w.begun && !chunk.Content && chunk.FinishReason == "" && len(w.held)+len(raw) < maxHeld {
		w.held = sse.AppendEvent(w.held, "", "", raw)
		return nil
	}
	w.buf = append(w.buf[:0], w.held...)
	w.held = nil
	w.buf = sse.AppendEvent(w.buf, "", "", raw)
	return w.send(w.buf)
}

// finish writes the usage, where the client wants it, and the end mark.
func (w *chunkWriter) finish() error {
	w.buf = append(w.buf[:0], w.held...)
	if w.c.req.includeUsage {
		w.buf = sse.AppendEvent(w.buf, "", "", w.c.usageChunk(w.last, w.usage))
	}
	w.buf = sse.AppendEvent(w.buf, "", "", []byte("[DONE]"))
	return w.send(w.buf)
}

// fail tells whoever translates the answer, or else the client.
func (w *chunkWriter) fail(e *chaterr.Error) {
	w.beats.Stop()
	if chaterr.HandOver(w.c.x.w, e) {
		return
	}
	chaterr.Log(w.c.h.log, w.c.x.rec, e)
	_ = w.flush(sse.AppendEvent(nil, "", "", encode(chaterr.OpenAI(e, w.c.x.rec.TraceID))))
}

func (w *chunkWriter) send(events []byte) error {
	if !w.begun {
		w.begin()
	}
	err := w.beats.Do(func() error { return w.flush(events) })
	if err != nil {
		// the client is gone, and the provider need not go on
		w.c.cancel(errClientGone)
	}
	return err
}

func (w *chunkWriter) begin() {
	w.begun = true
	if w.c.x.rec.Turn == nil {
		w.done = w.c.h.app.OpenStream(w.c.x.rec.TenantID())
	}
	w.c.setHeaders()
	h := w.c.x.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	w.c.x.w.WriteHeader(http.StatusOK)
	w.beats = sse.NewHeartbeat(keepAlive, func() error {
		return w.flush(sse.AppendComment(nil, "keep-alive"))
	})
}

func (w *chunkWriter) flush(p []byte) error {
	if _, err := w.c.x.w.Write(p); err != nil {
		return err
	}
	return http.NewResponseController(w.c.x.w).Flush()
}

func (w *chunkWriter) close() {
	if w.beats != nil {
		w.beats.Stop()
	}
	if w.done != nil {
		w.done()
	}
}
