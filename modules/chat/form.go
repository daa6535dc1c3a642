package chat

import (
	"errors"
	"mime"
	"net/http"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/form"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// ReadForm returns the request's body: a multipart form of at most limit bytes, of which
// one field can be replaced and others are noted, and which the caller closes. It waits no
// longer than timeout for the whole of it. Errors are *apierror.Error.
func (x *Exchange) ReadForm(limit int64, timeout time.Duration, field string, noted ...string) (*form.Form, error) {
	gates := record.OpenGates(x.R)
	if err := checkCoding(x.R); err != nil {
		return nil, err
	}
	mediaType, params, err := mime.ParseMediaType(x.R.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
		return nil, apierror.NotAForm()
	}
	if x.R.ContentLength > limit {
		return nil, apierror.PayloadTooLarge(limit)
	}
	x.Rec.BodyRead = true
	defer x.readWithin(timeout)()
	f, err := form.Read(http.MaxBytesReader(nil, x.R.Body, limit), params["boundary"], field, noted...)
	if fe, ok := errors.AsType[*form.FieldError](err); ok {
		return nil, apierror.InvalidRequest(fe.Field, fe.Want)
	}
	if errors.Is(err, form.ErrSpool) {
		e := apierror.StorageUnavailable(err)
		e.Message = "The form cannot be kept at the moment"
		return nil, e
	}
	if err != nil {
		return nil, apierror.FromBody(err, limit)
	}
	if err := gates.Enter(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
