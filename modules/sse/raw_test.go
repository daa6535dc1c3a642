package sse

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// raws returns the Raw of a stream's events.
func raws(t testing.TB, r io.Reader) (list []string) {
	t.Helper()
	d := NewDecoder(r, 1<<10)
	d.KeepRaw()
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(ev.Raw))
	}
}

func TestRaw(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"events", "event: a\ndata: 1\n\ndata: 2\n\n", []string{"event: a\ndata: 1\n\n", "data: 2\n\n"}},
		{"CRLF", "data: 1\r\n\r\ndata: 2\r\n\r\n", []string{"data: 1\r\n\r\n", "data: 2\r\n\r\n"}},
		{"CR", "data: 1\r\rdata: 2\r\r", []string{"data: 1\r\r", "data: 2\r\r"}},
		{"comments and other fields", ": hi\n\nid: 7\nretry: 9\ndata: 1\ndata: 2\n\n: bye\n\n", []string{": hi\n\nid: 7\nretry: 9\ndata: 1\ndata: 2\n\n"}},
		{"a byte order mark", "\xef\xbb\xbfdata: 1\n\n", []string{"data: 1\n\n"}},
		{"no blank line at the end", "data: 1\n\ndata: 2\n", []string{"data: 1\n\n", "data: 2\n\n\n"}},
		{"no line end at the end", "data: 1", []string{"data: 1\n\n"}},
		{"only comments", ": a\n\n: b\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			whole := raws(t, strings.NewReader(tc.in))
			if strings.Join(whole, "|") != strings.Join(tc.want, "|") {
				t.Errorf("got %q, want %q", whole, tc.want)
			}
			// An LF of which the CR was an event's last byte may come with the next one.
			single := raws(t, iotest.OneByteReader(strings.NewReader(tc.in)))
			if len(single) != len(whole) || !strings.HasPrefix(strings.Join(whole, ""), strings.Join(single, "")) {
				t.Errorf("byte by byte %q, at once %q", single, whole)
			}
		})
	}
}

func TestRawIsBounded(t *testing.T) {
	comments := bytes.Repeat([]byte(": "+strings.Repeat("x", 100)+"\n\n"), 10_000)
	stream := slices.Concat(comments, []byte("data: 1\n\n"))
	got := raws(t, bytes.NewReader(stream))
	if len(got) != 1 || len(got[0]) > keepComments+1<<10 || !bytes.HasSuffix(stream, []byte(got[0])) {
		t.Errorf("%d events, the first of %d bytes", len(got), len(got[0]))
	}

	d := NewDecoder(bytes.NewReader(bytes.ReplaceAll(stream, []byte("\n\n"), []byte("\n"))), 1<<10)
	d.KeepRaw()
	if _, err := d.Next(); !errors.Is(err, ErrTooLong) {
		t.Errorf("comments without end: error %v", err)
	}
}

func FuzzRaw(f *testing.F) {
	for _, tc := range streams {
		f.Add([]byte(tc.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<10 {
			t.Skip()
		}
		stream := bytes.TrimPrefix(in, bom)
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in)), iotest.HalfReader(bytes.NewReader(in))} {
			got := strings.TrimSuffix(strings.Join(raws(t, r), ""), "\n\n")
			if !bytes.HasPrefix(stream, []byte(got)) {
				t.Fatalf("%q\ngot %q", in, got)
			}
		}
	})
}
