package chat

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// ReadBody returns the request's body: one JSON object of at most limit bytes, in
// valid UTF-8, without duplicate names and with nothing after it. So all later
// readers see the same members, whichever duplicate they would pick. Errors are
// *apierror.Error.
func ReadBody(r *http.Request, limit int64) ([]byte, error) {
	if b, ok := r.Body.(*checkedBody); ok && int64(len(b.all)) <= limit {
		return b.all, nil
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, apierror.UnsupportedMediaType()
	}
	if r.ContentLength > limit {
		return nil, apierror.PayloadTooLarge(limit)
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(min(r.ContentLength, maxAhead)) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1)); err != nil {
		return nil, apierror.FromBody(err, limit)
	}
	body := buf.Bytes()
	if int64(len(body)) > limit {
		return nil, apierror.PayloadTooLarge(limit)
	}
	if err := checkObject(body); err != nil {
		return nil, err
	}
	return body, nil
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

func checkObject(body []byte) error {
	if jsontext.Value(body).IsValid() && jsontext.Value(body).Kind() == jsontext.KindBeginObject {
		return nil
	}
	// parse it again for an error with details
	d := jsontext.NewDecoder(bytes.NewReader(body))
	v, err := d.ReadValue()
	if err != nil {
		return apierror.InvalidJSON(err)
	}
	kind := v.Kind()
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return apierror.InvalidJSON(errors.New("data after the JSON value"))
	}
	if kind != jsontext.KindBeginObject {
		return apierror.InvalidRequest("body", "want a JSON object")
	}
	return nil
}
