package sse

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	gosse "github.com/tmaxmax/go-sse"
)

// FuzzDecoder compares with another implementation, as far as both mean to do
// the same.
func FuzzDecoder(f *testing.F) {
	for _, tc := range streams {
		f.Add([]byte(tc.in), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		// go-sse looks for a byte order mark after any blank lines, and this
		// parser only at the very start, as the standard says.
		if i := bytes.LastIndex(in, bom); i > 0 {
			t.Skip()
		}

		// Ending the last event removes a difference at the end of the stream,
		// where go-sse discards it and this parser does not. Below, the same
		// stream without the blank line must give the same.
		ended := slices.Concat(in, []byte("\n\n"))
		want := oracle(t, ended)
		got, err := decode(bytes.NewReader(ended))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if named := withData(got); !slices.Equal(named, want) {
			t.Fatalf("%q\ngot    %q\ngo-sse %q", ended, named, want)
		}

		flushed, err := decode(bytes.NewReader(in))
		if !errors.Is(err, io.EOF) || !slices.Equal(flushed, got) {
			t.Fatalf("%q\ngot %q, error %v\nwith a blank line at the end %q", in, flushed, err, got)
		}

		single, err := decode(iotest.OneByteReader(bytes.NewReader(in)))
		if !errors.Is(err, io.EOF) || !slices.Equal(single, got) {
			t.Fatalf("%q\nbyte by byte %q, error %v\nat once      %q", in, single, err, got)
		}

		step = max(1, step%64)
		p := NewParser(0)
		var pushed []seen
		for piece := range slices.Chunk(ended, step) {
			p.Feed(piece)
			pushed = append(pushed, drain(t, p)...)
		}
		if !slices.Equal(pushed, got) {
			t.Fatalf("%q\n%d bytes at a time %q\nat once %q", in, step, pushed, got)
		}
	})
}

// oracle returns go-sse's events of a stream.
func oracle(t *testing.T, in []byte) (evs []seen) {
	cfg := &gosse.ReadConfig{MaxEventSize: len(in) + 4096}
	for ev, err := range gosse.Read(bytes.NewReader(in), cfg) {
		if err != nil {
			t.Fatalf("go-sse: %v", err)
		}
		evs = append(evs, seen{ev.LastEventID, ev.Type, ev.Data})
	}
	return withData(evs)
}

// withData leaves out events without data. go-sse also returns those that have
// an id or a type and no data line at all, which the standard does not, and
// does not tell them from those with an empty one.
func withData(evs []seen) []seen {
	return slices.DeleteFunc(slices.Clone(evs), func(ev seen) bool { return ev.Data == "" })
}

// FuzzBounds checks that no stream exceeds the bound, and that the bound does
// not change streams within it.
func FuzzBounds(f *testing.F) {
	for _, tc := range streams {
		f.Add([]byte(tc.in), 16)
	}
	f.Add([]byte(strings.Repeat("data\n", 100)), 50)
	f.Add([]byte("data: 234567\ndata: 90123456"), 15) // the LF between them counts
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		limit = max(1, limit%256)
		all, err := decode(bytes.NewReader(in))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		d := NewDecoder(bytes.NewReader(in), limit)
		for i := 0; ; i++ {
			ev, err := d.Next()
			if errors.Is(err, ErrTooLong) {
				return
			}
			if errors.Is(err, io.EOF) && i == len(all) {
				return
			}
			if err != nil || see(ev) != all[i] {
				t.Fatalf("%q: event %d is %q, error %v; want %q", in, i, ev.Data, err, all[i:])
			}
			if len(ev.Data) > limit {
				t.Fatalf("%d bytes of data, at most %d allowed", len(ev.Data), limit)
			}
		}
	})
}
