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

// ReadBody returns the request's body: one JSON object of at most limit bytes,
// in valid UTF-8, no name twice, nothing behind it. Everything that reads the
// body afterwards sees the same members, whichever of two names it would pick.
// Errors are *apierror.Error.
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

// checkedBody is a body as ReadBody lets it pass.
type checkedBody struct {
	bytes.Reader
	all []byte
}

func (*checkedBody) Close() error { return nil }

// SetCheckedBody gives a request a body that a handler of this chain has made
// of parts that were checked: the next one takes it as it is. To any other
// handler it is a body like others.
func SetCheckedBody(r *http.Request, body []byte) {
	b := &checkedBody{all: body}
	b.Reset(body)
	r.Body = b
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// maxAhead bounds, in bytes, the room that is made for a body because its
// Content-Length says so.
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
	// once more, for what is wrong with it
	d := jsontext.NewDecoder(bytes.NewReader(body))
	v, err := d.ReadValue()
	if err != nil {
		return apierror.InvalidJSON(err)
	}
	kind := v.Kind()
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return apierror.InvalidJSON(errors.New("something follows the JSON value"))
	}
	if kind != jsontext.KindBeginObject {
		return apierror.InvalidRequest("body", "want a JSON object")
	}
	return nil
}
