package providertest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// asking makes a call and reads the answer to its end.
type asking func(context.Context, testing.TB, provider.Provider, *provider.Request) Answer

const arguments = `{"city":"Köln","q":"a<b & \"c\"","n":12345678901234567890}`

// replies are answers of all kinds. needs are the features that a dialect needs
// to give one.
var replies = []struct {
	name  string
	needs Feature
	Reply
}{
	{"text", 0, hi},
	{"text without usage", 0, reply("stop", Part{Text: "Hello"})},
	{"reasoning", HasReasoning, reply("stop", Part{Reasoning: "hm "}, Part{Reasoning: "ö…"}, Part{Text: "yes"})},
	{"call", 0, reply("tool_calls", Part{Call: 1, ID: "call_a", Name: "weather", Arguments: arguments})},
	{"call of nothing", 0, reply("tool_calls", Part{Call: 1, ID: "call_a", Name: "now", Arguments: "{}"})},
	{"call in parts", 0, reply("tool_calls", Part{Call: 1, ID: "call_a", Name: "weather"}, Part{Call: 1, Arguments: arguments[:13]}, Part{Call: 1, Arguments: arguments[13:]})},
	{"text and a call", 0, reply("tool_calls", Part{Text: "Let me "}, Part{Text: "see"}, Part{Call: 1, ID: "call_a", Name: "now", Arguments: "{}"})},
	{"two calls", 0, reply("tool_calls",
		Part{Call: 1, ID: "call_a", Name: "weather"}, Part{Call: 1, Arguments: arguments},
		Part{Call: 2, ID: "call_b", Name: "now"}, Part{Call: 2, Arguments: "{}"})},
	{"two calls in turns", HasInterleaving, reply("tool_calls",
		Part{Call: 1, ID: "call_a", Name: "weather"}, Part{Call: 2, ID: "call_b", Name: "weather"},
		Part{Call: 1, Arguments: `{"a":`}, Part{Call: 2, Arguments: `{"b":2`}, Part{Call: 1, Arguments: `1}`}, Part{Call: 2, Arguments: `}`})},
	{"length", 0, reply("length", Part{Text: "Once upon"})},
	{"content filter", HasContentFilter, reply("content_filter", Part{Text: "I"})},
	{"cached tokens", HasCachedCount, counted(provider.Usage{Input: 100, Cached: 60, Output: 5})},
	{"all tokens cached", HasCachedCount, counted(provider.Usage{Input: 60, Cached: 60, Output: 5})},
	{"reasoning tokens", HasReasoningCount, counted(provider.Usage{Input: 100, Output: 50, Reasoning: 40})},
	{"line breaks", 0, reply("stop", Part{Text: "a\r\nb\n\ndata: [DONE]\n\n\u2028\x00\\u0041"})},
}

func reply(finish string, parts ...Part) Reply {
	return Reply{ID: "msg-1", Model: "model-that-answered", Parts: parts, Finish: finish}
}

func counted(u provider.Usage) Reply {
	r := reply("stop", Part{Text: "Hello"})
	r.Usage = &u
	return r
}

// answers checks that every answer arrives unchanged: whole or as a stream, in
// one piece or in bytes, as requested or the other way around.
func answers(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	for _, tc := range replies {
		if !d.has(tc.needs) {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			bodies := map[string][]byte{"a whole answer": s.Whole(tc.Reply), "a stream": join(s.Events(tc.Reply))}
			types := map[string]http.Header{"a whole answer": jsonType, "a stream": s.streamType()}
			for name, body := range bodies {
				for _, manner := range [...]Manner{Whole, Bytes} {
					s.Answer(http.StatusOK, types[name], body, manner)
					d.check(t, "a stream made of "+name, tc.Reply, streamOf(t.Context(), t, s, s.request(plainBody)))
					if name == "a stream" && !d.has(HasEitherWay) {
						continue
					}
					d.check(t, "a whole answer made of "+name, tc.Reply, completionOf(t.Context(), t, s, s.request(plainBody)))
				}
			}
		})
	}
}

// halves checks that an emoji whose two surrogates come in two events arrives
// whole. Only streams of text can be written so.
func halves(t *testing.T, d *Dialect) {
	if !d.has(HasLines) {
		return
	}
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	body := join(s.Events(reply("stop", Part{Text: "a high--"}, Part{Text: "low---"}, Part{Text: "z"})))
	for placeholder, escape := range map[string]string{"high--": `\ud83d`, "low---": `\ude00`} {
		body = bytes.ReplaceAll(body, []byte(placeholder), []byte(escape))
	}
	for _, manner := range [...]Manner{Whole, Bytes} {
		s.Answer(http.StatusOK, s.streamType(), body, manner)
		if a := streamOf(t.Context(), t, s, s.request(plainBody)); a.Err != nil || a.Text != "a 😀z" {
			t.Errorf("got %q, %v", a.Text, a.Err)
		}
	}
}

// check compares an answer with the reply that it was made of.
func (d *Dialect) check(t testing.TB, what string, r Reply, got Answer) {
	t.Helper()
	if got.Err != nil {
		t.Errorf("%s failed: %v", what, got.Err)
		return
	}
	if got.Text != r.Text() || got.Reasoning != r.Reasoning() || got.Refusal != "" {
		t.Errorf("%s says %.200q after %q, with the refusal %q; want %.200q after %q", what, got.Text, got.Reasoning, got.Refusal, r.Text(), r.Reasoning())
	}
	if want := r.Calls(); !slices.EqualFunc(got.ToolCalls, want, d.sameCall) {
		t.Errorf("%s calls %+v, want %+v", what, got.ToolCalls, want)
	}
	if got.Finish != r.Finish {
		t.Errorf("%s finishes with %q, want %q", what, got.Finish, r.Finish)
	}
	if (got.Counted == nil) != (r.Usage == nil) || got.Counted != nil && *got.Counted != *r.Usage {
		t.Errorf("%s counts %+v, want %+v", what, got.Counted, r.Usage)
	}
	model := d.Model
	if d.has(HasModel) {
		model = r.Model
	}
	if got.Model != model {
		t.Errorf("%s is of the model %q, want %q", what, got.Model, model)
	}
	if got.Skipped != 0 {
		t.Errorf("%s skipped %d events", what, got.Skipped)
	}
}

// sameCall compares tool calls. Calls without an id get one.
func (d *Dialect) sameCall(got, want ToolCall) bool {
	if !d.has(HasCallIDs) && got.ID != "" {
		got.ID = want.ID
	}
	return got == want
}

const callers = 20

var number = regexp.MustCompile(`number-\d+`)

// atOnce makes many concurrent calls of one provider, and checks that each gets
// its own answer. The race detector sees the rest.
func atOnce(t *testing.T, d *Dialect) {
	var all sync.WaitGroup
	all.Add(callers)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var body strings.Builder
		req.Write(&body)
		// They wait for each other, so that all are in flight together.
		all.Done()
		all.Wait()
		r := reply("stop", Part{Text: "this is "}, Part{Text: number.FindString(body.String())})
		if isPath(req, d.StreamPath, d.Model) && strings.Contains(body.String(), "as a stream") {
			w.Header().Set("Content-Type", d.ContentType)
			w.Write(join(d.Events(r)))
			return
		}
		w.Write(d.Whole(r))
	}))
	t.Cleanup(srv.Close)
	p := d.New(t, upstream.Upstream{BaseURL: srv.URL, APIKey: configuredKey})
	var callsOf sync.WaitGroup
	for i := range callers {
		callsOf.Go(func() {
			name, ask := fmt.Sprintf("number-%d", i), asking(completionOf)
			how := "whole"
			if i%2 == 0 {
				ask, how = streamOf, "as a stream"
			}
			req := d.request(`{"messages":[{"role":"user","content":"` + name + ` ` + how + `"}]}`)
			if a := ask(t.Context(), t, p, req); a.Err != nil || a.Text != "this is "+name {
				t.Errorf("%s got %q, %v", name, a.Text, a.Err)
			}
		})
	}
	callsOf.Wait()
}
