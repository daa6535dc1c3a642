package apierror

import (
	"net/http"
	"strings"
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

// isAnthropic reports whether a request for a path is one of Anthropic's API.
func isAnthropic(r *http.Request, path string) bool {
	return below(path, "/v1/messages") || below(path, "/v1/models") && SpeaksAnthropic(r)
}

func below(path, route string) bool {
	return path == route || strings.HasPrefix(path, route+"/")
}

// anthropic returns the failure as Anthropic's error body, ready to be encoded as
// JSON. That has no place for our code: its type is as close as it comes.
func anthropic(e *Error, traceID string) any {
	return anthropicFailure{"error", anthropicDetail{anthropicType(e), e.Message}, traceID}
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
	case e.Status == http.StatusServiceUnavailable:
		return "overloaded_error"
	case e.Status == http.StatusGatewayTimeout:
		return "timeout_error"
	case e.Status >= http.StatusInternalServerError:
		return "api_error"
	default:
		return "invalid_request_error"
	}
}
