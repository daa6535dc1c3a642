package form

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// file is longer than a piece, and has what looks like a boundary.
var file = strings.Repeat("\r\n--b\r-- ", 4_000)

const (
	partModel = "--b!\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nalias\r\n"
	partText  = "--b!\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\ntwo\r\nlines\r\n"
	endOfForm = "--b!--\r\n"
)

var partFile = "--b!\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\" ü.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n" + file + "\r\n"

// field is a field as a reader of the form sees it.
type field struct{ name, filename, typ, value string }

var fileField = field{"file", `a "b" ü.mp3`, "audio/mpeg", file}

// read reads a form as a server does.
func read(t testing.TB, contentType string, body io.Reader) []field {
	t.Helper()
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	var list []field
	for r := multipart.NewReader(body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF { //nolint:errorlint // an io.EOF that is wrapped is a form without an end
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		value, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, field{p.FormName(), p.FileName(), p.Header.Get("Content-Type"), string(value)})
	}
}

func TestForm(t *testing.T) {
	model, text := field{name: "model", value: "upstream"}, field{name: "prompt", value: "two\r\nlines"}
	for _, tc := range []struct {
		name, form, value string
		want              []field
	}{
		{"the field first", partModel + partText + partFile + endOfForm, "alias", []field{model, text, fileField}},
		{"the field behind the file", partFile + partModel + partText + endOfForm, "alias", []field{fileField, model, text}},
		{"the field last", partText + partFile + partModel + endOfForm, "alias", []field{text, fileField, model}},
		{"no field", partText + partFile + endOfForm, "", []field{text, fileField, model}},
		{"nothing but the end", endOfForm, "", []field{model}},
		{"an empty field", strings.Replace(partModel, "alias", "", 1) + partText + endOfForm, "", []field{model, text}},
		{"a name in another case", strings.Replace(partModel, "model", "MODEL", 1) + endOfForm, "alias", []field{model}},
		{"a name without quotes", strings.Replace(partModel, `"model"`, "model", 1) + endOfForm, "alias", []field{model}},
		{"a name with a charset", strings.Replace(partModel, `name="model"`, "name*=utf-8''mod%65l", 1) + endOfForm, "alias", []field{model}},
		{"a field that is a file", strings.Replace(partModel, `"model"`, `"model"; filename="x"`, 1) + endOfForm, "alias", []field{model}},
		{"lines before the form", "a preamble\r\n" + partModel + endOfForm + "and more", "alias", []field{model}},
		{"a name with a line break", strings.Replace(partText, `name="prompt"`, "name*=utf-8''a%0D%0AX%3A%20y", 1) + endOfForm, "", []field{{name: "a%0D%0AX: y", value: "two\r\nlines"}, model}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, body := range map[string]io.Reader{
				"whole": strings.NewReader(tc.form), "byte by byte": iotest.OneByteReader(strings.NewReader(tc.form)),
			} {
				f, err := Read(body, "b!", "model")
				if err != nil || f.Value() != tc.value {
					t.Fatalf("%s: %v, %v", name, f, err)
				}
				defer f.Close()
				without := slices.DeleteFunc(slices.Clone(tc.want), func(f field) bool { return f == model })
				r, n := f.With("")
				got, err := io.ReadAll(r)
				if fields := read(t, f.ContentType(), bytes.NewReader(got)); err != nil || !slices.Equal(fields, without) || n != int64(len(got)) {
					t.Errorf("%s: without the field %v, %d bytes of %d, %.300q", name, err, n, len(got), fields)
				}
				for range 2 { // it can be sent again
					r, n := f.With("upstream")
					got, err := io.ReadAll(r)
					if err != nil {
						t.Fatal(err)
					}
					if fields := read(t, f.ContentType(), bytes.NewReader(got)); !slices.Equal(fields, tc.want) {
						t.Errorf("%s: sent %.300q", name, fields)
					}
					if n != int64(len(got)) {
						t.Errorf("%s: length %d, want %d", name, n, len(got))
					}
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		name, form string
		field      string // at fault; empty for a form that is cut off
	}{
		{"twice", partModel + partText + partModel + endOfForm, "model"},
		{"twice, in another case", partModel + strings.Replace(partModel, "model", "Model", 1) + endOfForm, "model"},
		{"a long value", strings.Replace(partModel, "alias", strings.Repeat("a", maxValue+1), 1) + endOfForm, "model"},
		{"a part without a name", partModel + strings.Replace(partText, `; name="prompt"`, "", 1) + endOfForm, "body"},
		{"a part without a header", partModel + "--b!\r\n\r\nx\r\n" + endOfForm, "body"},
		{"many parts", strings.Repeat(partText, maxParts+1) + endOfForm, "body"},
		{"no end", partModel + partText, ""},
		{"cut in a part", partModel + partFile[:1000], ""},
		{"nothing", "", ""},
		{"another boundary", strings.ReplaceAll(partModel+endOfForm, "b!", "c!"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(tc.form), "b!", "model")
			fe, ok := errors.AsType[*FieldError](err)
			if tc.field != "" && (!ok || fe.Field != tc.field) || tc.field == "" && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestManyParts has a form in a file whose parts are short: each is not written on its own.
func TestManyParts(t *testing.T) {
	f, err := Read(strings.NewReader(partFile+strings.Repeat(partText, maxParts-1)+endOfForm+strings.Repeat("x", inMemory)), "b!", "model")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	body, length := f.With("upstream")
	sent, err := io.ReadAll(body)
	if fields := read(t, f.ContentType(), bytes.NewReader(sent)); err != nil || int64(len(sent)) != length || len(fields) != maxParts+1 || fields[0] != fileField || fields[maxParts].value != "upstream" {
		t.Errorf("%d of %d bytes, %d fields, %v", len(sent), length, len(fields), err)
	}
}

func FuzzForm(f *testing.F) {
	f.Add([]byte(partModel + partText + endOfForm))
	f.Add([]byte(partFile[:300] + "\r\n" + partModel + endOfForm))
	f.Fuzz(func(t *testing.T, form []byte) {
		fm, err := Read(bytes.NewReader(form), "b!", "model")
		if err != nil {
			return
		}
		defer fm.Close()
		r, _ := fm.With("upstream")
		sent, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		models := 0
		for _, got := range read(t, fm.ContentType(), bytes.NewReader(sent)) {
			if strings.EqualFold(got.name, "model") {
				models++
				if got.value != "upstream" {
					t.Errorf("the model is %q", got.value)
				}
			}
		}
		if models != 1 {
			t.Errorf("%d models", models)
		}
	})
}
