package apierror

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// Taker is a ResponseWriter that wants a failure before it becomes bytes: a
// handler that translates answers also translates their failures.
type Taker interface {
	TakeFailure(*Error)
}

// Answer is how every handler of the chain answers a failure. A handler in
// front that translates the answer gets it first. Then the site's handle_errors
// routes may answer, as for any error in Caddy. Otherwise the failure becomes
// the contract's JSON.
func Answer(log *zap.Logger, w http.ResponseWriter, r *http.Request, err error) error {
	if errors.Is(err, context.Canceled) {
		err = Cancelled(r.Context())
	}
	e := From(err)
	if HandOver(w, e) {
		return nil
	}
	rec := record.Get(r)
	if rec != nil {
		rec.ErrorCode = e.Code
	}
	Log(log, rec, e)
	setHeaders(w, e)
	if e.leavesBody(r, rec) {
		w.Header().Set("Connection", "close")
		defer linger(w, r)
	}
	return answer(log, w, r, rec, e)
}

// answer answers with the site's error routes, or else with our body.
func answer(log *zap.Logger, w http.ResponseWriter, r *http.Request, rec *record.Record, e *Error) error {
	body := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return write(w, r, rec, e)
	})
	srv, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if srv == nil || srv.Errors == nil || len(srv.Errors.Routes) == 0 {
		return body(w, r)
	}
	// A server's error routes serve all of its sites. If we returned the error,
	// a site without error routes of its own would answer with an empty body.
	// So the routes run here, followed by our answer. They only get the
	// message: a site may show it, and the cause is not for its visitors.
	r = srv.Errors.WithError(originalRequest(r), caddyhttp.Error(e.Status, errors.New(e.Message)))
	return answerWithRoutes(log, srv.Errors.Routes, body, w, r, e.Status)
}

// HandOver gives a failure to the handler that translates the answer, and says
// whether there is one.
func HandOver(w http.ResponseWriter, e *Error) bool {
	t := TakerOf(w)
	if t == nil {
		return false
	}
	t.TakeFailure(e)
	return true
}

// TakerOf returns the writer that takes the failures of what is written to w,
// nil where w leads to the client.
func TakerOf(w http.ResponseWriter) Taker {
	for {
		if t, ok := w.(Taker); ok {
			return t
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return nil
		}
		w = u.Unwrap()
	}
}

// originalRequest undoes rewrites, as Caddy does before it runs error routes.
func originalRequest(r *http.Request) *http.Request {
	orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return r
	}
	c := *r
	c.Method, c.RequestURI = orig.Method, orig.RequestURI
	u := *orig.URL
	c.URL = &u
	return &c
}

// Log logs a failure: a server's at error level, a client's at debug level.
func Log(log *zap.Logger, rec *record.Record, e *Error) {
	level := zapcore.DebugLevel
	if e.Status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	entry := log.Check(level, "request failed")
	if entry == nil {
		return
	}
	fields := []zap.Field{zap.Int("status", e.Status), zap.String("error_code", e.Code), zap.Error(e.Err)}
	if rec != nil {
		fields = append(fields, zap.String("trace_id", rec.TraceID), zap.String("tenant", rec.TenantID()))
	}
	entry.Write(fields...)
}

func setHeaders(w http.ResponseWriter, e *Error) {
	h := w.Header()
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(Seconds(e.RetryAfter), 10))
	}
}

// Seconds rounds up to whole seconds.
func Seconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

type failure struct {
	OK      bool   `json:"ok"`
	Error   detail `json:"error"`
	TraceID string `json:"traceId"`
}

type detail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type openAIFailure struct {
	Error   openAIDetail `json:"error"`
	TraceID string       `json:"trace_id"`
}

type openAIDetail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

func write(w http.ResponseWriter, r *http.Request, rec *record.Record, e *Error) error {
	traceID := ""
	if rec != nil {
		traceID = rec.TraceID
	}
	status, body := shapeOf(r, e, traceID)
	return WriteJSON(w, status, body)
}

// shapeOf returns the failure in the shape of the API that a client uses, by the
// path that it asked for or by what handle_path has left of it.
func shapeOf(r *http.Request, e *Error, traceID string) (status int, body any) {
	switch {
	case ForAnthropic(r) && isOverload(e):
		return statusOverloaded, anthropic(e, traceID)
	case ForAnthropic(r):
		return e.Status, anthropic(e, traceID)
	case record.IsV1(record.Path(originalRequest(r))), record.IsV1(record.Path(r)):
		return e.Status, openAI(e, traceID)
	default:
		return e.Status, failure{Error: detail{e.Code, e.Message}, TraceID: traceID}
	}
}

// openAI returns the failure as OpenAI's error body, ready to be encoded as
// JSON.
func openAI(e *Error, traceID string) any {
	d := openAIDetail{Message: e.Message, Type: openAIType(e), Code: cmp.Or(e.ProviderCode, e.Code)}
	if e.Param != "" {
		d.Param = &e.Param
	}
	return openAIFailure{d, traceID}
}

// OpenAIFrame is the event that ends a stream of OpenAI's API with a failure.
func OpenAIFrame(e *Error, traceID string) []byte {
	doc, _ := json.Marshal(openAI(e, traceID)) // cannot fail
	return sse.AppendEvent(nil, "", "", doc)
}

// FailureFor returns a failure as the streams of an API report it.
func FailureFor(api provider.API, e *Error, traceID string) door.Failure {
	f := door.Failure{Type: openAIType(e), Code: cmp.Or(e.ProviderCode, e.Code), Message: e.Message, TraceID: traceID}
	if api == provider.APIMessages {
		f.Type, f.Message = anthropicType(e), anthropicMessage(e)
	}
	return f
}

func openAIType(e *Error) string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "authentication_error"
	case e.Status == http.StatusForbidden:
		return "permission_error"
	case e.Status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case e.Status >= http.StatusInternalServerError:
		return "server_error"
	default:
		return "invalid_request_error"
	}
}

// Success is the body of a successful answer.
type Success struct {
	OK      bool   `json:"ok"`
	Data    any    `json:"data"`
	TraceID string `json:"traceId"`
}

// WriteJSON answers with a JSON document.
func WriteJSON(w http.ResponseWriter, status int, doc any) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	// a client that has gone away is not our failure
	_, _ = w.Write(append(b, '\n'))
	return nil
}

// FromBody turns an error in reading a request's body into a failure.
func FromBody(err error, limit int64) *Error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return PayloadTooLarge(limit)
	}
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok && he.StatusCode == http.StatusRequestEntityTooLarge {
		return PayloadTooLarge(limit).Because(err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return BodyTimeout().Because(err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return InvalidRequest("body", "ended before it was complete").Because(err)
	}
	return InvalidRequest("body", "could not be read").Because(err)
}
