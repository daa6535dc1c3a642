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

// errAborted says that the next handler aborted its answer.
var errAborted = fmt.Errorf("the next handler aborted: %w", provider.ErrCut)

// serveNext calls the next handler. reverse_proxy panics with ErrAbortHandler when
// its upstream fails midway, which closes the connection. serveNext returns
// errAborted instead, because the turn has to be settled first.
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

// nextError is an error of the next handler that is returned unchanged.
type nextError struct{ error }

// fromNext turns an error of the next handler, such as reverse_proxy's when its
// upstream does not listen, into a failure.
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
