package providertest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// natives has clients of OpenAI's Responses ask a provider whose server has these itself:
// what the server is sent it has to take, and what it answers has to arrive as it came.
func natives(t *testing.T, d *Dialect) {
	if d.ResponsesPath == "" {
		return
	}
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	w := &doorways[slices.IndexFunc(doorways, func(w doorway) bool { return w.API() == provider.APIResponses })]
	if speaker, ok := s.Provider.(provider.Speaker); !ok || !speaker.Speaks(w.API()) {
		t.Fatalf("%T does not speak %s", s.Provider, w.API())
	}
	for _, tc := range replies {
		t.Run(tc.name, func(t *testing.T) {
			s.nativeThroughDoor(t, w, tc.Reply)
			s.besideCompletion(t, w, tc.Reply)
		})
	}
	t.Run("cut", func(t *testing.T) {
		for _, tc := range replies {
			s.cutNative(t, w, tc.Reply)
		}
	})
	t.Run("failed", func(t *testing.T) { s.failedNative(t, w) })
	t.Run("image", func(t *testing.T) { s.imageNative(t, w) })
}

// openedNative opens a request for a server that has the door's API itself, and returns what the
// client has sent.
func (s *subject) openedNative(t *testing.T, w *doorway, image bool, answer string) (door.Call, *provider.Request, []byte) {
	t.Helper()
	body := with(t, w.ask(image, answer), `{"reasoning":{"summary":"auto"}}`)
	call, req := s.opened(t, w, body)
	req.Translated, req.Native = false, &provider.Native{API: w.API(), Body: []byte(body)}
	return call, req, req.Native.Body
}

// accepted checks that a strict server takes what it was sent.
func (s *subject) accepted(t *testing.T, what string) {
	t.Helper()
	r, sent := s.sent(t)
	if !isPath(r, s.ResponsesPath, s.Model) {
		t.Errorf("%s goes to %s, want %s", what, r.URL, s.ResponsesPath)
	}
	if refused := RefuseResponse(sent); refused != nil {
		t.Errorf("a strict server refuses %s: %v\n%s", what, refused, sent)
	}
}

func (s *subject) nativeThroughDoor(t *testing.T, w *doorway, r Reply) {
	s.forget()
	for _, manner := range [...]Manner{Whole, Bytes} {
		call, req, body := s.openedNative(t, w, false, "")
		sent := join(ResponseEvents(body, r))
		s.Answer(http.StatusOK, eventType, sent, manner)
		got, heard, err := passNative(t, s, call, req)
		if !errors.Is(err, io.EOF) || !bytes.Equal(got, sent) {
			t.Fatalf("the stream ends with %v as\n%s\nwant\n%s", err, got, sent)
		}
		s.accepted(t, "a request for a stream")
		s.checkNative(t, "a stream", r, heard)
		doc, text, reasoning := w.last(got)
		if text != r.Text() || reasoning != r.Reasoning() {
			t.Errorf("the stream says %q after %q, want %q after %q", text, reasoning, r.Text(), r.Reasoning())
		}
		s.checkDoor(t, "a stream", r, w.read(doc))
		s.nativeSecondTurn(t, w, doc.Raw)
	}

	_, req, body := s.openedNative(t, w, false, "")
	document := WholeResponse(body, r)
	s.Answer(http.StatusOK, jsonType, document, Whole)
	c, err := s.Complete(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.Native, document) {
		t.Errorf("the document is\n%s\nwant\n%s", c.Native, document)
	}
	s.accepted(t, "a request for a document")
	s.checkNative(t, "a document", r, heardOf(c.Facts))
	s.checkDoor(t, "a document", r, w.read(gjson.ParseBytes(c.Native)))
	s.nativeSecondTurn(t, w, string(c.Native))
}

var eventType = http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}

// heard is what a provider has made out of an answer that it passes on.
type heard struct {
	Answer
	calls    bool
	finishes int
}

func heardOf(facts ...provider.Facts) heard {
	var h heard
	for _, f := range facts {
		h.facts(f)
		h.Reasoning += f.Reasoning
		h.calls = h.calls || f.ToolCalls
		h.finishes += f.Finishes
	}
	return h
}

// checkNative compares what the provider has made out of an answer with the reply.
func (s *subject) checkNative(t *testing.T, what string, r Reply, got heard) {
	t.Helper()
	if got.Text != r.Text() || got.Reasoning != r.Reasoning() || got.Finish != r.Finish || got.calls != (r.Calls() != nil) || got.Model != r.Model {
		t.Errorf("%s is heard as %+v, want %+v", what, got, r)
	}
	if got.finishes != 1 || got.Counted == nil || r.Usage != nil && *got.Counted != *r.Usage {
		t.Errorf("%s has %d ends and counts %+v, want %+v", what, got.finishes, got.Counted, r.Usage)
	}
	produced := len(r.Text()) + len(r.Reasoning())
	for _, c := range r.Calls() {
		produced += len(c.Name) + len(c.Arguments)
	}
	if got.OutputBytes != produced || got.Content != (produced > 0) {
		t.Errorf("%s has %d bytes of output, want %d", what, got.OutputBytes, produced)
	}
}

// passNative returns what a client sees of a stream, what the provider has heard in it, and
// what it ends with.
func passNative(t *testing.T, s *subject, call door.Call, req *provider.Request) (got []byte, h heard, err error) {
	out := call.Stream()
	var facts []provider.Facts
	chunks, err := s.Stream(t.Context(), req)
	for err == nil {
		var c *provider.Chunk
		if c, err = chunks.Next(); err != nil {
			chunks.Close()
			break
		}
		if len(c.Raw) > 0 || len(c.Native) == 0 {
			t.Errorf("a chunk is %q of chat completions and %q", c.Raw, c.Native)
		}
		facts = append(facts, c.Facts)
		got = out.Chunk(got, c)
	}
	if !errors.Is(err, io.EOF) {
		got = out.Fail(got, door.Failure{Type: "server_error", Code: "ai_error", Message: "failed", TraceID: "trace-1"})
	}
	return got, heardOf(facts...), err
}

// nativeSecondTurn sends an answer back to the server that has given it.
func (s *subject) nativeSecondTurn(t *testing.T, w *doorway, answer string) {
	t.Helper()
	_, req, body := s.openedNative(t, w, false, answer)
	s.Answer(http.StatusOK, jsonType, WholeResponse(body, hi), Whole)
	if _, err := s.Complete(t.Context(), req); err != nil {
		t.Errorf("the second turn fails: %v", err)
		return
	}
	s.accepted(t, "the second turn")
}

// cutNative breaks a stream off after each of its events.
func (s *subject) cutNative(t *testing.T, w *doorway, r Reply) {
	t.Helper()
	call, req, body := s.openedNative(t, w, false, "")
	events := ResponseEvents(body, r)
	for n := range len(events) + 1 {
		s.Answer(http.StatusOK, eventType, join(events[:n]), Whole)
		got, heard, err := passNative(t, s, call, req)
		rest, ok := bytes.CutPrefix(got, join(events[:n]))
		if whole := n == len(events); whole != errors.Is(err, io.EOF) || !whole && !errors.Is(err, provider.ErrCut) || !ok || whole != (len(rest) == 0) {
			t.Errorf("cut after %d of %d events, the stream ends with %v:\n%s", n, len(events), err, got)
		}
		if !strings.HasPrefix(r.Text(), heard.Text) || !strings.HasPrefix(r.Reasoning(), heard.Reasoning) {
			t.Errorf("cut after %d events, %q after %q is heard", n, heard.Text, heard.Reasoning)
		}
		checkEvents(t, got)
	}
	s.forget()
}

// failedNative has the server fail: before it says anything, and in the middle.
func (s *subject) failedNative(t *testing.T, w *doorway) {
	for _, r := range []Reply{reply("failed"), reply("failed", Part{Text: "Hello"}), reply("failed", Part{Call: 1, ID: "call_a", Name: "weather", Arguments: arguments})} {
		call, req, body := s.openedNative(t, w, false, "")
		sent := ResponseEvents(body, r)
		for without := range 2 { // of the two events that say so, servers send both or the last alone
			events := append(append([][]byte(nil), sent[:len(sent)-2]...), sent[len(sent)-2+without:]...)
			s.Answer(http.StatusOK, eventType, join(events), Whole)
			got, _, err := passNative(t, s, call, req)
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnavailable || !bytes.HasPrefix(got, join(sent[:len(sent)-2])) || bytes.Contains(got, []byte(responseFault)) {
				t.Errorf("the stream ends with %v:\n%s", err, got)
			}
			checkEvents(t, got)
		}
		s.Answer(http.StatusOK, jsonType, WholeResponse(body, r), Whole)
		if _, err := s.Complete(t.Context(), req); err == nil {
			t.Error("a document that has failed is an answer")
		}
	}
	s.forget()
}

func (s *subject) imageNative(t *testing.T, w *doorway) {
	_, req, body := s.openedNative(t, w, true, "")
	s.Answer(http.StatusOK, jsonType, WholeResponse(body, hi), Whole)
	if _, err := s.Complete(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	s.accepted(t, "an image")
}
