// Package provider says what the gateway asks of an AI provider, in the one
// dialect that all of them are turned into: OpenAI's chat completions.
// Adapters live in the folders below, as Caddy modules chat.providers.*.
package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Provider calls the models of one provider. It is safe for concurrent use.
type Provider interface {
	// Complete makes a call and returns the whole answer.
	Complete(ctx context.Context, req *Request) (*Completion, error)

	// Stream makes a call and returns once the provider has begun to answer;
	// the stream must be closed. Its reads end when ctx does.
	Stream(ctx context.Context, req *Request) (Stream, error)

	// DefaultModel is the upstream model to use where nobody names one;
	// empty where the provider has no such thing.
	DefaultModel() string
}

// Embedder is a provider that has embeddings, too.
type Embedder interface {
	// Embed makes a call of OpenAI's embeddings API. The completion's body is
	// the list of embeddings in OpenAI's shape.
	Embed(ctx context.Context, req *Request) (*Completion, error)
}

// Keeper is a provider that has secrets. A server may repeat them in what it
// says, where only who knows them can find them.
type Keeper interface {
	// Hide takes the secrets that a request is made with out of a text.
	Hide(req *Request, text string) string
}

// Continuer is a provider of which some models can go on with an assistant
// message that has been begun, word for word.
type Continuer interface {
	Continues(model string) bool
}

// Request is one call of a model, checked and admitted.
type Request struct {
	// Model is the upstream model, by the provider's own name.
	Model string

	// Body is the client's chat completions request: one JSON object without
	// duplicate names. Adapters must not change it in place.
	Body []byte

	// APIKey replaces the provider's own key; empty keeps that.
	APIKey string

	// TraceID goes upstream as X-Request-Id.
	TraceID string

	// Labels say whose call this is, to providers that keep a log of calls.
	Labels Labels

	// Continue is the beginning of the answer, which the model shall go on
	// with: what comes back begins right behind it. Empty asks for a whole
	// answer. Only set where the provider's Continues allows it.
	Continue string

	// BeforeRead is called before every read that may wait for the provider,
	// in the goroutine that calls Stream.Next: whoever passes the chunks on
	// gathers them until then. May be nil.
	BeforeRead func()

	// Dropped names the members of the body that the adapter left out because
	// its provider has no such thing. The client is told.
	Dropped []string
}

// Drop notes that a member of the body is left out.
func (r *Request) Drop(name string) {
	if !slices.Contains(r.Dropped, name) {
		r.Dropped = append(r.Dropped, name)
	}
}

// Labels say whose call a call is; what is not known is empty.
type Labels struct {
	TenantID  string
	UserID    string
	SessionID string
	Route     string // the alias that was asked for
}

// Completion is a whole answer.
type Completion struct {
	// Body is a chat.completion object.
	Body []byte
	Facts
}

// Stream reads an answer chunk by chunk.
type Stream interface {
	// Next returns the next chunk, valid until the following call. io.EOF
	// is the honest end: a finish reason or the provider's own end mark was
	// seen. ErrCut is an end without either, and any other error a failure
	// on the way.
	Next() (*Chunk, error)

	// Skipped counts the events that were no JSON and were left out.
	Skipped() int

	// Close ends the call.
	Close() error
}

// Chunk is one chat.completion.chunk.
type Chunk struct {
	// Raw is the chunk's JSON, on one line.
	Raw []byte
	Facts

	// Regular says that Raw can go out without a second look: it is a
	// chat.completion.chunk with one choice, the first, whose delta has
	// nothing but its role, text and reasoning, without a finish reason and
	// without a usage member.
	Regular bool
}

// Facts are what the gateway wants to know of an answer or of a part of it.
type Facts struct {
	// Text is the visible text of the first choice, a refusal's included.
	Text string

	// Reasoning is the first choice's reasoning, as far as it can be read.
	Reasoning string

	// ToolCalls says that there is a part of a tool call here, and Refusal
	// that Text holds one.
	ToolCalls bool
	Refusal   bool

	// Content says that the model produced something here, be it text,
	// reasoning, a refusal or part of a tool call.
	Content bool

	// OutputBytes is the size of all that was produced, for estimates.
	OutputBytes int

	// Choices says whether there is at least one choice.
	Choices bool

	// FinishReason is the first choice's, empty until it has one.
	FinishReason string

	// Model is the upstream model that answered, by the provider's own name.
	Model string

	// Usage is what the provider counted; nil where it said nothing.
	Usage *Usage
}

// Usage counts tokens.
type Usage struct {
	Input     int64 // prompt tokens, cached ones included
	Output    int64 // completion tokens, reasoning included
	Cached    int64 // of Input
	Reasoning int64 // of Output

	// Estimated says that nobody counted: the figures come from EstimateTokens.
	Estimated bool
}

// Total is input and output together.
func (u Usage) Total() int64 { return u.Input + u.Output }

// EstimateTokens guesses how many tokens so many bytes of text are, four
// bytes a token, rounded up.
func EstimateTokens(bytes int) int64 { return int64(bytes+3) / 4 }

// ErrCut says that a stream ended before the model had finished.
var ErrCut = errors.New("the stream ended before the model had finished")

// Reason tells failures of a provider apart.
type Reason int

// The reasons of a failed call.
const (
	// ReasonUnavailable is a connection that failed, or a 5xx, 408 or 409.
	ReasonUnavailable Reason = iota

	// ReasonBadAnswer is an answer that makes no sense.
	ReasonBadAnswer

	// ReasonRateLimited is a 429.
	ReasonRateLimited

	// ReasonContextLength is a request that is too long for the model.
	ReasonContextLength

	// ReasonCredentials is a 401 or 403: the operator's key does not do.
	ReasonCredentials

	// ReasonModel is a 404: the provider has no such model.
	ReasonModel

	// ReasonContentFiltered is a request refused for what it says.
	ReasonContentFiltered

	// ReasonInvalid is any other 4xx: the request is at fault.
	ReasonInvalid

	// ReasonUnsupported is a request that asks for what this provider does
	// not have. Nothing was called, and another provider may have it.
	ReasonUnsupported
)

// Error is a failure that a provider reported.
type Error struct {
	Reason Reason

	// Status is the upstream's HTTP status, 0 where there was none.
	Status int

	// Message is the provider's own error message, as it came. Only for
	// ReasonInvalid and ReasonContextLength may any of it reach a client,
	// and never unredacted. For ReasonUnsupported it is the adapter's.
	Message string

	// Param is the member of the body that is at fault, where an adapter
	// found it so; may be empty.
	Param string

	// RetryAfter is what the provider asked for; 0 where it did not.
	RetryAfter time.Duration

	// Err is the cause, where there is one beside the status.
	Err error
}

// Error is for the log, where a key that the provider repeats has no place
// either.
func (e *Error) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("calling the provider: %v", e.Err)
	case e.Reason == ReasonUnsupported:
		return fmt.Sprintf("%s: %s", e.Param, e.Message)
	case e.Message != "":
		return fmt.Sprintf("provider answered %d: %s", e.Status, Redact(e.Message))
	default:
		return fmt.Sprintf("provider answered %d", e.Status)
	}
}

func (e *Error) Unwrap() error { return e.Err }

// Unsupported is a request for something that a provider does not have. param
// is the member of the body that asks for it, why is for people.
func Unsupported(param, why string) *Error {
	return &Error{Reason: ReasonUnsupported, Param: param, Message: why}
}

// Invalid is a request that an adapter cannot make sense of. param is the
// member of the body at fault, want says what was expected.
func Invalid(param, want string) *Error {
	return &Error{Reason: ReasonInvalid, Status: http.StatusBadRequest, Param: param, Message: want}
}
