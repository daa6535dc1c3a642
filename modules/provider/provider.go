// Package provider defines what the gateway needs from an AI provider. Requests
// and answers are in the format of OpenAI's chat completions, which adapters
// translate. They are the Caddy modules chat.providers.* in the folders below.
package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/form"
)

// Provider calls the models of one provider. It is safe for concurrent use.
type Provider interface {
	// Complete makes a call and returns the whole answer.
	Complete(ctx context.Context, req *Request) (*Completion, error)

	// Stream makes a call and returns once the provider has begun to answer.
	// The caller must close the stream. Its reads fail when ctx ends.
	Stream(ctx context.Context, req *Request) (Stream, error)

	// DefaultModel returns the upstream model for requests that name none. It
	// may be empty.
	DefaultModel() string
}

// Embedder is a provider that also has embeddings.
type Embedder interface {
	// Embed makes an embeddings call. The request's and the completion's
	// bodies are in OpenAI's format.
	Embed(ctx context.Context, req *Request) (*Completion, error)
}

// API is the name of an API that clients use in place of chat completions.
type API string

// The APIs.
const (
	APIMessages  API = "messages"  // Anthropic's
	APIResponses API = "responses" // OpenAI's
)

// MemberNative is the member of a chat completion, or of a chunk, that holds the document
// or the event in another API which it was made of.
const MemberNative = "x_native"

// Native is a request in another API than chat completions, as its client sent it.
// A provider that has this API sends it on as it came, with the upstream model in
// it: prompt caches depend on the bytes.
type Native struct {
	API    API
	Body   []byte      // one JSON object without duplicate names
	Header http.Header // the API's own headers, such as Anthropic-Beta
}

// Speaker is a provider with other APIs than chat completions.
type Speaker interface {
	// Speaks reports whether the provider takes requests of an API as they come.
	Speaks(API) bool
}

// CustomTooler is a provider whose servers may have custom tools, which take any text.
type CustomTooler interface {
	// HasCustomTools reports whether they surely have.
	HasCustomTools() bool
}

// Keeper is a provider with secrets. Its server may repeat them in an error
// message, where only the provider can recognize them.
type Keeper interface {
	// Hide returns text without the secrets that req was made with.
	Hide(req *Request, text string) string
}

// Continuer is a provider with models that can continue an assistant message
// exactly where it ends.
type Continuer interface {
	Continues(model string) bool
}

// Request is one call of a model.
type Request struct {
	// Model is the provider's name of the model.
	Model string

	// Body is the client's chat completions request: one JSON object without
	// duplicate names. Adapters must not change it in place.
	Body []byte

	// Form is the request in place of Body, for Relay; nil if it is not a form.
	Form *form.Form

	// Native is the request as it came, if the provider speaks its API and the
	// answer is to be passed on as it comes; else nil. Body says the same.
	Native *Native

	// Assembled says that a document is made of the stream that is asked for with Native: a
	// server's document will do, too.
	Assembled bool

	// Beside is the request in an API that the provider speaks, whose answer is to come
	// in both: as chat completions, each with what it was made of as its member
	// MemberNative. Otherwise it is nil. Body says the same as far as it can.
	Beside *Native

	// Betas are the features that the client wants of Anthropic's API, for a provider that
	// speaks it: values of the header Anthropic-Beta.
	Betas []string

	// Refused is why the request cannot be made of this provider: it is in another
	// API's words, which the provider does not speak. Nil if it can.
	Refused error

	// Translated says that a door has made Body of another API's request, so that
	// members which are not of chat completions are not the client's wish.
	Translated bool

	// APIKey replaces the configured key, unless it is empty.
	APIKey string

	// TraceID is sent upstream as X-Request-Id.
	TraceID string

	// Labels say whose call this is, for providers that log calls.
	Labels Labels

	// Continue is the beginning of the answer. If it is not empty, the model
	// continues right after it and does not repeat it. It is only set for
	// models that the provider's Continues allows.
	Continue string

	// Omit lists what the target has refused among what the adapter adds of its
	// own accord, and what a client cannot be expected to know of the model: the
	// adapter leaves it out.
	Omit []string

	// BeforeRead is called before each read that may block on the provider, in
	// the goroutine that makes the call or calls Stream.Next. The caller can
	// gather chunks and flush them here. It may be nil.
	BeforeRead func()

	// Dropped lists the members of the body that the adapter left out because
	// the provider does not support them. They are reported to the client.
	Dropped Dropped

	// origin is the request that this one is an edited copy of, whose Dropped counts.
	origin *Request
}

// Drop records that a member of the body was left out.
func (r *Request) Drop(name string) { r.source().Dropped.Add(name) }

// DropOthers records those members of an object that were not read, as Dropped.Others does.
func (r *Request) DropOthers(object gjson.Result, path string, read ...string) {
	r.source().Dropped.Others(object, path, read...)
}

// With returns a copy with another body. What the copy drops is recorded in r.
func (r *Request) With(body []byte) *Request {
	c := *r
	c.Body, c.origin = body, r.source()
	return &c
}

// Apart returns a copy whose Dropped is its own.
func (r *Request) Apart() *Request {
	c := *r
	c.Dropped, c.origin = nil, nil
	return &c
}

func (r *Request) source() *Request {
	if r.origin != nil {
		return r.origin
	}
	return r
}

// Labels say whose call a call is. Each may be empty.
type Labels struct {
	TenantID  string
	UserID    string
	SessionID string
	Route     string // the model as the client named it
}

// Completion is a whole answer.
type Completion struct {
	// Body is a chat.completion object.
	Body []byte
	Facts

	// Native is the document as the provider sent it, if the request had a Native;
	// Body is then empty.
	Native []byte
}

// Stream reads an answer chunk by chunk.
type Stream interface {
	// Next returns the next chunk, which is valid until the following call. It
	// returns io.EOF after a finish reason or the provider's end mark, ErrCut
	// if the stream ended without either, or another error.
	Next() (*Chunk, error)

	// Skipped returns how many events were left out because they were not JSON.
	Skipped() int

	// Close ends the call.
	Close() error
}

// Chunk is one chat.completion.chunk.
type Chunk struct {
	// Raw is the chunk's JSON, on one line.
	Raw []byte
	Facts

	// Native holds whole events as the provider sent them, if the request had a
	// Native; Raw is then empty.
	Native []byte

	// Document says that Native is the whole answer as a document, which the server sent
	// although it was asked for a stream. It needs a request that is Assembled.
	Document bool

	// Event is the event of another API that the chunk was made of, and that Raw holds as
	// MemberNative; nil if there is none, or only in Raw.
	Event []byte

	// Regular says that Raw can be sent unchanged: it is a
	// chat.completion.chunk with one choice, index 0, whose delta has only a
	// role, text and reasoning, and without a finish reason or a usage.
	Regular bool

	// Plain says that text and a finish reason are all that the chunk adds to
	// the answer, as Scanned.Plain does.
	Plain bool
}

// Facts are what the gateway needs to know of an answer or a chunk.
type Facts struct {
	// Text is the visible text of the first choice, including a refusal.
	Text string

	// Reasoning is the first choice's reasoning, if it is readable text.
	// ReasoningIn is the name of the member that holds it.
	Reasoning   string
	ReasoningIn string

	// More says that the first choice's output is not only Text and Reasoning:
	// it has other members, or a list of parts.
	More bool

	// ToolCalls says that there is a part of a tool call, and Refusal that
	// Text holds a refusal.
	ToolCalls bool
	Refusal   bool

	// Content says that there is output of any kind: text, reasoning, a refusal
	// or part of a tool call.
	Content bool

	// OutputBytes is the size of the output of all choices, for estimates.
	OutputBytes int

	// Choices is the number of choices.
	Choices int

	// FinishReason is the first choice's, empty until it has one.
	FinishReason string

	// Finishes counts the choices that have a finish reason.
	Finishes int

	// Failure is what a choice reports in place of output, such as the finish
	// reason "error"; nil if none does.
	Failure *Error

	// Model is the provider's name of the model that answered.
	Model string

	// Usage is what the provider counted; nil if it sent no usage.
	Usage *Usage
}

// AddText adds visible text.
func (f *Facts) AddText(s string) {
	f.Text += s
	f.addOutput(s)
}

// AddReasoning adds readable reasoning.
func (f *Facts) AddReasoning(s string) {
	f.Reasoning += s
	f.addOutput(s)
}

func (f *Facts) addOutput(s string) {
	f.Content = f.Content || s != ""
	f.OutputBytes += len(s)
}

// Usage counts tokens.
type Usage struct {
	Input     int64 // prompt tokens, cached ones included
	Output    int64 // completion tokens, reasoning included
	Cached    int64 // of Input, read from a prompt cache
	Written   int64 // of Input, written to a prompt cache
	ForAnHour int64 // of Written, to be kept for an hour
	Reasoning int64 // of Output

	// Tier is the service tier in which the provider has answered, as of TierOf; empty for
	// the usual one.
	Tier string

	// Estimated says that some counts come from EstimateTokens, not from the
	// provider.
	Estimated bool
}

// Total returns the sum of input and output.
func (u Usage) Total() int64 { return u.Input + u.Output }

// EstimateTokens returns an estimate of the tokens in this many bytes of text:
// four bytes a token, rounded up.
func EstimateTokens(bytes int) int64 { return int64(bytes+3) / 4 }

// ErrCut says that a stream ended without a finish reason or an end mark.
var ErrCut = errors.New("the stream ended before the model had finished")

// Reason classifies the failures of a provider.
type Reason int

// The reasons of a failed call.
const (
	// ReasonUnavailable is a failed connection, or a 5xx, 408 or 409.
	ReasonUnavailable Reason = iota

	// ReasonBadAnswer is an answer that cannot be understood.
	ReasonBadAnswer

	// ReasonRateLimited is a 429.
	ReasonRateLimited

	// ReasonContextLength is a request that is too long for the model.
	ReasonContextLength

	// ReasonCredentials is a 401 or 403: the key was refused.
	ReasonCredentials

	// ReasonModel is a 404: the provider does not have the model. Not so a 404 for what
	// the input refers to, which is ReasonInvalid.
	ReasonModel

	// ReasonContentFiltered is a request that was refused for its content.
	ReasonContentFiltered

	// ReasonInvalid is any other 4xx: the request is at fault.
	ReasonInvalid

	// ReasonUnsupported is a request for something that this provider does not
	// support. No call was made, and another provider may support it.
	ReasonUnsupported
)

// Error is a failure that a provider reported.
type Error struct {
	Reason Reason

	// Status is the upstream's HTTP status; 0 without one.
	Status int

	// Message is the provider's own error message, Code its code, and Param
	// the member of the body at fault. They are unredacted, and each may be
	// empty. Only those of ReasonInvalid and ReasonContextLength may reach a
	// client, and only redacted.
	Message string
	Code    string
	Param   string

	// Overloaded says of ReasonUnavailable that the provider is up and has too much to
	// do.
	Overloaded bool

	// Added is the member of the request that the provider refuses and that the
	// adapter leaves out if Request.Omit has it; usually empty. The same request
	// may succeed without it.
	Added string

	// Passing says of Added that the provider refuses it in this request, and may
	// take it in another: it refuses a value.
	Passing bool

	// Local says that the adapter found the fault and made no call. Message
	// and Param are then its own, and fit for a client.
	Local bool

	// RetryAfter is how long the provider asked to wait; 0 if it did not.
	RetryAfter time.Duration

	// Err is the cause, if there is one other than the status.
	Err error

	// told is all that the provider said of the failure, for Mentions.
	told string
}

// Mentions reports whether what the provider said matches a pattern, including
// words that no client may see.
func (e *Error) Mentions(pattern *regexp.Regexp) bool { return pattern.MatchString(e.told) }

// Error returns the text for the log. It is redacted, because a provider may
// repeat a key.
func (e *Error) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("calling the provider: %v", e.Err)
	case e.Local:
		return fmt.Sprintf("%s: %s", e.Param, e.Message)
	case e.Message != "":
		return fmt.Sprintf("provider answered %d: %s", e.Status, Redact(e.Message))
	default:
		return fmt.Sprintf("provider answered %d", e.Status)
	}
}

func (e *Error) Unwrap() error { return e.Err }

// Unsupported returns the failure of a request that asks for something the
// provider does not support. param is the member of the body that asks for it;
// why is the message.
func Unsupported(param, why string) *Error {
	return &Error{Reason: ReasonUnsupported, Param: param, Message: why, Local: true}
}

// Invalid returns the failure of a request that an adapter cannot understand.
// param is the member of the body at fault; want says what was expected.
func Invalid(param, want string) *Error {
	return &Error{Reason: ReasonInvalid, Status: http.StatusBadRequest, Param: param, Message: want, Local: true}
}

// Encode returns the JSON of v, a type of ours that cannot fail to encode.
// JSON that came from elsewhere keeps its spelling.
func Encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
