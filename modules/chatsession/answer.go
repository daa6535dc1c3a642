package chatsession

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// maxDocument is the largest answer in one JSON document, in bytes.
const maxDocument = 32 << 20

// maxText is the longest text of an answer, in bytes, its tool calls included.
// It is far more than any model writes, and still fits the store twice with
// every character escaped.
const maxText = 2 << 20

// answer is the ResponseWriter of the next handler. It parses the OpenAI answer,
// a document or a stream, as it is written, and passes the text on to out.
type answer struct {
	out *output

	header http.Header
	status int
	events *sse.Parser // of a stream
	scan   provider.Scanner
	halves provider.Halves
	doc    bytes.Buffer // of anything else

	text    strings.Builder
	message provider.Message // what is not text
	begun   bool             // message has its first delta
	forgets bool             // its reasoning is too large to be stored
	bytes   int              // size of all output, for estimates
	judge   provider.Judge
	finish  string
	linger  *time.Timer // from the finish reason on; nil before
	done    bool        // [DONE] was seen
	broken  bool        // the stream held an error
	model   string
	usage   *provider.Usage
	failure *apierror.Error

	// Of a request in another API: what puts its own document together, nil for none,
	// and the document, if it came as one.
	assembler door.Assembler
	document  []byte
}

func newAnswer(o *output) *answer {
	return &answer{out: o, header: make(http.Header), judge: provider.Judge{Choices: o.t.choices}}
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status != 0 || status < http.StatusOK {
		return
	}
	a.status = status
	a.out.begins(a.alias())
	if status == http.StatusOK && sse.IsStream(a.header) {
		a.events = sse.NewParser(0)
	}
}

// Write fails once the answer has failed: the rest of it is not needed.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	switch {
	case a.failure != nil:
	case a.events != nil:
		a.events.Feed(p)
		a.read(a.events.Next)
		a.out.flush()
	case a.doc.Len()+len(p) > maxDocument:
		a.fail(provider.TooLong("the answer", maxDocument))
	default:
		a.doc.Write(p)
	}
	if a.failure != nil {
		return 0, a.failure
	}
	return len(p), nil
}

// Flush does nothing: Write flushes what it was given.
func (a *answer) Flush() {}

// TakesChunks implements chat.ChunkTaker.
func (a *answer) TakesChunks() bool { return a.events != nil }

// TakeChunk implements chat.ChunkTaker.
func (a *answer) TakeChunk(c *provider.Chunk) error {
	if a.failure != nil {
		return a.failure
	}
	a.chunk(c)
	if a.failure != nil {
		return a.failure
	}
	return nil
}

// FlushChunks implements chat.ChunkTaker.
func (a *answer) FlushChunks() error {
	a.out.flush()
	return nil
}

// TakeFailure implements apierror.Taker. It keeps the first failure, since later
// ones follow from it.
func (a *answer) TakeFailure(e *apierror.Error) {
	if a.failure == nil {
		a.failure = e
	}
}

// fail ends the answer. Of a provider's own words none are passed on.
func (a *answer) fail(cause error) {
	a.failure = apierror.AIError().Because(cause)
	_, long := errors.AsType[*provider.TooLongError](cause)
	if e, ok := errors.AsType[*provider.Error](cause); long || ok && e.Overloaded {
		a.failure = apierror.FromProvider(cause)
	}
}

func (a *answer) read(next func() (sse.Event, bool, error)) {
	for a.failure == nil && !a.done {
		ev, ok, err := next()
		if err != nil { // the parser's only one
			a.fail(provider.TooLong("an event of the answer", sse.MaxEvent))
			return
		}
		if !ok {
			return
		}
		a.event(ev.Data)
	}
}

func (a *answer) event(data []byte) {
	if string(bytes.TrimSpace(data)) == provider.EndMark {
		a.done = true
		return
	}
	if !a.halves.Open() {
		if c, ok := a.scan.Scan(data); ok {
			a.chunk(&provider.Chunk{Raw: data, Facts: c.Facts})
			return
		}
	}
	data = a.halves.Join(data)
	if _, _, _, isError := provider.ErrorOf(data); isError {
		a.broken = true
		a.fail(provider.NewError(0, data))
		return
	}
	if f, ok := provider.ParseChunk(data); ok {
		a.chunk(&provider.Chunk{Raw: data, Facts: f})
		return
	}
	// anything else is skipped, unless it is a piece of the answer
	if err := provider.Lost(data, a.judge.Complete()); errors.Is(err, provider.ErrCut) {
		a.broken = true
		a.fail(err)
	}
}

// chunk adds a chunk to the answer.
func (a *answer) chunk(c *provider.Chunk) {
	if a.assembler != nil {
		a.assembler.Add(door.EventOf(c))
	}
	switch {
	case a.forgets && c.ToolCalls:
		a.message.Calls.AddParts(firstChoice(c.Raw).Get("delta.tool_calls"))
	case a.forgets:
	case c.More || !a.begun:
		a.begun = true
		a.message.Add(firstChoice(c.Raw).Get("delta"))
	case c.Reasoning != "":
		a.message.AddText(c.ReasoningIn, c.Reasoning)
	}
	a.facts(&c.Facts)
}

// firstChoice returns the choice with index 0, the only one that is kept.
func firstChoice(raw []byte) gjson.Result {
	for _, c := range gjson.GetBytes(raw, "choices").Array() {
		if c.Get("index").Int() == 0 {
			return c
		}
	}
	return gjson.Result{}
}

// empty reports whether the answer has no text and no tool calls.
func (a *answer) empty() bool { return a.text.Len() == 0 && !a.calls() }

// calls reports whether the answer has tool calls.
func (a *answer) calls() bool {
	return a.message.Calls.Len() > 0 || a.message.Member("function_call") != nil
}

func (a *answer) facts(f *provider.Facts) {
	if err := a.judge.Hear(f); err != nil {
		a.broken = true
		a.fail(err)
		return
	}
	if f.Model != "" {
		a.model = f.Model
	}
	if f.Usage != nil {
		a.usage = f.Usage
	}
	if a.bytes += f.OutputBytes; a.bytes > maxText && a.events != nil && a.out.t.kept != nil {
		long := provider.TooLong("the answer", maxText)
		a.fail(long)
		a.out.t.tooLong(long) // a response is kept with all of it, reasoning included
		return
	}
	if a.text.Len()+len(f.Text)+a.message.Calls.Size() > maxText {
		a.fail(provider.TooLong("the answer", maxText))
		return
	}
	if a.message.Size() > maxReasoning {
		a.message.Forget()
		a.forgets = true
	}
	if f.Text != "" {
		a.text.WriteString(f.Text)
		a.out.text(f.Text)
	}
	if f.FinishReason != "" {
		a.finish = f.FinishReason
	}
	a.lingers()
}

// lingers ends a finished stream of a server that neither ends it nor sends an end
// mark. ai_gateway does so itself.
func (a *answer) lingers() {
	if t := a.out.t; a.linger == nil && a.events != nil && a.judge.Complete() && t.x.Rec.Call.Provider == "" {
		a.linger = time.AfterFunc(provider.LingerTimeout, func() { t.cancel(errAnswered) })
	}
}

// errAnswered cancels a turn whose answer is complete.
var errAnswered = errors.New("the answer is complete")

// end completes the answer after the next handler has returned err. Afterwards
// the answer is either complete or has a failure.
func (a *answer) end(err error) {
	defer a.out.flush()
	if a.linger != nil {
		a.linger.Stop()
	}
	if a.events != nil {
		a.read(a.events.Flush)
	}
	switch {
	case a.failure != nil:
	case a.finish != "":
		// the answer is complete, whatever failed after it
	case a.done:
		if err := a.judge.End(); err != nil {
			a.fail(err)
		}
	case err != nil:
		a.failure = fromNext(err)
	case a.status == 0:
		a.fail(errors.New("the next handler did not answer: put ai_gateway or reverse_proxy behind chat_session"))
	case a.events != nil:
		a.fail(provider.ErrCut)
	case a.status != http.StatusOK:
		e := provider.NewError(a.status, a.doc.Bytes())
		e.RetryAfter = provider.RetryAfter(a.header, time.Now())
		a.failure = apierror.FromProvider(e)
	default:
		a.readDocument()
	}
}

func (a *answer) readDocument() {
	raw := a.doc.Bytes()
	if _, _, _, isError := provider.ErrorOf(raw); isError {
		a.fail(provider.NewError(0, raw))
		return
	}
	f, ok := provider.ParseCompletion(raw)
	if !ok {
		a.fail(errors.New("the answer is not a chat completion"))
		return
	}
	if err := provider.JudgeDocument(&f, a.judge.Choices); err != nil {
		a.fail(err)
		return
	}
	if native := gjson.GetBytes(raw, provider.MemberNative); a.assembler != nil && native.IsObject() {
		a.document = []byte(native.Raw)
	}
	a.message.AddWhole(firstChoice(raw).Get("message"))
	a.facts(&f)
}

// refusesUsage reports whether a server refuses the request because of
// stream_options. ai_gateway asks again without them itself.
func (a *answer) refusesUsage() bool {
	if a.failure == nil {
		return false
	}
	t := a.out.t
	e, ok := errors.AsType[*provider.Error](a.failure)
	return ok && e.RefusesStreamOptions() && !a.judge.Said() && t.x.Rec.Call.Provider == "" && t.ctx.Err() == nil
}

// attempts returns how many calls were made, for upstreams that do not count
// them.
func (a *answer) attempts() int {
	if a.status == 0 {
		return 0
	}
	return 1
}

// alias returns the name of the model in the answer's header; empty without a
// valid one.
func (a *answer) alias() string {
	name := a.header.Get("X-Model-Id")
	if !chat.ValidModel(name) {
		return ""
	}
	return name
}

// modelID returns the name of the model: the alias in the answer's header, else
// fallback, else the upstream's name in the answer.
func (a *answer) modelID(fallback string) string {
	for _, name := range []string{a.alias(), fallback, a.model} {
		if name != "" {
			return name
		}
	}
	return ""
}

// Interface guards
var (
	_ http.ResponseWriter = (*answer)(nil)
	_ http.Flusher        = (*answer)(nil)
	_ apierror.Taker      = (*answer)(nil)
	_ chat.ChunkTaker     = (*answer)(nil)
)
