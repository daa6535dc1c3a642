package aigateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// relayOperations are the APIs whose answers pass through as they are, with the
// gen_ai.operation.name of traces.
var relayOperations = map[string]string{
	"/v1/completions":        operationText,
	"/v1/moderations":        operationModeration,
	"/v1/rerank":             operationRerank,
	"/v1/images/generations": operationGenerate,
	"/v1/audio/speech":       operationGenerate,

	// of forms
	"/v1/images/edits":         operationGenerate,
	"/v1/images/variations":    operationGenerate,
	"/v1/audio/transcriptions": operationGenerate,
	"/v1/audio/translations":   operationGenerate,
}

// relayPiece is how many bytes of an answer are read at a time, and at most before
// it begins.
const relayPiece = 32 << 10

// relay serves the APIs whose answers pass through.
func (h *Handler) relay(x *chat.Exchange) error {
	body, err := x.ReadBody(h.MaxBody, time.Duration(h.ReadTimeout))
	if err != nil {
		return err
	}
	req, err := parseRelay(record.Path(x.R), body)
	if err != nil {
		return err
	}
	return h.pass(x, req)
}

// relayForm serves those of the APIs that take a form. It is kept until the answer has
// ended, since another target may be sent it again.
func (h *Handler) relayForm(x *chat.Exchange) error {
	f, err := x.ReadForm(h.MaxBody, time.Duration(h.ReadTimeout), "model", slices.Concat(otherModels, []string{countField})...)
	if err != nil {
		return err
	}
	defer f.Close()
	req := &request{form: f, model: f.Value(), inputTokens: mediaTokens}
	if req.model != "" && !chat.ValidModel(req.model) {
		return apierror.InvalidRequest("model", chat.WantModel)
	}
	if req.choices, err = formChoices(record.Path(x.R), f.Values(countField)); err != nil {
		return err
	}
	return h.pass(x, req)
}

// pass makes the call and passes the answer on.
func (h *Handler) pass(x *chat.Exchange, req *request) error {
	path := record.Path(x.R)
	req.operation, req.relayTo = relayOperations[path], strings.TrimPrefix(path, "/v1")
	choice, err := h.chooseToPass(x, req)
	if err != nil {
		return err
	}
	x.Rec.SetCall(record.Call{Model: choice.Name})
	x.SetHeader("X-Model-Id", choice.Name)
	err = h.call(x, req, choice)
	if errors.Is(err, http.ErrAbortHandler) {
		panic(err) // a part of the answer was sent: it must not look complete
	}
	return err
}

// relayed is an answer that passes through an attempt.
type relayed struct {
	*provider.Relayed
	head  []byte // what was read before the answer began
	ended bool   // the head is the whole answer
	kind  relayKind
	typ   mediaType
	doc   provider.Abridger
	size  int // bytes that were sent

	events eventJudge // of a stream of events
}

// beginRelay makes the call, and returns with the first bytes of the answer. Of a
// JSON document it reads as much as fits into a piece, so that a short one is judged
// before anything is sent.
func (a *attempt) beginRelay() error {
	p, ok := a.provider().(provider.Relayer)
	if !ok {
		return provider.Unsupported("model", "its provider has no "+strings.TrimPrefix(a.c.req.relayTo, "/"))
	}
	if d := a.c.relayStall(); d > 0 {
		a.stall = newStallWatch(a.cancel, d, time.Time{})
	}
	a.preq.BeforeRead = a.stall.waiting
	answer, err := p.Relay(a.ctx, a.preq, a.c.req.relayTo)
	if err != nil {
		return a.cause(err)
	}
	typ, kind := mediaTypeOf(answer.ContentType), relayKinds[a.c.req.relayTo]
	if !kind.plain && !typ.isEvents() && !typ.isJSON() && typ.name != "text/html" {
		typ = mediaType{name: "application/json"} // if it is an answer at all
	}
	a.relayed = &relayed{Relayed: answer, kind: kind, typ: typ}
	if err := a.relayed.begin(); err != nil {
		return a.cause(err)
	}
	a.watch.stop()
	a.stall.heard()
	if err := a.note(&provider.Facts{Content: true}); err != nil {
		return err
	}
	a.chunks = 0 // it stands for no token
	return nil
}

// relayStall returns how long an answer may be silent after it has begun.
func (c *call) relayStall() time.Duration {
	if d := c.stallTimeout(); d > 0 {
		return d
	}
	return c.responseTimeout()
}

func (r *relayed) begin() error {
	buf := make([]byte, relayPiece)
	least := 1
	if r.typ.isJSON() || r.typ.isText() && r.Length <= int64(len(buf)) && r.Length > 0 {
		least = len(buf)
	}
	n, err := readUpTo(r.Body, buf, 0, least)
	if err == nil && !r.typ.isEvents() && isWritten(buf[:n]) {
		n, err = readUpTo(r.Body, buf, n, len(buf))
	}
	r.head = buf[:n]
	switch ended := errors.Is(err, io.EOF); {
	case err == nil:
	case n == 0 && ended:
		return provider.BadAnswer(errors.New("the answer is empty"))
	case ended && (r.Length < 0 || r.Length == int64(n)):
		r.ended = true
	default:
		return &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
	}
	return r.judge()
}

// readUpTo adds to the n bytes of a buffer until it has at least so many. Other than with
// io.ReadAtLeast, an answer that has ended differs from one that broke off.
func readUpTo(from io.Reader, buf []byte, n, least int) (int, error) {
	for n < least {
		more, err := from.Read(buf[n:])
		if n += more; err != nil {
			return n, err
		}
	}
	return n, nil
}

// relay makes a call and passes the answer on.
func (c *call) relay() error {
	a, err := c.try()
	if err != nil {
		return err
	}
	c.answers(a)
	defer chat.CutShort(c.ctx, c.x.W, c.x.R)()
	c.begin()
	h := c.x.W.Header()
	h.Set("Content-Type", a.relayed.typ.String())
	if n := a.relayed.Length; n >= 0 && !a.relayed.typ.isEvents() {
		h.Set("Content-Length", strconv.FormatInt(n, 10))
	}
	if a.relayed.typ.isEvents() { // of any length: it may end in another way than the provider's
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no")
	}
	c.x.W.WriteHeader(http.StatusOK)
	err = a.send()
	if failure, ok := errors.AsType[*eventError](err); ok {
		return c.reportRelayed(a.cause(failure.error))
	}
	if _, spent := errors.AsType[*budgetError](err); spent {
		c.exhausted(err)
		a.over(err)
		return c.stopRelayed(err)
	}
	if err != nil {
		return c.torn(a.cause(err))
	}
	return nil
}

// isCut reports whether a stream of text completions has ended without its end.
func (a *attempt) isCut() bool {
	r := a.relayed
	return r.typ.isEvents() && a.c.req.operation == operationText && a.finish == "" && !r.events.done
}

// stopRelayed ends a stream of events whose budget is used up: that of a text completion as
// if it had reached its limit of tokens, since no other has an end for this.
func (c *call) stopRelayed(err error) error {
	if c.req.operation != operationText {
		return c.reportRelayed(c.refused(errors.Unwrap(err)))
	}
	const last = `{"object":"text_completion","choices":[{"index":0,"text":"","finish_reason":"length","logprobs":null}]}`
	end := sse.AppendEvent(sse.AppendEvent(nil, "", "", []byte(last)), "", "", []byte(provider.EndMark))
	_, _ = c.x.W.Write(end) // the client may have gone
	return nil
}

// eventError is a failure that a provider tells within a stream of events.
type eventError struct{ error }

// reportRelayed ends a stream of events with a failure, in place of the provider's own.
func (c *call) reportRelayed(err error) error {
	e := c.reported(err)
	apierror.Log(c.h.log, c.x.Rec, e)
	_, _ = c.x.W.Write(apierror.OpenAIFrame(e, c.x.Rec.TraceID)) // the client may have gone
	return e
}

// send writes the answer as it comes, and counts the usage in it.
func (a *attempt) send() error {
	r := a.relayed
	rc := http.NewResponseController(a.c.x.W)
	buf := make([]byte, relayPiece)
	piece, ended := r.head, r.ended
	for {
		kept := len(r.doc.Kept())
		if err := a.read(piece); err != nil {
			return err
		}
		if r.typ.isJSON() && failsLate(r.doc.Kept(), kept, ended) {
			return provider.NewError(0, r.doc.Kept())
		}
		out, failure := piece, error(nil)
		if r.typ.isEvents() {
			out, failure = r.events.judge(piece, ended)
		}
		if _, err := a.c.x.W.Write(out); err != nil {
			a.c.cancel(errClientGone)
			return err
		}
		_ = rc.Flush() // a writer that cannot flush sends what it has at the end
		if failure != nil {
			return &eventError{failure}
		}
		if ended {
			break
		}
		n, err := r.Body.Read(buf)
		a.stall.heard()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		piece, ended = buf[:n], err != nil
	}
	if r.typ.isJSON() && !r.doc.Whole() || a.isCut() {
		return provider.ErrCut
	}
	return a.tally()
}

// read takes note of what an answer says of its usage: of an event stream line by
// line.
func (a *attempt) read(piece []byte) error {
	r := a.relayed
	r.size += len(piece)
	if r.typ.isJSON() {
		_, _ = r.doc.Write(piece) // never fails
	}
	if !r.typ.isEvents() {
		return nil
	}
	for line := range bytes.Lines(piece) {
		_, _ = r.doc.Write(line) // never fails
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		f := r.doc.Facts()
		if err := a.note(&f); err != nil {
			return err
		}
		if err := a.c.count(a, &provider.Chunk{Facts: f}); err != nil {
			return err
		}
	}
	return nil
}

// tally counts an answer that is complete. An image whose usage says nothing of the output,
// and sound, count as an image of a message does.
func (a *attempt) tally() error {
	r := a.relayed
	const medium = bytesPerToken * mediaTokens
	f := provider.Facts{OutputBytes: medium}
	switch {
	case r.typ.isEvents():
		if a.produced > 0 || a.c.req.operation != operationGenerate || a.usage != nil && a.usage.Output > 0 {
			return nil
		}
		f = provider.Facts{OutputBytes: a.c.req.choices * medium, Usage: a.usage}
	case r.typ.isText():
		f.OutputBytes = r.size
	case r.typ.isJSON():
		f = r.doc.Facts()
		if a.c.req.operation == operationGenerate {
			f.OutputBytes += f.Choices * medium // a usage that makes sense is taken in its place
		}
	}
	return a.note(&f)
}

// bytesPerToken is what provider.EstimateTokens takes for a token.
const bytesPerToken = 4

// torn ends an answer that cannot be finished.
func (c *call) torn(err error) error {
	e := apierror.From(c.failed(err))
	c.x.Rec.ErrorCode = e.Code
	c.stage = stageTorn
	apierror.Log(c.h.log, c.x.Rec, e)
	return e
}

// hasNoOutput reports whether an answer to the request has no tokens of its own.
func (r *request) hasNoOutput() bool {
	switch r.operation {
	case operationEmbeddings, operationModeration, operationRerank:
		return true
	}
	return false
}
