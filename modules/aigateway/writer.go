package aigateway

import (
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// keepAlive is how long a stream may be silent before a comment goes out.
const keepAlive = 15 * time.Second

var doneMark = []byte("[DONE]")

// chunkWriter writes a stream in OpenAI's shape: as events, or chunk by chunk
// to a handler in front that takes them so. It gathers what it writes until
// flush.
type chunkWriter struct {
	c      *call
	stream *chat.Stream
	taker  chat.ChunkTaker // nil where the answer is written as events
	buf    []byte          // events that have not been sent
	taken  bool            // the taker has chunks that it has not passed on

	sent    sent
	choices map[int64]bool // those that have begun; true once they have finished
	last    []byte         // a chunk to take the id and the rest from for the last one
	usage   []byte         // the provider's usage, as JSON
}

func newChunkWriter(c *call) *chunkWriter {
	return &chunkWriter{
		c:      c,
		stream: c.x.NewStream(c.ctx, chat.KeepAlive{Interval: keepAlive}),
		// several choices come interleaved, which no second answer repeats
		sent:    sent{fixed: c.req.choices > 1},
		choices: make(map[int64]bool, 1),
	}
}

// write adds a chunk. Its usage is left out: it comes last, in a chunk of its
// own, and only for a client that asked for it.
func (w *chunkWriter) write(chunk *provider.Chunk) error {
	w.begin()
	w.sent.note(chunk)
	if chunk.Choices {
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
	if usage != nil && !chunk.Choices {
		return nil
	}
	rest := *chunk
	rest.Raw = raw
	return w.add(&rest)
}

// begin sends the header, where that has not been done.
func (w *chunkWriter) begin() {
	if w.c.stage != stageWaiting {
		return
	}
	w.c.begin()
	w.stream.Begin()
	if k := w.c.x.ChunkTaker(); k != nil && k.TakesChunks() {
		w.taker = k
	}
}

// add adds a chunk as it is.
func (w *chunkWriter) add(chunk *provider.Chunk) error {
	if w.taker != nil {
		w.taken = true
		return w.fails(w.taker.TakeChunk(chunk))
	}
	w.buf = sse.AppendEvent(w.buf, "", "", chunk.Raw)
	return nil
}

// flush sends what has been gathered.
func (w *chunkWriter) flush() error {
	var err error
	switch {
	case w.taken:
		w.taken = false
		err = w.taker.FlushChunks()
	case len(w.buf) > 0:
		err = w.stream.Send(w.buf)
		w.buf = w.buf[:0]
	}
	return w.fails(err)
}

// fails ends the call where err says that the client is gone: the provider
// need not go on.
func (w *chunkWriter) fails(err error) error {
	if err != nil {
		w.c.cancel(errClientGone)
	}
	return err
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

// shape notes a chunk to take the id and the rest from, where none is.
func (w *chunkWriter) shape(raw []byte) {
	if len(w.last) == 0 {
		w.last = append(w.last, raw...)
	}
}

// finish writes the usage, where the client wants it, and the end mark.
func (w *chunkWriter) finish() error {
	w.begin()
	if w.c.req.includeUsage {
		usage := w.usage
		if a := w.c.answering; a.carried > 0 || a.uncounted() > 0 {
			usage = nil // it counts another request than the client's, or not all of it
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
	// the end mark is bytes for a taker, too
	w.buf = sse.AppendEvent(w.buf, "", "", doneMark)
	return w.flush()
}

// stop ends an answer for which the budget has no room any more, as one that
// has reached its greatest length.
func (w *chunkWriter) stop(cause error) error {
	w.begin()
	w.c.exhausted(cause)
	w.c.answering.over(cause)
	w.usage = nil // what the provider counted goes on beyond this end
	w.last = w.lengthChunk()
	f, _ := provider.ParseChunk(w.last)
	if err := w.add(&provider.Chunk{Raw: w.last, Facts: f}); err != nil {
		return err
	}
	return w.finish()
}

// fail tells the handler that takes the answer, or else the client.
func (w *chunkWriter) fail(e *apierror.Error) {
	if apierror.HandOver(w.c.x.W, e) {
		w.stream.Stop()
		return
	}
	apierror.Log(w.c.h.log, w.c.x.Rec, e)
	_ = w.stream.Send(apierror.OpenAIFrame(e, w.c.x.Rec.TraceID)) // the client may have gone
	w.stream.Stop()
}

func (w *chunkWriter) close() { w.stream.Close() }
