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
// a server to the provider.
type Dialect struct {
	// New makes a provider of these options.
	New func(t testing.TB, u upstream.Upstream) provider.Provider

	// Model is the model that is asked for. Default: some-model.
	Model string

	// Path and StreamPath are where calls for a whole answer and for a stream
	// go, the query included. {model} stands for the model's name, escaped;
	// where it does not, the name is the body's member model.
	Path, StreamPath string

	// Keys are the headers that carry the configured key and the request's
	// own, either of which may be empty. Default: Authorization, as a bearer
	// token, the request's before the configured one.
	Keys func(configured, own string) http.Header

	// Headers are those that every call carries beside the usual ones.
	Headers http.Header

	Has Feature

	// Plain is the body of a call for a whole answer to a user who says hi.
	// StreamMembers are the members that a call for a stream has beside those,
	// as a JSON object; those of no value in it are not there.
	Plain, StreamMembers string

	// Bodies are the bodies of other calls, by the name of the case in
	// requestCases: the members that differ from Plain, as a JSON object; null
	// stands for a member that is not there. What is not among them has to be
	// dropped or refused by name. Nil leaves the client's body as it is.
	Bodies map[string]string

	// Continued are the members that differ from Plain where the answer was
	// begun with "Once upon", likewise.
	Continued string

	// Whole writes a whole answer, and Events the events of a stream, of type
	// ContentType. Malformed is an event that is no JSON, and Ping one that has
	// nothing to do with the answer.
	Whole       func(Reply) []byte
	Events      func(Reply) [][]byte
	ContentType string
	Malformed   []byte
	Ping        []byte

	// Failure writes the body of an answer with a status of 4xx or 5xx, and
	// FailureEvent the event of a stream that fails.
	Failure      func(status int, message string) []byte
	FailureEvent func(message string) []byte

	// TooLong and Filtered are what the provider says to a prompt that is too
	// long for the model and to one that it does not like; empty where it has
	// no such answer.
	TooLong, Filtered Refusal

	// EmbedPath is where calls for embeddings go, and Embeddings writes the
	// answer to the body asked; nil where there are none.
	EmbedPath  string
	Embeddings func(asked []byte, vectors [][]float32, tokens int64) []byte
}

// Refusal is an answer to a request that was refused.
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

	// HasContentFilter: an answer may end because of what it says.
	HasContentFilter

	// HasCachedCount and HasReasoningCount: these tokens are counted apart.
	HasCachedCount
	HasReasoningCount

	// HasCallIDs: tool calls have ids of the server's own.
	HasCallIDs

	// HasInterleaving: the arguments of two calls may come in turns.
	HasInterleaving

	// HasModel: an answer tells the model that gave it.
	HasModel

	// HasLines: streams are lines of text.
	HasLines

	// HasEndMark: the last event of a stream says that it is.
	HasEndMark

	// HasEitherWay: a stream is understood where none was asked for.
	HasEitherWay
)

func (d *Dialect) has(f Feature) bool { return d.Has&f == f }

// Reply is what a model answers, in no dialect.
type Reply struct {
	ID, Model string
	Parts     []Part
	Finish    string // stop, length, tool_calls or content_filter
	Usage     *provider.Usage
}

// Part is one piece of a reply, as large as an event of a stream: of its text,
// of its reasoning, or of a tool call.
type Part struct {
	Text, Reasoning string

	// Call numbers the call that this is a part of, from 1. Its first part has
	// ID and Name.
	Call      int
	ID, Name  string
	Arguments string

	// Block numbers the run of parts that belong together, from 0: text,
	// reasoning or a call. Begins and Ends mark its first and last part.
	// Reply.Blocks sets these.
	Block        int
	Begins, Ends bool
}

// Text is all the text of a reply.
func (r *Reply) Text() string {
	var b bytes.Buffer
	for _, p := range r.Parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Reasoning is all the reasoning of a reply.
func (r *Reply) Reasoning() string {
	var b bytes.Buffer
	for _, p := range r.Parts {
		b.WriteString(p.Reasoning)
	}
	return b.String()
}

// Calls are the tool calls of a reply, whole.
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

// Blocks are the parts of a reply with their blocks.
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

// JSON is v as JSON.
func JSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // a dialect's own values
	}
	return bytes.TrimSpace(b.Bytes())
}

// Event is a server-sent event, of no type where that is empty.
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

// KeyIn is the Keys of a dialect whose key goes in a header, behind a prefix.
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
