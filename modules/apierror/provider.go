package apierror

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// contextLengthExceeded is OpenAI's code for a request that is too long, by
// which clients know that they have to shorten it. Every provider's is translated.
const contextLengthExceeded = "context_length_exceeded"

// FromProvider turns the failure of a model call into the failure that a client
// sees. Of the provider's words it only passes on, redacted, why a request was
// rejected.
func FromProvider(err error) *Error {
	pe, ok := errors.AsType[*provider.Error](err)
	if !ok {
		return AIError().Because(err)
	}
	if pe.Added != "" {
		return AIError().Because(err) // the client has not sent what is refused
	}
	switch pe.Reason {
	case provider.ReasonUnavailable:
		if pe.Overloaded {
			return overloaded(pe.RetryAfter).Because(err)
		}
	case provider.ReasonRateLimited:
		return providerRateLimited(pe.RetryAfter).Because(err)
	case provider.ReasonContentFiltered:
		return contentFiltered().Because(err)
	case provider.ReasonUnsupported, provider.ReasonContextLength, provider.ReasonInvalid:
		if pe.Local && pe.Param == "" {
			return refused(pe.Message).Because(err)
		}
		if pe.Local {
			return InvalidRequest(pe.Param, pe.Message).Because(err)
		}
		e := refused(provider.Redact(pe.Message))
		e.Param, e.ProviderCode = provider.Redact(pe.Param), provider.RedactCode(pe.Code)
		if pe.Reason == provider.ReasonContextLength {
			e.ProviderCode = contextLengthExceeded
		}
		return e.Because(err)
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
