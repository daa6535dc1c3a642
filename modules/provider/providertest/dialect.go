package providertest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// Dialect is the API of a provider as its servers speak it. Conform plays such
// a server for the provider.
type Dialect struct {
	// New makes a provider with these options.
	New func(t testing.TB, u upstream.Upstream) provider.Provider

	// Column is the type's name in the table of docs/apis.md; empty without one.
	Column string

	// Model is the requested model. Default: some-model.
	Model string

	// Path and StreamPath are the paths of calls for a whole answer and for a
	// stream, including the query. {model} stands for the model's name,
	// escaped; without it, the name is in the body's member model.
	Path, StreamPath string

	// Keys returns the headers that carry the configured key and the request's
	// own, either of which may be empty. Default: Authorization, as a bearer
	// token, with the request's key before the configured one.
	Keys func(configured, own string) http.Header

	// Headers are on every call, in addition to the usual ones.
	Headers http.Header

	Has Feature

	// Plain is the body of a call for a whole answer to a user who says hi.
	// StreamMembers is a JSON object with the members that differ in a call for
	// a stream; null stands for a member that is not there.
	Plain, StreamMembers string

	// Bodies are the bodies of other calls, by the name of the case in
	// requestCases: a JSON object with the members that differ from Plain; null
	// stands for a member that is not there. All other cases have to be dropped
	// or refused by name. Nil leaves the client's body as it is.
	Bodies map[string]string

	// Continued is a JSON object with the members that differ from Plain if the
	// answer was begun with "Once upon".
	Continued string

	// Read reads a request as the strictest server of the dialect does. Its error
	// says why the server refuses it. It is nil if the body goes to the server
	// as it came.
	Read func(body []byte) (Asked, error)

	// Whole writes a whole answer, and Events the events of a stream, of type
	// ContentType. Malformed is an event that breaks off in its JSON, Noise one
	// that is not JSON at all, if there can be one, and Ping one that does not
	// belong to the answer.
	Whole       func(Reply) []byte
	Events      func(Reply) [][]byte
	ContentType string
	Malformed   []byte
	Noise       []byte
	Ping        []byte

	// Failure writes the body of an answer with status 4xx or 5xx, and
	// FailureEvent the event of a stream that fails.
	Failure      func(status int, message string) []byte
	FailureEvent func(message string) []byte

	// TooLong and Filtered are the provider's answers to a prompt that exceeds
	// the model's context and to one that violates a content policy; empty if
	// it has no such answer.
	TooLong, Filtered Refusal

	// ResponsesPath is the path of OpenAI's Responses API, if the provider passes its
	// requests on as they come; empty otherwise.
	ResponsesPath string

	// EmbedPath is the path of calls for embeddings, and Embeddings writes the
	// answer to the body asked; nil if the provider has none.
	EmbedPath  string
	Embeddings func(asked []byte, vectors [][]float32, tokens int64) []byte
}

// Refusal is the answer to a request that is refused.
type Refusal struct {
	Status int
	Body   string
}

// Feature is something that not all providers have.
type Feature uint

// The features.
const (
	// HasReasoning: the model's thinking can be read.
	HasReasoning Feature = 1 << iota

	// HasContentFilter: an answer may end because of its content.
	HasContentFilter

	// HasCachedCount and HasReasoningCount: these tokens are counted
	// separately.
	HasCachedCount
	HasReasoningCount

	// HasCallIDs: the server gives ids to tool calls.
	HasCallIDs

	// HasInterleaving: the arguments of two calls may alternate.
	HasInterleaving

	// HasModel: an answer names the model that gave it.
	HasModel

	// HasLines: streams are lines of text.
	HasLines

	// HasEndMark: a stream has an explicit last event.
	HasEndMark

	// HasEitherWay: the provider accepts a stream where it asked for a whole
	// answer.
	HasEitherWay
)

func (d *Dialect) has(f Feature) bool { return d.Has&f == f }

// Reply is a model's answer, in no particular dialect.
type Reply struct {
	ID, Model string
	Parts     []Part
	Finish    string // stop, length, tool_calls or content_filter
	Usage     *provider.Usage
}

// Part is one piece of a reply, the size of one event of a stream: of its text,
// its reasoning, or a tool call.
type Part struct {
	Text, Reasoning string

	// Call is the number of the call that this belongs to, counted from 1. Its
	// first part has ID and Name.
	Call      int
	ID, Name  string
	Arguments string

	// Block is the number of the run of parts that belong together, counted
	// from 0: text, reasoning or a call. Begins and Ends mark its first and
	// last part. Reply.Blocks sets these.
	Block        int
	Begins, Ends bool
}

// Text returns all the text of a reply.
func (r *Reply) Text() string {
	var b bytes.Buffer
	for _, p := range r.Parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Reasoning returns all the reasoning of a reply.
func (r *Reply) Reasoning() string {
	var b bytes.Buffer
	for _, p := range r.Parts {
		b.WriteString(p.Reasoning)
	}
	return b.String()
}

// Calls returns the tool calls of a reply, whole.
func (r *Reply) Calls() []ToolCall {
	var calls []ToolCall
	for _, p := range r.Parts {
		switch {
		case p.Call == 0:
			continue
		case p.Call > len(calls):
			calls = append(calls, ToolCall{ID: p.ID, Name: p.Name})
		}
		calls[p.Call-1].Arguments += p.Arguments
	}
	return calls
}

// Blocks returns the parts of a reply with their blocks.
func (r *Reply) Blocks() []Part {
	parts := slices.Clone(r.Parts)
	open := make(map[int]int) // the last part of a call
	last := -1
	blocks := 0
	for i := range parts {
		p := &parts[i]
		same := last
		if p.Call > 0 {
			at, ok := open[p.Call]
			if same = -1; ok {
				same = at
			}
			open[p.Call] = i
		} else if same >= 0 && (parts[same].Call > 0 || (parts[same].Reasoning == "") != (p.Reasoning == "")) {
			same = -1
		}
		if same >= 0 {
			p.Block = parts[same].Block
			parts[same].Ends = false
		} else {
			p.Block, p.Begins = blocks, true
			blocks++
		}
		p.Ends = true
		last = i
	}
	return parts
}

// JSON returns v as JSON.
func JSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // a dialect's own values
	}
	return bytes.TrimSpace(b.Bytes())
}

// Event returns a server-sent event. typ may be empty.
func Event(typ string, data []byte) []byte {
	if typ != "" {
		typ = "event: " + typ + "\n"
	}
	return append([]byte(typ+"data: "), append(data, "\n\n"...)...)
}

// Object is a JSON object.
type Object = map[string]any

// bearer is the Keys of a dialect whose key is a bearer token.
func bearer(configured, own string) http.Header {
	return KeyIn("Authorization", "Bearer ")(configured, own)
}

// KeyIn returns the Keys of a dialect whose key is in a header, after a prefix.
func KeyIn(header, prefix string) func(configured, own string) http.Header {
	return func(configured, own string) http.Header {
		if own == "" {
			own = configured
		}
		if own == "" {
			return nil
		}
		return http.Header{header: {prefix + own}}
	}
}
