package aigateway

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

const (
	// keepAlive is how long a stream may be silent before a comment goes out.
	keepAlive = 15 * time.Second

	// maxHeld bounds what is held back while there is no content yet.
	maxHeld = 1 << 20
)

// chunks is a stream of chunks, read one by one as provider.Stream's are.
type chunks interface {
	Next() (*provider.Chunk, error)
}

// source is a stream that has begun to answer.
type source struct {
	head  []*provider.Chunk // read already
	in    chunks
	ended bool // in has ended, honestly
}

// begins reads a stream until there is content. Nothing of it has been
// written by then: the attempt may still fail without a trace.
func begins(a *attempt, in chunks) (source, error) {
	s := source{in: in}
	held := 0
	for !a.content || len(s.head) == 0 {
		chunk, err := in.Next()
		if errors.Is(err, io.EOF) {
			s.ended = true
			return s, nil
		}
		if err != nil {
			return s, err
		}
		c := *chunk
		c.Raw = append([]byte(nil), chunk.Raw...)
		s.head = append(s.head, &c)
		if held += len(c.Raw); held > maxHeld {
			break
		}
	}
	return s, nil
}

func (s *source) next() (*provider.Chunk, error) {
	switch {
	case len(s.head) > 0:
		chunk := s.head[0]
		s.head = s.head[1:]
		return chunk, nil
	case s.ended:
		return nil, io.EOF
	}
	return s.in.Next()
}

// stream makes a call whose answer is streamed.
func (c *call) stream() error {
	var src source
	a, err := c.try(func(a *attempt) error {
		err := a.open()
		if err == nil {
			src, err = begins(a, a)
		}
		return err
	})
	if err != nil {
		return err
	}
	c.answers(a)

	out := newChunkWriter(c)
	defer out.close()
	if c.x.flight == nil {
		defer chat.CutShort(c.ctx, c.x.w, c.x.r)()
	}
	for {
		err := c.pump(&src, out)
		if _, spent := errors.AsType[*budgetError](err); spent {
			return out.stop(err)
		}
		if err == nil {
			err = out.finish()
		}
		if err == nil {
			return nil
		}
		if src, err = c.rescue(out, err); err != nil {
			return c.cut(out, err)
		}
	}
}

// pump reads a chunk and writes a chunk until the answer is complete.
func (c *call) pump(src *source, out *chunkWriter) error {
	for {
		chunk, err := src.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.meter(c.used(), chunk); err != nil {
			out.shape(chunk.Raw)
			return err
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
	e := apierror.From(err)
	switch reasonOf(err) {
	case provider.ReasonInvalid, provider.ReasonContextLength, provider.ReasonModel:
		e = apierror.AIError().Because(err)
	}
	c.x.rec.ErrorCode = e.Code
	c.told = true
	out.fail(e)
	return e
}

// chunkWriter writes a stream in OpenAI's shape.
type chunkWriter struct {
	c       *call
	sent    sent
	choices map[int64]bool // those that have begun; true once they have finished
	begun   bool
	last    []byte // a chunk to take the id and the rest from for the last one
	usage   []byte // the provider's usage, as JSON
	beats   *sse.Heartbeat
	done    func() // ends the count of open streams
	buf     []byte
}

func newChunkWriter(c *call) *chunkWriter {
	// several choices come interleaved, where no second answer has them so
	return &chunkWriter{c: c, sent: sent{fixed: c.req.choices > 1}, choices: make(map[int64]bool)}
}

func (w *chunkWriter) write(chunk *provider.Chunk) error {
	w.sent.note(chunk)
	w.noteChoices(chunk)
	raw, usage := splitUsage(chunk.Raw)
	if usage != nil {
		w.usage = usage
	}
	if chunk.Choices {
		w.last = w.last[:0]
	}
	w.shape(raw)
	if usage != nil && !chunk.Choices {
		// it comes last, in a chunk of its own
		return nil
	}
	w.buf = sse.AppendEvent(w.buf[:0], "", "", raw)
	return w.send(w.buf)
}

// noteChoices notes which choices begin or finish with a chunk.
func (w *chunkWriter) noteChoices(chunk *provider.Chunk) {
	if len(w.choices) > 0 && w.c.req.choices == 1 && chunk.FinishReason == "" {
		return // nearly all of them
	}
	gjson.GetBytes(chunk.Raw, "choices").ForEach(func(_, choice gjson.Result) bool {
		index := choice.Get("index").Int()
		w.choices[index] = w.choices[index] || choice.Get("finish_reason").Str != ""
		return true
	})
}

// shape notes a chunk to take the id and the rest from, where there is none.
func (w *chunkWriter) shape(raw []byte) {
	if len(w.last) == 0 {
		w.last = append(w.last, raw...)
	}
}

// finish writes the usage, where the client wants it, and the end mark.
func (w *chunkWriter) finish() error {
	w.buf = w.buf[:0]
	if w.c.req.includeUsage {
		usage := w.usage
		if a := w.c.answering; a.carried > 0 || a.uncounted() > 0 {
			usage = nil // it counts another request than the client's, or not all of it
		}
		w.buf = sse.AppendEvent(w.buf, "", "", w.c.usageChunk(w.last, usage))
	}
	w.buf = sse.AppendEvent(w.buf, "", "", []byte("[DONE]"))
	return w.send(w.buf)
}

// stop ends an answer for which the budget has no room any more, as one that
// has reached its greatest length.
func (w *chunkWriter) stop(cause error) error {
	w.c.exhausted(cause)
	w.c.answering.over(cause)
	w.usage = nil // what the provider counted goes on beyond this end
	w.last = w.lengthChunk()
	w.buf = sse.AppendEvent(w.buf[:0], "", "", w.last)
	if err := w.send(w.buf); err != nil {
		return err
	}
	return w.finish()
}

// fail tells whoever translates the answer, or else the client.
func (w *chunkWriter) fail(e *apierror.Error) {
	if w.beats != nil {
		w.beats.Stop()
	}
	if apierror.HandOver(w.c.x.w, e) {
		return
	}
	apierror.Log(w.c.h.log, w.c.x.rec, e)
	_ = w.flush(sse.AppendEvent(nil, "", "", encode(apierror.OpenAI(e, w.c.x.rec.TraceID))))
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
	// those who ride a flight count themselves
	if w.c.x.flight == nil && w.c.x.rec.Turn == nil {
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
