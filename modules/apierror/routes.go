package apierror

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// answerWithRoutes lets the server's error routes answer, and body if none of
// them does. The routes of a site end the chain, so body is not reached if all
// of them are for other statuses: Caddy then only sets the status, which does
// not count as an answer. Nor does a route that fails.
func answerWithRoutes(log *zap.Logger, routes caddyhttp.RouteList, body caddyhttp.Handler, w http.ResponseWriter, r *http.Request, status int) error {
	rw := &routesWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := routes.Compile(body).ServeHTTP(rw, r)
	if err != nil {
		log.Error("handling an error", zap.Error(err))
	}
	switch {
	case rw.sent:
		return nil
	case err == nil && rw.answers(status):
		rw.send()
		return nil
	default:
		return body.ServeHTTP(w, r)
	}
}

// routesWriter holds the status back until there is a body.
type routesWriter struct {
	*caddyhttp.ResponseWriterWrapper
	status int
	sent   bool
}

func (w *routesWriter) WriteHeader(status int) {
	if status < http.StatusOK {
		w.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	if w.status == 0 {
		w.status = status
	}
}

func (w *routesWriter) Write(p []byte) (int, error) {
	w.send()
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *routesWriter) ReadFrom(r io.Reader) (int64, error) {
	w.send()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements what http.ResponseController looks for.
func (w *routesWriter) FlushError() error {
	w.send()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// answers says whether a status without a body is an answer: it differs from
// the failure's, or the headers announce a body that HEAD leaves out.
func (w *routesWriter) answers(failed int) bool {
	return w.status != 0 && (w.status != failed || w.Header().Get("Content-Type") != "")
}

func (w *routesWriter) send() {
	if w.sent {
		return
	}
	w.sent = true
	if w.status != 0 {
		w.ResponseWriterWrapper.WriteHeader(w.status)
	}
}

// Interface guards
var (
	_ http.ResponseWriter = (*routesWriter)(nil)
	_ io.ReaderFrom       = (*routesWriter)(nil)
)
