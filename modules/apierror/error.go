// Package apierror holds the failures of the chat chain: the codes of the
// contract, and the function that answers with one.
package apierror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Error is a failure as a client sees it. As JSON it can be stored, without its
// cause, for other clients.
type Error struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"` // what to do, for people; holds nothing confidential

	// Param is the field at fault, for OpenAI's error body; may be empty.
	Param string `json:"param,omitempty"`

	// ProviderCode takes the place of Code in OpenAI's error body: the code that
	// the provider gave for its refusal, or one of OpenAI's by which its clients
	// know what to do; empty for none. Logs, metrics and the native API have Code.
	ProviderCode string `json:"providerCode,omitempty"`

	// RetryAfter is sent in whole seconds, rounded up; 0 for none.
	RetryAfter time.Duration `json:"retryAfter,omitempty"`

	// Overloaded says that the provider has too much to do, for which Anthropic's API has
	// a status and a type of its own.
	Overloaded bool `json:"overloaded,omitempty"`

	// Allow is the Allow header of a 405.
	Allow string `json:"allow,omitempty"`

	// Events report the failure within the stream that it ends, whoever reads that; nil
	// if each reader gets its own.
	Events []byte `json:"events,omitempty"`

	// BodyUnread says that the request's body was not read to its end, and
	// that the connection is to be closed rather than waited for.
	BodyUnread bool `json:"-"`

	// Err is the cause. It is logged and never sent.
	Err error `json:"-"`
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Because returns the same failure with its cause.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// ReportedBy returns the same failure with the events that report it.
func (e *Error) ReportedBy(events []byte) *Error {
	c := *e
	c.Events = events
	return &c
}

// From returns err as a failure to answer with. Any other error is a client
// that went away, or a bug.
func From(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return &Error{Status: statusClientClosedRequest, Code: "cancelled", Message: "The request was cancelled", Err: err}
	}
	return &Error{Status: http.StatusInternalServerError, Code: "internal_error", Message: "Internal error; see the server's log for this trace id", Err: err}
}

// Ended returns the failure that the server itself has ended a context with, such
// as TenantGone. It returns nil if the context goes on, or if its client has left.
func Ended(ctx context.Context) *Error {
	e, _ := errors.AsType[*Error](context.Cause(ctx))
	return e
}

// Cancelled returns why a context has ended: the server's reason, or else that
// the client is gone.
func Cancelled(ctx context.Context) error {
	if e := Ended(ctx); e != nil {
		return e
	}
	return context.Canceled
}

// statusClientClosedRequest is what Caddy also logs for a client that went away
// before its answer.
const statusClientClosedRequest = 499

// InvalidJSON is a body that is not one JSON value, or that has a duplicate
// name. Of the decoder's error only the offset is kept, because the rest quotes
// the body.
func InvalidJSON(err error) *Error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		what := "invalid JSON"
		if errors.Is(err, jsontext.ErrDuplicateName) {
			what = "a duplicate name"
		}
		err = fmt.Errorf("%s at byte %d", what, syntax.ByteOffset)
	}
	return &Error{Status: http.StatusBadRequest, Code: "invalid_json", Message: "The body must be one valid JSON object without duplicate names", Err: err}
}

// BadJSON is a body that is not one JSON object. why says what is wrong with it, as
// in "it is empty", and must not quote it.
func BadJSON(why string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "invalid_json", Message: "The body must be one JSON object: " + why}
}

// InvalidRequest is a field with an unexpected value.
func InvalidRequest(field, want string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "invalid_request", Message: field + ": " + want, Param: field}
}

// refused is a request that the provider rejected as invalid, for a reason that
// may be passed on.
func refused(message string) *Error {
	if message == "" {
		message = "The AI provider rejected this request as invalid"
	}
	return &Error{Status: http.StatusBadRequest, Code: "invalid_request", Message: message}
}

// TenantRequired is a request without a tenant.
func TenantRequired() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "tenant_required", Message: "Name a tenant, by the X-Tenant-Id header, the host or an API key"}
}

// contentFiltered is a request that the provider rejects because of its
// content.
func contentFiltered() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "content_filtered", Message: "The provider's content policy does not allow this request"}
}

// InvalidAPIKey is a request whose credential is missing or wrong.
func InvalidAPIKey() *Error {
	return &Error{Status: http.StatusUnauthorized, Code: "invalid_api_key", Message: "Send a valid API key as Authorization: Bearer KEY or X-Api-Key: KEY"}
}

// InvalidToken is a request whose token is missing or refused.
func InvalidToken(message string) *Error {
	e := InvalidAPIKey()
	e.Message = message
	return e
}

// TenantMismatch is a request that names several tenants.
func TenantMismatch() *Error {
	return &Error{Status: http.StatusForbidden, Code: "tenant_mismatch", Message: "The header, the host, the API key and the token must name the same tenant"}
}

// TenantGone is a request whose tenant was removed while it was running, or has
// lost the key that let it in.
func TenantGone() *Error {
	return &Error{Status: http.StatusUnauthorized, Code: "tenant_gone", Message: "The tenant was removed, or this API key is not valid any more"}
}

// ModelNotAllowed is a model outside the tenant's list.
func ModelNotAllowed() *Error {
	return &Error{Status: http.StatusForbidden, Code: "model_not_allowed", Message: "This tenant may not use this model; GET /v1/models lists the models it may use", Param: "model"}
}

// TenantUnknown is a tenant that is not configured.
func TenantUnknown() *Error {
	return &Error{Status: http.StatusNotFound, Code: "tenant_unknown", Message: "There is no such tenant"}
}

// ModelUnknown is a model that does not exist.
func ModelUnknown() *Error {
	return &Error{Status: http.StatusNotFound, Code: "model_unknown", Message: "There is no such model; GET /v1/models lists the available models", Param: "model"}
}

// SessionNotFound is a session that does not exist, or is another user's.
func SessionNotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "session_not_found", Message: "There is no such session"}
}

// NotFound is a path below one of ours that does not exist.
func NotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "not_found", Message: "There is nothing at this path"}
}

// ResponseNotFound is a response of the Responses API that is not kept.
func ResponseNotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "not_found", Message: "There is no such response"}
}

// NoPreviousResponse is a request that goes on from a response which is not kept, or not any
// more. By OpenAI's code for it clients know that they have to send the conversation itself.
func NoPreviousResponse() *Error {
	e := InvalidRequest("previous_response_id", "there is no such response")
	e.ProviderCode = "previous_response_not_found"
	return e
}

// MethodNotAllowed is a method that a route does not support.
func MethodNotAllowed(allow string) *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "Use " + allow, Allow: allow}
}

// SessionBusy is a second turn while the first one is running.
func SessionBusy() *Error {
	return &Error{Status: http.StatusConflict, Code: "session_busy", Message: "An answer in this session is still running; wait for it or cancel it"}
}

// PayloadTooLarge is a body beyond the limit in bytes.
func PayloadTooLarge(limit int64) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Code: "payload_too_large", Message: fmt.Sprintf("The body must not exceed %d bytes", limit), BodyUnread: true}
}

// FieldTooLarge is a part of a body beyond its limit in bytes.
func FieldTooLarge(field string, limit int64) *Error {
	e := PayloadTooLarge(limit)
	e.Message, e.Param, e.BodyUnread = fmt.Sprintf("%s: must not exceed %d bytes", field, limit), field, false
	return e
}

// UnsupportedMediaType is a body that is not JSON.
func UnsupportedMediaType() *Error {
	return &Error{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Message: "Send the body as Content-Type: application/json"}
}

// NotAForm is a body that is not a form where one is wanted.
func NotAForm() *Error {
	e := UnsupportedMediaType()
	e.Message = "Send the body as Content-Type: multipart/form-data"
	return e
}

// CompressedBody is a body that is compressed.
func CompressedBody() *Error {
	e := UnsupportedMediaType()
	e.Message = "The body is compressed; send it as it is, without Content-Encoding"
	return e
}

// BodyTimeout is a body that did not come in time. Clients take 408 for a request
// that may be sent again.
func BodyTimeout() *Error {
	return &Error{Status: http.StatusRequestTimeout, Code: "invalid_request", Message: "body: did not come in time; send it again", Param: "body", BodyUnread: true}
}

// IdempotencyKeyReused is a key that already belongs to another request.
func IdempotencyKeyReused() *Error {
	return &Error{Status: http.StatusUnprocessableEntity, Code: "idempotency_key_reused", Message: "This Idempotency-Key belongs to another request; send a new one with this body", Param: "Idempotency-Key"}
}

// RateLimited is a request beyond one of our limits.
func RateLimited(wait time.Duration) *Error {
	return &Error{Status: http.StatusTooManyRequests, Code: "rate_limited", Message: "Rate limit exceeded", RetryAfter: max(wait, time.Second)}
}

// BudgetExceeded is a request that its tenant's budget does not cover.
func BudgetExceeded(wait time.Duration) *Error {
	return &Error{Status: http.StatusTooManyRequests, Code: "budget_exceeded", Message: "This tenant's budget does not cover this request; try again after Retry-After, or with a smaller max_tokens", RetryAfter: max(wait, time.Second)}
}

// providerRateLimited is a request beyond a limit of the provider's.
func providerRateLimited(wait time.Duration) *Error {
	return &Error{Status: http.StatusTooManyRequests, Code: "provider_rate_limited", Message: "The AI provider's rate limit is exceeded", RetryAfter: max(wait, time.Second)}
}

// AIError is a provider that failed.
func AIError() *Error {
	return &Error{Status: http.StatusBadGateway, Code: "ai_error", Message: "AI provider unavailable"}
}

// AIUnavailable is a provider that is not called because its circuit is open.
func AIUnavailable(wait time.Duration) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: "ai_unavailable", Message: "No AI provider is available at the moment", RetryAfter: max(wait, time.Second)}
}

// overloaded is the failure of a provider that has too much to do.
func overloaded(wait time.Duration) *Error {
	e := AIError()
	e.Overloaded, e.RetryAfter = true, wait
	return e
}

// ShuttingDown is a request that is cut short because the server stops.
func ShuttingDown() *Error {
	e := AIUnavailable(time.Second)
	e.Message = "The server is shutting down; try again"
	return e
}

// NodeGone is an answer that breaks off because the server that wrote it is gone.
func NodeGone() *Error {
	e := AIUnavailable(time.Second)
	e.Message = "The server that wrote the answer is gone; try again"
	return e
}

// AITimeout is a provider that stays silent.
func AITimeout() *Error {
	return &Error{Status: http.StatusGatewayTimeout, Code: "ai_timeout", Message: "The AI provider did not answer in time"}
}

// StorageUnavailable is a store that failed.
func StorageUnavailable(err error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: "storage_unavailable", Message: "The conversation store is not available", Err: err}
}
