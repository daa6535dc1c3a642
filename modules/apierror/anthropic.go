package apierror

import (
	"net/http"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/record"
)

type anthropicFailure struct {
	Type      string          `json:"type"` // always "error"
	Error     anthropicDetail `json:"error"`
	RequestID string          `json:"request_id,omitempty"`
}

type anthropicDetail struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// headerAnthropic is sent by all clients of Anthropic's API.
const headerAnthropic = "Anthropic-Version"

// SpeaksAnthropic reports whether a client expects Anthropic's shapes on routes
// that OpenAI's API has too.
func SpeaksAnthropic(r *http.Request) bool { return r.Header.Get(headerAnthropic) != "" }

// ForAnthropic reports whether a request is one of Anthropic's API, by the path that
// the client asked for or by what handle_path has left of it.
func ForAnthropic(r *http.Request) bool {
	return isAnthropic(r, record.Path(originalRequest(r))) || isAnthropic(r, record.Path(r))
}

func isAnthropic(r *http.Request, path string) bool {
	// its clients add /v1 to an address that may have it already
	return below(path, "/v1/messages") || SpeaksAnthropic(r) && (below(path, "/v1/models") || below(path, "/v1/v1"))
}

// statusOverloaded is what Anthropic's API answers when it is overloaded.
const statusOverloaded = 529

// isOverload reports whether a failure is what Anthropic's clients know as an overload:
// that of the provider or this gateway's own.
func isOverload(e *Error) bool { return e.Overloaded || e.Status == http.StatusServiceUnavailable }

func below(path, route string) bool {
	return path == route || strings.HasPrefix(path, route+"/")
}

// anthropic returns the failure as Anthropic's error body, ready to be encoded as
// JSON. That has no place for our code: its type is as close as it comes.
func anthropic(e *Error, traceID string) any {
	return anthropicFailure{"error", anthropicDetail{anthropicType(e), anthropicMessage(e)}, traceID}
}

// tooLongPrompt is how Anthropic's API begins to say that a request is too long. It has no
// code for that, so clients look for these words to know that they have to shorten it.
const tooLongPrompt = "prompt is too long"

func anthropicMessage(e *Error) string {
	if e.ProviderCode != contextLengthExceeded || strings.Contains(strings.ToLower(e.Message), tooLongPrompt) {
		return e.Message
	}
	return tooLongPrompt + ": " + e.Message
}

func anthropicType(e *Error) string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "authentication_error"
	case e.Status == http.StatusForbidden:
		return "permission_error"
	case e.Status == http.StatusNotFound:
		return "not_found_error"
	case e.Status == http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case e.Status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case isOverload(e):
		return "overloaded_error"
	case e.Status == http.StatusGatewayTimeout:
		return "timeout_error"
	case e.Status >= http.StatusInternalServerError:
		return "api_error"
	default:
		return "invalid_request_error"
	}
}
