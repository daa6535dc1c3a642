package anthropic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// Speaks implements provider.Speaker.
func (a *Anthropic) Speaks(api provider.API) bool { return api == provider.APIMessages }

func (a *Anthropic) completeNative(ctx context.Context, preq *provider.Request) (*provider.Completion, error) {
	resp, err := a.callNative(ctx, preq, preq.Native, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return native.Complete(ctx, resp, readMessage)
}

func (a *Anthropic) streamNative(ctx context.Context, preq *provider.Request) (provider.Stream, error) {
	resp, err := a.callNative(ctx, preq, preq.Native, true) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	return native.NewStream(ctx, resp, new(reader), preq, readMessage), nil
}

// callNative sends a request on as it came, but for the model, and for the stream of which
// a document is assembled.
func (a *Anthropic) callNative(ctx context.Context, preq *provider.Request, n *provider.Native, stream bool) (*http.Response, error) {
	if err := refuse(preq, n.Body); err != nil {
		return nil, err
	}
	m, body, err := splice.MembersOf(n.Body)
	if err != nil {
		return nil, fmt.Errorf("editing the request: %w", err)
	}
	e := splice.Of(body)
	e.Set(m.Model, "model", splice.Quoted(preq.Model))
	if stream {
		e.SetStream(m)
	}
	asked := preq.With(preq.Body)
	asked.Native = n // for its headers
	return a.send(ctx, asked, e.Bytes(), stream)
}

// refuse refuses a request for what the tenants must not share, or must not choose.
func refuse(preq *provider.Request, body []byte) error {
	if at := native.Find(gjson.GetBytes(body, "tools"), "tools", native.IsModel); at != "" {
		return provider.Unsupported(at, "the model of a tool cannot be chosen here")
	}
	return native.RefuseStored(preq, body)
}

// setAPI sets the version of the API, and its beta features: the operator's and, if the
// client speaks this API, its own.
func (a *Anthropic) setAPI(h http.Header, preq *provider.Request) {
	h.Set(versionHeader, version)
	if n := preq.Native; n != nil && n.Header.Get(versionHeader) != "" {
		h.Set(versionHeader, n.Header.Get(versionHeader))
	}
	if betas := slices.Concat(a.beta, preq.Betas); len(betas) > 0 {
		h.Set(betaHeader, joined(betas))
	}
}

// joined joins lists, and leaves out what is in them twice.
func joined(lists []string) string {
	var all []string
	seen := make(map[string]bool) // a header may have very many
	for name := range strings.SplitSeq(strings.Join(lists, ","), ",") {
		if name = strings.TrimSpace(name); name != "" && !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	return strings.Join(all, ",")
}

// reader reads the facts of a message's events.
type reader struct {
	begun    bool
	finished bool // the stop reason was read
	called   bool // there is a tool call
	usage    counts
}

// Finished implements native.Reader.
func (r *reader) Finished() bool { return r.finished }

// The bytes around the index and the text of a delta, as Anthropic writes it.
var (
	deltaBegin   = []byte(`{"type":"content_block_delta","index":`)
	textBegin    = []byte(`,"delta":{"type":"text_delta","text":"`)
	thoughtBegin = []byte(`,"delta":{"type":"thinking_delta","thinking":"`)
	deltaEnd     = []byte(`"}}`)
)

// Plain implements native.Reader.
func (r *reader) Plain(data []byte, f *provider.Facts) bool {
	rest, ok := bytes.CutPrefix(data, deltaBegin)
	if !ok || len(rest) < 2 || rest[0] < '0' || rest[0] > '9' {
		return false
	}
	if rest = rest[1:]; rest[0] >= '0' && rest[0] <= '9' {
		return false // two digits are rare
	}
	add := f.AddText
	text, ok := bytes.CutPrefix(rest, textBegin)
	if !ok {
		text, ok = bytes.CutPrefix(rest, thoughtBegin)
		add = f.AddReasoning
	}
	if !ok {
		return false
	}
	if text, ok = bytes.CutSuffix(text, deltaEnd); !ok || !isPlain(text) {
		return false
	}
	r.begun = true
	add(string(text))
	return true
}

// isPlain reports whether a string's JSON, without its quotes, is the string itself.
func isPlain(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return utf8.Valid(s)
}

// Read implements native.Reader.
func (r *reader) Read(event gjson.Result, f *provider.Facts) (last bool, err error) {
	switch event.Get("type").Str {
	case "content_block_delta":
		r.begun = true
		readDelta(event.Get("delta"), f)
	case "content_block_start":
		r.begun = true
		r.block(event.Get("content_block"), f)
	case "message_start":
		r.begun = true
		m := event.Get("message")
		f.Model = m.Get("model").Str
		r.usage.add(m.Get("usage"))
		if u := r.usage.openAI(); u.Input > 0 {
			f.Usage = u
		}
	case "message_delta":
		r.begun = true
		r.usage.add(event.Get("usage"))
		if reason := event.Get("delta.stop_reason").Str; reason != "" {
			r.finish(finishOf(reason), f)
		}
	case "message_stop":
		return true, r.stop(f)
	case "", "error":
		if _, _, _, ok := provider.ErrorOf([]byte(event.Raw)); ok {
			return false, provider.NewError(0, []byte(event.Raw))
		}
	}
	return false, nil
}

// stop ends a message at its end mark. One without a stop reason is judged by its
// content.
func (r *reader) stop(f *provider.Facts) error {
	switch {
	case !r.begun:
		return provider.ErrCut
	case r.called:
		r.finish("tool_calls", f)
	default:
		r.finish("stop", f)
	}
	return nil
}

func (r *reader) finish(reason string, f *provider.Facts) {
	if r.finished {
		return
	}
	r.finished = true
	f.FinishReason, f.Finishes = reason, 1
	if r.usage.seen {
		f.Usage = r.usage.openAI()
	}
}

// block reads a block or what it begins with.
func (r *reader) block(b gjson.Result, f *provider.Facts) {
	switch b.Get("type").Str {
	case typeText:
		f.AddText(b.Get("text").Str)
		f.More = f.More || len(b.Get("citations").Array()) > 0
	case typeThinking:
		f.AddReasoning(b.Get("thinking").Str)
	case typeRedacted:
	case typeToolUse:
		r.called = true
		f.ToolCalls, f.Content, f.More = true, true, true
		f.OutputBytes += len(b.Get("name").Str)
		if in := b.Get("input"); in.IsObject() && len(in.Raw) > len("{}") {
			f.OutputBytes += len(in.Raw)
		}
	default:
		// The work of server-side tools, and what is not known yet.
		f.Content, f.More = true, true
	}
}

func readDelta(d gjson.Result, f *provider.Facts) {
	switch d.Get("type").Str {
	case "text_delta":
		f.AddText(d.Get("text").Str)
	case "thinking_delta":
		f.AddReasoning(d.Get("thinking").Str)
	case "input_json_delta":
		if s := d.Get("partial_json").Str; s != "" {
			f.Content, f.More = true, true
			f.OutputBytes += len(s)
		}
	case "citations_delta":
		f.Content, f.More = true, true
	}
}

// readMessage reads the facts of a whole message.
func readMessage(m gjson.Result, f *provider.Facts) error {
	if _, _, _, ok := provider.ErrorOf([]byte(m.Raw)); ok && m.Get("type").Str != "message" {
		return provider.NewError(0, []byte(m.Raw))
	}
	content := m.Get("content")
	if !content.IsArray() {
		return provider.BadAnswer(errNoMessage)
	}
	var r reader
	content.ForEach(func(_, b gjson.Result) bool {
		r.block(b, f)
		return true
	})
	f.Model, f.Choices = m.Get("model").Str, 1
	r.usage.add(m.Get("usage"))
	r.begun = true
	if reason := m.Get("stop_reason").Str; reason != "" {
		r.finish(finishOf(reason), f)
		return nil
	}
	return r.stop(f)
}

var errNoMessage = errors.New("the answer is not a message")

// Interface guard
var _ native.Reader = (*reader)(nil)
