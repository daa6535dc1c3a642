package providertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// doorway is a door, and a client of its API.
type doorway struct {
	name string
	door.Door

	// ask writes a request, of which more are members: with an image, an earlier
	// answer, or neither. answer is a document of the API; empty for none.
	ask func(image bool, answer string) string

	// instructed is a request with instructions at every place of the conversation, whose
	// order has to be that of instructions.
	instructed string

	// read reads a document, and last returns the document that a stream ends with,
	// and the texts of its deltas. It is empty if the stream has failed.
	read func(doc gjson.Result) Answer
	last func(events []byte) (doc gjson.Result, text, reasoning string)

	// failed is the event that reports a failure.
	failed string
}

var doorways = []doorway{
	{"messages", messages.Door{}, askMessages, instructedMessages, readMessage, lastMessage, "error"},
	{"responses", responses.Door{}, askResponses, instructedResponses, readResponse, lastResponse, "response.failed"},
}

// doors has the clients of every other API ask the provider: answers of all kinds, streamed
// and whole, that break off anywhere, and in a second turn, for which the provider gets all
// that it wants back.
func doors(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	for i := range doorways {
		w := &doorways[i]
		t.Run(w.name, func(t *testing.T) {
			for _, tc := range replies {
				if d.has(tc.needs) {
					t.Run(tc.name, func(t *testing.T) { s.throughDoor(t, w, tc.Reply) })
				}
			}
			t.Run("cut", func(t *testing.T) { s.cutInDoor(t, w) })
			t.Run("image", func(t *testing.T) { s.imageThroughDoor(t, w) })
			t.Run("instructions", func(t *testing.T) { s.instructedThroughDoor(t, w) })
		})
	}
}

// opened opens a request, and returns it for the provider.
func (s *subject) opened(t *testing.T, w *doorway, body string) (door.Call, *provider.Request) {
	t.Helper()
	call, err := w.Open([]byte(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	req := s.request(string(call.Completion()))
	req.Translated = true
	return call, req
}

func (s *subject) throughDoor(t *testing.T, w *doorway, r Reply) {
	call, req := s.opened(t, w, w.ask(false, ""))
	s.answerStream(r, Whole)
	events, said, err := passThrough(t.Context(), s, call, req)
	if err != nil {
		t.Fatalf("the stream has failed: %v", err)
	}
	doc, text, reasoning := w.last(events)
	if text != r.Text() || reasoning != r.Reasoning() {
		t.Errorf("the stream says %q after %q, want %q after %q", text, reasoning, r.Text(), r.Reasoning())
	}
	s.checkDoor(t, "a stream", r, w.read(doc))

	call, req = s.opened(t, w, w.ask(false, ""))
	s.answerWhole(r)
	c, err := s.Complete(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	answer := gjson.ParseBytes(call.Document(c.Body))
	s.checkDoor(t, "a document", r, w.read(answer))
	s.secondTurn(t, w, gjson.GetBytes(c.Body, "choices.0.message"), answer.Raw)
	s.secondTurn(t, w, said, doc.Raw)
	if w.API() == provider.APIResponses {
		checkEvents(t, events)
		checkResponse(t, answer)
		goesOn(t, w, answer.Raw)
		goesOn(t, w, doc.Raw)
	}
}

// goesOn checks that a conversation can go on at OpenAI, which an answer may be passed to
// as it came. Sealed reasoning never is, as only the door can open it.
func goesOn(t *testing.T, w *doorway, answer string) {
	t.Helper()
	body := w.ask(false, answer)
	if refused := responseRequest("", gjson.Parse(body)); refused != nil {
		t.Errorf("a strict server refuses an answer: %v\n%s", refused, body)
	}
	for i, item := range slices.Backward(gjson.Get(body, "input").Array()) {
		if item.Get("type").Str == "reasoning" {
			body, _ = sjson.Delete(body, fmt.Sprintf("input.%d", i))
		}
	}
	if refused := RefuseResponse([]byte(body)); refused != nil {
		t.Errorf("a strict server refuses to go on: %v\n%s", refused, body)
	}
}

// passThrough returns the events of a stream, its message as a client of chat completions
// would put it together, and why the stream has failed.
func passThrough(ctx context.Context, p provider.Provider, call door.Call, req *provider.Request) (events []byte, said gjson.Result, err error) {
	out := call.Stream()
	var usage provider.Usage
	var m provider.Message
	chunks, err := p.Stream(ctx, req)
	for err == nil {
		var c *provider.Chunk
		if c, err = chunks.Next(); err != nil {
			chunks.Close()
			break
		}
		if c.Usage != nil {
			usage = *c.Usage
		}
		m.Add(gjson.GetBytes(c.Raw, "choices.0.delta"))
		events = out.Chunk(events, c)
	}
	if !errors.Is(err, io.EOF) {
		return out.Fail(events, door.Failure{Type: "server_error", Code: "ai_error", Message: "failed", TraceID: "trace-1"}), said, err
	}
	members := make(map[string]json.RawMessage)
	for _, name := range returned {
		if v := m.Member(name); v != nil {
			members[name] = v
		}
	}
	if calls := m.Calls.AppendJSON(nil); calls != nil {
		members["tool_calls"] = calls
	}
	return out.End(events, usage), gjson.ParseBytes(JSON(members)), nil
}

// returned are the members of a message that a provider gets back.
var returned = []string{"thinking_blocks", "reasoning_content", "content", "tool_calls"}

// checkDoor compares what a client sees with the reply.
func (d *Dialect) checkDoor(t *testing.T, what string, r Reply, got Answer) {
	t.Helper()
	want := Answer{Counted: new(provider.Usage)}
	want.Text, want.Reasoning, want.ToolCalls, want.Finish = r.Text(), r.Reasoning(), r.Calls(), r.Finish
	if got.Text != want.Text || got.Reasoning != want.Reasoning || got.Finish != want.Finish {
		t.Errorf("%s says %q after %q and ends with %q, want %q after %q and %q", what, got.Text, got.Reasoning, got.Finish, want.Text, want.Reasoning, want.Finish)
	}
	if len(got.ToolCalls) != len(want.ToolCalls) {
		t.Fatalf("%s calls %+v, want %+v", what, got.ToolCalls, want.ToolCalls)
	}
	for i, c := range got.ToolCalls {
		c.ID, _ = door.UnsealID(c.ID, new(any))
		c.Arguments, want.ToolCalls[i].Arguments = gjson.Get(c.Arguments, "@ugly").Raw, gjson.Get(want.ToolCalls[i].Arguments, "@ugly").Raw
		if !d.sameCall(c, want.ToolCalls[i]) {
			t.Errorf("%s calls %+v, want %+v", what, c, want.ToolCalls[i])
		}
	}
	if r.Usage == nil {
		return
	}
	count := *r.Usage
	count.Reasoning = min(count.Reasoning, got.Counted.Reasoning) // which Messages does not tell
	if *got.Counted != count {
		t.Errorf("%s counts %+v, want %+v", what, *got.Counted, count)
	}
}

// secondTurn sends an answer back. What the provider wants of it must be as a client of
// chat completions would have returned it.
func (s *subject) secondTurn(t *testing.T, w *doorway, said gjson.Result, answer string) {
	t.Helper()
	call, err := w.Open([]byte(w.ask(false, answer)))
	if err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	back := gjson.GetBytes(call.Completion(), "messages.1")
	for _, name := range returned {
		want, got := meaning(said.Get(name)), meaning(back.Get(name))
		if name == "content" && (want == nil || want == "") && (got == nil || got == "") {
			continue
		}
		if name == "reasoning_content" && back.Get("thinking_blocks").Exists() {
			continue // which have it
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s was %v and comes back as %v: %s", name, said.Get(name), back.Get(name), answer)
		}
	}
	if s.Read == nil {
		return
	}
	s.answerWhole(hi)
	s.forget()
	req := s.request(string(call.Completion()))
	req.Translated = true
	if _, err := s.Complete(t.Context(), req); err != nil {
		t.Errorf("the second turn fails: %v", err)
		return
	}
	if _, sent := s.sent(t); t.Failed() {
		t.Logf("the server got %s", sent)
	} else if _, err := s.Read(sent); err != nil {
		t.Errorf("a strict server refuses the second turn: %v\n%s", err, sent)
	}
}

// meaning returns a value without its spelling: the arguments of calls are JSON in a text,
// and a message of texts alone may be one text.
func meaning(v gjson.Result) any {
	switch {
	case v.IsArray():
		list := []any{}
		var text strings.Builder
		for _, e := range v.Array() {
			list = append(list, meaning(e))
			text.WriteString(e.Get("text").Str)
		}
		if len(list) > 0 && v.Get("#(type!=text)#").String() == "[]" && v.Get("0.type").Str == "text" {
			return text.String()
		}
		return list
	case v.IsObject():
		o := make(map[string]any)
		v.ForEach(func(name, e gjson.Result) bool {
			if name.Str == "index" {
				return true
			}
			if o[name.Str] = meaning(e); name.Str == "arguments" {
				o[name.Str] = gjson.Get(e.Str, "@ugly").Raw
			}
			return true
		})
		return o
	}
	return v.Value()
}

// cutInDoor breaks a stream off after each of its events.
func (s *subject) cutInDoor(t *testing.T, w *doorway) {
	events := s.Events(hi)
	for n := range len(events) + 1 {
		call, req := s.opened(t, w, w.ask(false, ""))
		s.Answer(http.StatusOK, s.streamType(), join(events[:n]), Whole)
		got, _, err := passThrough(t.Context(), s, call, req)
		doc, text, _ := w.last(got)
		failed := strings.Contains(string(got), "event: "+w.failed+"\n")
		if (err != nil) != failed || failed == doc.Exists() {
			t.Errorf("cut after %d of %d events, the stream ends with %v:\n%s", n, len(events), err, got)
		}
		if want := hi; !strings.HasPrefix(want.Text(), text) || !failed && text != want.Text() {
			t.Errorf("cut after %d events, it says %q", n, text)
		}
	}
}

// imageThroughDoor sends an image.
func (s *subject) imageThroughDoor(t *testing.T, w *doorway) {
	_, req := s.opened(t, w, w.ask(true, ""))
	s.answerWhole(hi)
	s.forget()
	if _, err := s.Complete(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if _, sent := s.sent(t); !strings.Contains(string(sent), pixel) || !strings.Contains(string(sent), "look") {
		t.Errorf("the server got %s", sent)
	}
}

// instructions are the texts of an instructed request in their order: what was said between
// calls and their results stands behind them.
var instructions = []string{"<hi>", "<kind>", "<true>", "<one>", "<two>", "<quick>", "<brief>", "<so>", "<and>", "<on>"}

// instructedThroughDoor sends instructions within a conversation.
func (s *subject) instructedThroughDoor(t *testing.T, w *doorway) {
	_, req := s.opened(t, w, strings.NewReplacer("<", `\u003c`, ">", `\u003e`).Replace(w.instructed))
	s.answerWhole(hi)
	s.forget()
	if _, err := s.Complete(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	_, sent := s.sent(t)
	if s.Read != nil {
		if _, err := s.Read(sent); err != nil {
			t.Errorf("a strict server refuses it: %v", err)
		}
	}
	rest := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(sent))
	for _, text := range instructions {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("%s is not at its place: %s", text, sent)
		}
		rest = after
	}
}

// events calls see for each event of a stream.
func events(stream []byte, see func(data gjson.Result)) {
	for line := range strings.Lines(string(stream)) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			see(gjson.Parse(data))
		}
	}
}
