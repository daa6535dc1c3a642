package chat

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// DefaultReadTimeout is how long a client may take to send a body.
const DefaultReadTimeout = 30 * time.Second

// ReadBody returns the request's body: one JSON object of at most limit bytes, in
// valid UTF-8, without duplicate names and with nothing after it. So all later
// readers see the same members, whichever duplicate they would pick. It waits no
// longer than timeout for the whole of it. Errors are *apierror.Error.
func (x *Exchange) ReadBody(limit int64, timeout time.Duration) ([]byte, error) {
	body, gates, err := x.ReadGated(limit, timeout)
	if err != nil {
		return nil, err
	}
	return body, gates.Enter()
}

// ReadGated is ReadBody for a caller that passes the body's gates itself.
func (x *Exchange) ReadGated(limit int64, timeout time.Duration) ([]byte, record.Gates, error) {
	if b, ok := x.R.Body.(*checkedBody); ok && int64(len(b.all)) <= limit {
		return b.all, nil, nil
	}
	gates := record.OpenGates(x.R)
	if err := checkHeader(x.R); err != nil {
		return nil, nil, err
	}
	if x.R.ContentLength > limit {
		return nil, nil, apierror.PayloadTooLarge(limit)
	}
	x.Rec.BodyRead = true
	body, err := x.readAll(limit, timeout)
	if err == nil {
		err = checkObject(body)
	}
	return body, gates, err
}

// checkHeader refuses a body that cannot be JSON before it is read.
func checkHeader(r *http.Request) error {
	if err := checkCoding(r); err != nil {
		return err
	}
	if r.ContentLength == 0 {
		return apierror.BadJSON("it is empty")
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return apierror.UnsupportedMediaType()
	}
	return nil
}

func checkCoding(r *http.Request) error {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return apierror.CompressedBody()
	}
	return nil
}

func (x *Exchange) readAll(limit int64, timeout time.Duration) ([]byte, error) {
	defer x.readWithin(timeout)()
	var buf bytes.Buffer
	if n := x.R.ContentLength; n > 0 {
		buf.Grow(int(min(n, maxAhead)) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(x.R.Body, limit+1)); err != nil {
		return nil, apierror.FromBody(err, limit)
	}
	if int64(buf.Len()) > limit {
		return nil, apierror.PayloadTooLarge(limit)
	}
	return buf.Bytes(), nil
}

// readWithin bounds how long the body is waited for, until end is called. Not every
// connection has deadlines. Without one Caddy's own idle timeout is left.
func (x *Exchange) readWithin(timeout time.Duration) (end func()) {
	rc := http.NewResponseController(x.W)
	if rc.SetReadDeadline(time.Now().Add(timeout)) != nil {
		return func() {}
	}
	return func() { _ = rc.SetReadDeadline(time.Time{}) }
}

// checkedBody is a body that needs no check by ReadBody.
type checkedBody struct {
	bytes.Reader
	all []byte
}

func (*checkedBody) Close() error { return nil }

// SetCheckedBody gives a request a body that was built from checked parts, so that
// ReadBody returns it without another check. For other handlers it is an ordinary
// body.
func SetCheckedBody(r *http.Request, body []byte) {
	b := &checkedBody{all: body}
	b.Reset(body)
	r.Body = b
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// maxAhead is how many bytes are allocated at most on the word of a
// Content-Length.
const maxAhead = 64 << 10

func isJSON(contentType string) bool {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/json" {
		return false
	}
	charset := params["charset"]
	return charset == "" || strings.EqualFold(charset, "utf-8")
}
