package aigateway

import (
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// chunkWriter writes a stream in OpenAI's format: as events, or as chunks to a
// handler in front that is a chat.ChunkTaker. It gathers them until flush.
type chunkWriter struct {
	c      *call
	stream *chat.Stream
	taker  chat.ChunkTaker // nil to write events
	door   door.Stream     // writes the events of another API; nil for OpenAI's
	buf    []byte          // events to be flushed
	taken  bool            // the taker has chunks to be flushed
	size   int             // of the chunks that the door was given

	sent    sent
	choices map[int64]bool // by index, since their first chunk; true once finished
	last    []byte         // an earlier chunk, the template of the last one
	usage   []byte         // the provider's usage, as JSON
}

func newChunkWriter(c *call) *chunkWriter {
	var events door.Stream
	if d := c.req.door; d != nil {
		events = d.Stream()
	}
	return &chunkWriter{
		c:      c,
		stream: c.x.NewStream(c.ctx, c.h.keepAlive(c.req)),
		door:   events,
		// a second answer would interleave several choices in another way
		sent:    sent{fixed: c.req.choices > 1 || !*c.h.Rescue},
		choices: make(map[int64]bool, 1),
	}
}

// keepAlive returns how the stream of an answer is kept alive.
func (h *Handler) keepAlive(r *request) chat.KeepAlive {
	k := chat.KeepAlive{Interval: time.Duration(h.KeepAlive)}
	if r.door != nil {
		k.Event = r.door.Ping()
	}
	return k
}

// write adds a chunk without its usage, which finish sends in a chunk of its
// own, if the client asked for it.
func (w *chunkWriter) write(chunk *provider.Chunk) error {
	w.begin()
	w.sent.note(chunk)
	if chunk.Native != nil {
		return w.add(chunk) // it has its usage, and is no template
	}
	if chunk.Choices > 0 {
		w.last = w.last[:0]
	}
	if chunk.Regular {
		w.choices[0] = false
		w.shape(chunk.Raw)
		return w.add(chunk)
	}
	w.noteChoices(chunk)
	raw, usage := splitUsage(chunk.Raw)
	w.shape(raw)
	if usage != nil {
		w.usage = usage
	}
	if usage != nil && chunk.Choices == 0 {
		return nil
	}
	rest := *chunk
	rest.Raw = raw
	return w.add(&rest)
}

// begin writes the header, unless it was written, and then looks for a taker.
func (w *chunkWriter) begin() {
	if w.c.stage != stageWaiting {
		return
	}
	w.c.stage = stageBegun
	w.stream.MayBegin(w.c.answering.header())
	w.stream.Begin()
	if k := w.c.x.ChunkTaker(); w.door == nil && k != nil && k.TakesChunks() {
		w.taker = k
	}
}

// add adds a chunk unchanged.
func (w *chunkWriter) add(chunk *provider.Chunk) error {
	switch {
	case w.taker != nil:
		w.taken = true
		return w.fails(w.taker.TakeChunk(chunk))
	case w.door != nil:
		// it gathers what it has written
		if w.size += len(chunk.Raw) + len(chunk.Native); w.size > maxDocument {
			w.sent.fix()
			return provider.TooLong("the answer", maxDocument)
		}
		w.buf = w.door.Chunk(w.buf, chunk)
		return nil
	}
	w.buf = sse.AppendEvent(w.buf, "", "", chunk.Raw)
	return nil
}

// flush sends the gathered chunks.
func (w *chunkWriter) flush() error {
	var err error
	switch {
	case w.taken:
		w.taken = false
		err = w.taker.FlushChunks()
	case len(w.buf) > 0:
		err = w.stream.Send(w.buf)
		w.buf = sse.Reuse(w.buf)
	}
	return w.fails(err)
}

// fails cancels the call if a write failed, and returns err. Without a client
// the provider need not continue.
func (w *chunkWriter) fails(err error) error {
	if err != nil {
		w.c.cancel(errClientGone)
	}
	return err
}

// noteChoices records which choices a chunk begins or finishes.
func (w *chunkWriter) noteChoices(chunk *provider.Chunk) {
	if len(w.choices) > 0 && w.c.req.choices == 1 && chunk.FinishReason == "" {
		return // the fast path: a chunk in the middle of the only choice
	}
	gjson.GetBytes(chunk.Raw, "choices").ForEach(func(_, choice gjson.Result) bool {
		index := choice.Get("index").Int()
		w.choices[index] = w.choices[index] || choice.Get("finish_reason").Str != ""
		return true
	})
}

// shape keeps a chunk as the template of the last one, unless there is one.
func (w *chunkWriter) shape(raw []byte) {
	if len(w.last) == 0 {
		w.last = append(w.last, raw...)
	}
}

// finish sends the usage, if the client asked for it, and the end mark.
func (w *chunkWriter) finish() error {
	w.begin()
	if w.door != nil {
		w.buf = w.door.End(w.buf, w.c.used())
		return w.flush()
	}
	if w.c.req.includeUsage {
		usage := w.usage
		if a := w.c.answering; a.carried > 0 || a.uncounted() > 0 || a.usage != nil && a.usage.Estimated {
			usage = nil // it counts a continuation's request, not all of the output, or makes no sense
		}
		raw := w.c.usageChunk(w.last, usage)
		f, _ := provider.ParseChunk(raw)
		if err := w.add(&provider.Chunk{Raw: raw, Facts: f}); err != nil {
			return err
		}
	}
	if w.taken {
		if err := w.flush(); err != nil {
			return err
		}
	}
	// even a taker gets the end mark as bytes
	w.buf = sse.AppendEvent(w.buf, "", "", []byte(provider.EndMark))
	return w.flush()
}

// stop ends an answer because its budget is used up, with the finish reason
// "length".
func (w *chunkWriter) stop(cause error) error {
	w.begin()
	w.c.exhausted(cause)
	w.c.answering.over(cause)
	w.usage = nil // the provider may have counted beyond this end
	w.last = w.lengthChunk()
	f, _ := provider.ParseChunk(w.last)
	if err := w.add(&provider.Chunk{Raw: w.last, Facts: f}); err != nil {
		return err
	}
	return w.finish()
}

// fail hands a failure to the handler that takes the answer, or sends it to the
// client as an error frame.
func (w *chunkWriter) fail(e *apierror.Error) {
	defer w.stream.Stop()
	frame := w.frame(e)
	if w.door != nil && w.c.req.door.API() == provider.APIResponses {
		e = e.ReportedBy(frame) // its events are numbered, and have all of the answer
	}
	if apierror.HandOver(w.c.x.W, e) {
		return
	}
	apierror.Log(w.c.h.log, w.c.x.Rec, e)
	_ = w.stream.Send(frame) // the client may have gone
}

// frame returns the events that report a failure.
func (w *chunkWriter) frame(e *apierror.Error) []byte {
	traceID := w.c.x.Rec.TraceID
	if w.door == nil {
		return apierror.OpenAIFrame(e, traceID)
	}
	return w.door.Fail(nil, apierror.FailureFor(w.c.req.door.API(), e, traceID))
}

func (w *chunkWriter) close() { w.stream.Close() }
