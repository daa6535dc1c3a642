package chatsession

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// errAborted is an answer that the next handler broke off.
var errAborted = fmt.Errorf("the next handler broke off: %w", provider.ErrCut)

// serveNext has the next handler answer. reverse_proxy panics when its
// upstream breaks off, to have the connection closed; here the turn has to be
// settled first.
func serveNext(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // panics with it are compared so, as net/http does
				panic(p)
			}
			err = errAborted
		}
	}()
	return next.ServeHTTP(w, r)
}

// nextError is the next handler's, and not ours to answer.
type nextError struct{ error }

// fromNext turns an error of the next handler, such as reverse_proxy's when
// nobody listens, into a failure.
func fromNext(err error) *apierror.Error {
	if e, ok := errors.AsType[*apierror.Error](err); ok {
		return e
	}
	he, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok {
		return apierror.AIError().Because(err)
	}
	switch he.StatusCode {
	case http.StatusGatewayTimeout:
		return apierror.AITimeout().Because(err)
	case http.StatusServiceUnavailable:
		return apierror.AIUnavailable(time.Second).Because(err)
	default:
		return apierror.AIError().Because(err)
	}
}
