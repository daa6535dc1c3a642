package openai

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/customtool"
	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// goesThroughResponses reports whether a translated request is made through Responses: its
// model takes tools beside reasoning only there. A client of chat completions gets the
// model's own refusal.
func (o *OpenAI) goesThroughResponses(preq *provider.Request) bool {
	return preq.Translated && preq.Continue == "" && slices.Contains(preq.Omit, effortWithTools) &&
		o.Speaks(provider.APIResponses) && hasTools(preq) && !needsChat(preq)
}

// needsChat reports whether a request asks for no reasoning, and the model does not refuse
// that, or for what only chat completions have.
func needsChat(preq *provider.Request) bool {
	root := gjson.ParseBytes(preq.Body)
	asksNone := root.Get(effortMember).Str == efforts[0] || root.Get("thinking.type").Str == "disabled"
	return asksNone && !slices.Contains(preq.Omit, effortMember) ||
		root.Get("n").Num > 1 || root.Get("logprobs").Bool() || root.Get("audio").IsObject()
}

// through is a chat completions request that is made through Responses.
type through struct {
	chat   *provider.Request // as it would be sent
	asked  *provider.Request // what is left out of it has other names
	sent   *provider.Native
	names  *dialect.Names
	custom customtool.Tools
}

func (o *OpenAI) throughResponses(preq *provider.Request) (*through, error) {
	_, custom := customtool.AsFunctions(preq.Body)
	chat, names := named(o.fitted(preq))
	chat, err := portableRequest(chat, true)
	if err != nil {
		return nil, err
	}
	body, err := asResponse(chat)
	if err != nil {
		return nil, err
	}
	return &through{chat, chat.Apart(), &provider.Native{API: provider.APIResponses, Body: body}, names, custom}, nil
}

// completeThrough answers a chat completions request through Responses.
func (o *OpenAI) completeThrough(ctx context.Context, preq *provider.Request) (*provider.Completion, error) {
	t, err := o.throughResponses(preq)
	if err != nil {
		return nil, err
	}
	came, err := o.completeResponse(ctx, t.asked, t.sent)
	if err = t.tell(err); err != nil {
		return nil, err
	}
	return t.custom.Completion(t.made().completion(came)), nil
}

// streamThrough answers a chat completions request chunk by chunk.
func (o *OpenAI) streamThrough(ctx context.Context, preq *provider.Request) (provider.Stream, error) {
	t, err := o.throughResponses(preq)
	if err != nil {
		return nil, err
	}
	s, err := o.streamResponse(ctx, t.asked, t.sent)
	if err = t.tell(err); err != nil {
		return nil, err
	}
	return t.custom.Stream(&throughStream{responseChunks{Stream: s, made: *t.made()}}), nil
}

func (t *through) made() *fromResponse { return &fromResponse{names: t.names, reasons: true} }

// tell notes what was left out of the request, and returns a failure, both in the words of
// chat completions.
func (t *through) tell(err error) error {
	for _, name := range t.asked.Dropped {
		t.chat.Drop(chatName(name))
	}
	if e, ok := errors.AsType[*provider.Error](err); ok {
		e.Param = chatName(e.Param)
	}
	return blameMember(err, t.chat)
}

// chatNames are the members of chat completions that become those of Responses.
var chatNames = []struct{ response, chat string }{
	{"input.reasoning", "messages." + items.Member},
	{"input", "messages"},
	{"reasoning", effortMember},
	{"text.format", "response_format"},
	{"text.verbosity", "verbosity"},
	{"max_output_tokens", limitMember},
}

// chatName returns the name in chat completions of what stands at a path in Responses. The
// places in lists are not the same.
func chatName(path string) string {
	for _, n := range chatNames {
		rest, ok := strings.CutPrefix(path, n.response)
		if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return n.chat
		}
	}
	return path
}

// throughStream leaves out the events that say nothing in a chat completion.
type throughStream struct{ responseChunks }

// Next implements provider.Stream.
func (s *throughStream) Next() (*provider.Chunk, error) {
	for {
		chunk, _, err := s.next()
		if err != nil || chunk.Content || chunk.FinishReason != "" || chunk.Usage != nil {
			return chunk, err
		}
	}
}

// Interface guards
var (
	_ provider.Stream = (*besideStream)(nil)
	_ provider.Stream = (*throughStream)(nil)
)
