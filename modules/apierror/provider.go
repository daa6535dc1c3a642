package apierror

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// FromProvider turns the failure of a model call into the failure that a client
// sees. Of the provider's words it only passes on, redacted, why a request was
// rejected.
func FromProvider(err error) *Error {
	pe, ok := errors.AsType[*provider.Error](err)
	if !ok {
		return AIError().Because(err)
	}
	switch pe.Reason {
	case provider.ReasonRateLimited:
		return providerRateLimited(pe.RetryAfter).Because(err)
	case provider.ReasonContentFiltered:
		return contentFiltered().Because(err)
	case provider.ReasonUnsupported:
		return InvalidRequest(pe.Param, pe.Message).Because(err)
	case provider.ReasonContextLength, provider.ReasonInvalid:
		if pe.Param != "" {
			return InvalidRequest(pe.Param, pe.Message).Because(err)
		}
		return refused(provider.Redact(pe.Message)).Because(err)
	}
	if e, ok := errors.AsType[*provider.TooLongError](err); ok {
		return tooLong(e).Because(err)
	}
	return AIError().Because(err)
}

// tooLong is an answer that exceeds a limit of this server.
func tooLong(e *provider.TooLongError) *Error {
	return &Error{Status: http.StatusBadGateway, Code: "ai_error", Message: strings.ToUpper(e.What[:1]) + e.Error()[1:]}
}
