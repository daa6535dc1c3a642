// Package form reads multipart forms and writes them with another value for one
// field. It knows nothing of HTTP or Caddy.
package form

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
)

// maxValue is the largest value of the replaced field and of noted ones, in bytes.
const maxValue = 4 << 10

// maxParts is how many parts a form may have: each costs time, and forms of APIs have a
// few.
const maxParts = 1000

// pieceSize is how many bytes are written at a time.
const pieceSize = 32 << 10

// FieldError says what is wrong with a field.
type FieldError struct{ Field, Want string }

func (e *FieldError) Error() string { return e.Field + ": " + e.Want }

// Form is a form that has been written anew part by part: whoever gets it sees the same
// fields as this package, however it reads names, quotes and boundaries. The contents of
// the parts are unchanged. A long one is in a temporary file.
type Form struct {
	field string // the one that is replaced
	value string // the sender's

	noted map[string][]string // values by name

	text spool         // without the field's value
	buf  *bufio.Writer // to the text: the parts may be short, and each write a call of the system
	out  *multipart.Writer
	part int64 // where in the text the field begins
	hole int64 // where its value belongs; -1 without a field
}

// ErrSpool says that a form could not be written to a temporary file.
var ErrSpool = errors.New("writing the form to a temporary file")

// Read reads the form that body holds, with a boundary as in its Content-Type. The value
// of the named field can be replaced; a form without it gets it at its end. A form that
// is cut off is io.ErrUnexpectedEOF, one that has the field twice a *FieldError. Values gives
// the values of the noted fields. Without an error the caller closes the form.
func Read(body io.Reader, boundary, field string, noted ...string) (_ *Form, err error) {
	f := &Form{field: field, hole: -1, noted: make(map[string][]string, len(noted))}
	for _, name := range noted {
		f.noted[name] = nil
	}
	defer func() {
		if f.text.err != nil {
			err = errors.Join(ErrSpool, f.text.err)
		}
		if err != nil {
			_ = f.Close()
		}
	}()
	f.buf = bufio.NewWriterSize(&f.text, pieceSize)
	f.out = multipart.NewWriter(f.buf)
	parts := multipart.NewReader(body, boundary)
	for n := 1; ; n++ {
		p, err := parts.NextPart()
		if err == io.EOF { //nolint:errorlint // an io.EOF that is wrapped is a form without an end
			break
		}
		if err == nil && n > maxParts {
			err = &FieldError{"body", fmt.Sprintf("want %d parts at most", maxParts)}
		}
		if err == nil {
			err = f.add(p)
		}
		if err != nil {
			if _, ok := errors.AsType[*FieldError](err); ok {
				return nil, err
			}
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("reading the form: %w", err)
		}
	}
	if f.hole < 0 {
		f.open()
	}
	_ = f.out.Close()
	_ = f.buf.Flush() // the text keeps its errors
	return f, nil
}

// add adds a part. A name that differs from the field's only in case counts as the same,
// because some servers take it for that.
func (f *Form) add(p *multipart.Part) error {
	switch {
	case p.FormName() == "":
		return &FieldError{"body", "every part of the form needs a name"}
	case !strings.EqualFold(p.FormName(), f.field):
		return f.copy(p)
	case f.hole >= 0:
		return &FieldError{f.field, "want it once"}
	}
	value, err := valueOf(p, f.field)
	if err != nil {
		return err
	}
	f.value = value
	f.open()
	return nil
}

// open writes the field without its value.
func (f *Form) open() {
	_ = f.buf.Flush()
	f.part = f.text.size
	_, _ = f.out.CreateFormField(f.field)
	_ = f.buf.Flush() // the text keeps its errors
	f.hole = f.text.size
}

func (f *Form) copy(p *multipart.Part) error {
	header := map[string][]string{"Content-Disposition": {disposition(p)}}
	if typ := p.Header.Get("Content-Type"); typ != "" {
		header["Content-Type"] = []string{typ}
	}
	content, err := f.note(p)
	if err != nil {
		return err
	}
	part, err := f.out.CreatePart(header)
	if err == nil {
		_, err = io.Copy(part, content)
	}
	return err
}

// note keeps the value of a part that is noted, and returns the part's content.
func (f *Form) note(p *multipart.Part) (io.Reader, error) {
	for name := range f.noted {
		if !strings.EqualFold(p.FormName(), name) {
			continue
		}
		value, err := valueOf(p, name)
		f.noted[name] = append(f.noted[name], value)
		return strings.NewReader(value), err
	}
	return p, nil
}

// valueOf reads the value of a field.
func valueOf(p *multipart.Part, field string) (string, error) {
	value, err := io.ReadAll(io.LimitReader(p, maxValue+1))
	if err == nil && len(value) > maxValue {
		err = &FieldError{field, fmt.Sprintf("must not exceed %d bytes", maxValue)}
	}
	return string(value), err
}

// disposition returns a part's Content-Disposition in the form in which all browsers
// write it.
func disposition(p *multipart.Part) string {
	if name := p.FileName(); name != "" {
		return multipart.FileContentDisposition(p.FormName(), name)
	}
	return strings.TrimSuffix(multipart.FileContentDisposition(p.FormName(), ""), `; filename=""`)
}

// ContentType returns the Content-Type of the form as it is written.
func (f *Form) ContentType() string { return f.out.FormDataContentType() }

// Value returns the value that the sender gave the field; empty without one.
func (f *Form) Value() string { return f.value }

// Values returns the values that the sender gave a noted field.
func (f *Form) Values(name string) []string { return f.noted[name] }

// With returns the form with a value for the field, or without the field if the value is
// empty, and its length. It does not copy the form.
func (f *Form) With(value string) (body io.Reader, length int64) {
	size := f.text.size
	if value == "" {
		return io.MultiReader(f.text.part(0, f.part), f.text.part(f.hole, size)), size - f.hole + f.part
	}
	return io.MultiReader(f.text.part(0, f.hole), strings.NewReader(value), f.text.part(f.hole, size)), size + int64(len(value))
}

// Close removes the form. Nothing can be read of it any more.
func (f *Form) Close() error { return f.text.Close() }
