package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// seen is an event in a form that outlives the parser's buffer.
type seen struct {
	ID, Type, Data string
}

func see(ev Event) seen {
	return seen{ev.ID, ev.Type, string(ev.Data)}
}

// drain returns the complete events.
func drain(t testing.TB, p *Parser) (evs []seen) {
	t.Helper()
	for {
		ev, ok, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return evs
		}
		evs = append(evs, see(ev))
	}
}

// parse feeds all pieces and returns their events, and then those of Flush.
func parse(t testing.TB, pieces ...string) (evs, flushed []seen) {
	t.Helper()
	p := NewParser(0)
	for _, s := range pieces {
		p.Feed([]byte(s))
		evs = append(evs, drain(t, p)...)
	}
	for {
		ev, ok, err := p.Flush()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return evs, flushed
		}
		flushed = append(flushed, see(ev))
	}
}

var streams = []struct {
	name    string
	in      string
	want    []seen
	flushed []seen
}{
	{name: "nothing", in: ""},
	{name: "one event", in: "data: a\n\n", want: []seen{{Data: "a"}}},
	{name: "CRLF", in: "data: a\r\n\r\ndata: b\r\n\r\n", want: []seen{{Data: "a"}, {Data: "b"}}},
	{name: "lone CR", in: "data: a\r\rdata: b\r\r", want: []seen{{Data: "a"}, {Data: "b"}}},
	{name: "all line ends mixed", in: "data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\n\ndata: e\n\r", want: []seen{{Data: "a\nb\nc"}, {Data: "d"}, {Data: "e"}}},
	{name: "LF CR is two line ends", in: "data: a\n\rdata: b\n\r", want: []seen{{Data: "a"}, {Data: "b"}}},
	{name: "byte order mark", in: "\xef\xbb\xbfdata: a\n\n", want: []seen{{Data: "a"}}},
	{name: "byte order mark before a blank line", in: "\xef\xbb\xbf\ndata: a\n\n", want: []seen{{Data: "a"}}},
	{name: "only one byte order mark is one", in: "\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", want: []seen{{Data: "b"}}},
	{name: "byte order mark later on is data", in: "data: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n", want: []seen{{Data: "a"}, {Data: "c"}}},
	{name: "part of a byte order mark is not one", in: "\xef\xbbdata: a\n\n"},
	{name: "data lines are joined", in: "data: a\ndata:\n" + "data: b\n\n", want: []seen{{Data: "a\n\nb"}}},
	{name: "one space is taken off", in: "data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\n", want: []seen{{Data: "a"}, {Data: "a"}, {Data: " a"}, {Data: "\ta"}}},
	{name: "colons in the value stay", in: "data: a: b:c\n\n", want: []seen{{Data: "a: b:c"}}},
	{name: "a field without a colon has no value", in: "data\n\n" + "data\n" + "data\n\n", want: []seen{{}, {Data: "\n"}}},
	{name: "empty data is an event", in: "data:\n\n", want: []seen{{}}},
	{name: "no data is no event", in: "event: ping\n\nevent: ping\nid: 1\n\ndata: a\n\n", want: []seen{{ID: "1", Data: "a"}}},
	{name: "the type is the event's own", in: "event: x\ndata: a\n\ndata: b\n\nevent: y\n\ndata: c\n\nevent: x\ndata: d\n\n", want: []seen{{Type: "x", Data: "a"}, {Data: "b"}, {Data: "c"}, {Type: "x", Data: "d"}}},
	{name: "the last type counts", in: "event: x\nevent: y\ndata: a\n\nevent: x\nevent\ndata: b\n\n", want: []seen{{Type: "y", Data: "a"}, {Data: "b"}}},
	{name: "the id stays", in: "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", want: []seen{{ID: "1", Data: "a"}, {ID: "1", Data: "b"}, {Data: "c"}}},
	{name: "an id with NUL is ignored", in: "id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n", want: []seen{{ID: "1", Data: "a"}, {ID: "1", Data: "b"}}},
	{name: "comments are no events", in: ": hi\n\n:\n:data: x\ndata: a\n: in between\ndata: b\n\n", want: []seen{{Data: "a\nb"}}},
	{name: "unknown fields, retry and case", in: "retry: 10\nfoo: bar\nData: x\n data: y\ndata : z\ndata: a\n\n", want: []seen{{Data: "a"}}},
	{name: "blank lines mean nothing", in: "\n\r\n\r\n\rdata: a\n\n\n\n\n", want: []seen{{Data: "a"}}},
	{name: "no blank line at the end", in: "data: a\n\nid: 7\nevent: x\ndata: b\n", want: []seen{{Data: "a"}}, flushed: []seen{{ID: "7", Type: "x", Data: "b"}}},
	{name: "no line end at the end", in: "data: a\n\ndata: b\ndata: [DONE]", want: []seen{{Data: "a"}}, flushed: []seen{{Data: "b\n[DONE]"}}},
	{name: "only a byte order mark and half a line", in: "\xef\xbb\xbfdata: a", flushed: []seen{{Data: "a"}}},
	{name: "no data at the end", in: "data: a\n\nevent: x\n", want: []seen{{Data: "a"}}},
	{name: "a model's answer", in: ": keep-alive\ndata: {\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":\"Hé\"}}]}\n\ndata: [DONE]\n\n", want: []seen{{Data: `{"id":"1","choices":[{"delta":{"content":"Hé"}}]}`}, {Data: "[DONE]"}}},
	{name: "named events", in: "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n", want: []seen{{Type: "message_start", Data: `{"type":"message_start"}`}, {Type: "ping", Data: `{"type": "ping"}`}}},
}

func TestParser(t *testing.T) {
	for _, tc := range streams {
		t.Run(tc.name, func(t *testing.T) {
			evs, flushed := parse(t, tc.in)
			if !slices.Equal(evs, tc.want) || !slices.Equal(flushed, tc.flushed) {
				t.Errorf("got  %q, flushed %q\nwant %q, flushed %q", evs, flushed, tc.want, tc.flushed)
			}
		})
	}
}

func TestParserDoesNotCareHowItIsFed(t *testing.T) {
	for _, tc := range streams {
		t.Run(tc.name, func(t *testing.T) {
			check := func(how string, pieces ...string) {
				t.Helper()
				evs, flushed := parse(t, pieces...)
				if !slices.Equal(evs, tc.want) || !slices.Equal(flushed, tc.flushed) {
					t.Fatalf("%s: got %q, flushed %q", how, evs, flushed)
				}
			}
			for i := range len(tc.in) {
				for j := i; j <= len(tc.in); j++ {
					check(fmt.Sprintf("split at %d and %d", i, j), tc.in[:i], tc.in[i:j], tc.in[j:])
				}
			}
			var single []string
			for i := range len(tc.in) {
				single = append(single, tc.in[i:i+1])
			}
			check("byte by byte", single...)
		})
	}
}

func TestParserGivesAnEventWithItsLastByte(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", "\r"} {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			p := NewParser(0)
			in := "data: a" + end + end
			// The second byte of the last CRLF is not awaited.
			last := strings.TrimSuffix(in, "\n")
			if end == "\n" {
				last = in
			}
			for i := range last {
				if evs := drain(t, p); len(evs) > 0 {
					t.Fatalf("%q after %q", evs, last[:i])
				}
				p.Feed([]byte{last[i]})
			}
			if evs := drain(t, p); !slices.Equal(evs, []seen{{Data: "a"}}) {
				t.Fatalf("got %q after %q", evs, last)
			}
			p.Feed([]byte(in[len(last):] + in))
			if evs := drain(t, p); !slices.Equal(evs, []seen{{Data: "a"}}) {
				t.Fatalf("got %q after the next one", evs)
			}
		})
	}
}

func TestParserLeavesCommentsOut(t *testing.T) {
	p := NewParser(0)
	p.Feed([]byte(": a\n\n:\ndata: x\n: b\n\n: half"))
	if evs := drain(t, p); !slices.Equal(evs, []seen{{Data: "x"}}) {
		t.Errorf("got %q", evs)
	}
	if _, ok, err := p.Flush(); ok || err != nil {
		t.Fatalf("a comment alone is an event: %v, error %v", ok, err)
	}
}

func TestParserRefusesWhatIsTooLong(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		ok   bool
	}{
		{name: "a line that fits", in: "data: 3456789\n\n", ok: true},
		{name: "a line without end that fits", in: "data: 345678", ok: true},
		{name: "a line", in: "data: a\n\ndata: 345678901234\n\n"},
		{name: "a line without end", in: "data: a\n\ndata: 345678901234"},
		{name: "a comment without end", in: "data: a\n\n: 2345678901234"},
		{name: "an event of many lines", in: "data: a\n\ndata: 34567\ndata: 34567\ndata: 34567\ndata: 34567\n\n"},
		{name: "an event of many empty lines", in: "data: a\n\n" + strings.Repeat("data\n", 20)},
		{name: "comments beside an event", in: "data: a\n" + strings.Repeat(": 34567\n", 20) + "\n", ok: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := NewDecoder(strings.NewReader(tc.in), 14)
			ev, err := d.Next()
			if err != nil {
				t.Fatalf("the first event must come out: %v", err)
			}
			if tc.ok {
				if _, err = d.Next(); !errors.Is(err, io.EOF) {
					t.Fatalf("after %q: %v", ev.Data, err)
				}
				return
			}
			for range 2 {
				if _, err := d.Next(); !errors.Is(err, ErrTooLong) {
					t.Fatalf("got %v, want ErrTooLong", err)
				}
			}
		})
	}
}

func TestParserOnALongLine(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 5<<20/16)
	in := "data: " + long + "\n\ndata: next\n\n"
	for _, size := range []int{1, 4096, len(in)} {
		t.Run(fmt.Sprint(size, " bytes at a time"), func(t *testing.T) {
			p := NewParser(0)
			var evs []seen
			for rest := []byte(in); len(rest) > 0; {
				n := min(size, len(rest))
				p.Feed(rest[:n])
				rest = rest[n:]
				evs = append(evs, drain(t, p)...)
			}
			if !slices.Equal(evs, []seen{{Data: long}, {Data: "next"}}) {
				t.Fatalf("%d events", len(evs))
			}
			p.Feed(nil)
			if drain(t, p); cap(p.buf) > keepBuffer || cap(p.data) > keepBuffer {
				t.Errorf("buffers of %d and %d bytes are kept", cap(p.buf), cap(p.data))
			}
		})
	}
}

func TestDecoder(t *testing.T) {
	for _, tc := range streams {
		t.Run(tc.name, func(t *testing.T) {
			want := slices.Concat(tc.want, tc.flushed)
			for how, r := range map[string]io.Reader{
				"at once":          strings.NewReader(tc.in),
				"byte by byte":     iotest.OneByteReader(strings.NewReader(tc.in)),
				"end with data":    iotest.DataErrReader(strings.NewReader(tc.in)),
				"half of each one": iotest.HalfReader(strings.NewReader(tc.in)),
			} {
				got, err := decode(r)
				if !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
					t.Errorf("%s: got %q, error %v; want %q", how, got, err, want)
				}
			}
		})
	}
}

func decode(r io.Reader) (evs []seen, err error) {
	d := NewDecoder(r, 0)
	for {
		ev, err := d.Next()
		if err != nil {
			return evs, err
		}
		evs = append(evs, see(ev))
	}
}

func TestDecoderReadsNoFurtherThanTheEvent(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	d := NewDecoder(r, 0)
	for _, in := range []string{"data: a\n\n", "data: a\r\r", "data: a\r\n\r\n", "\rdata: a\n\r", "\ndata: a\n\n"} {
		go func() {
			if _, err := io.WriteString(w, in); err != nil {
				t.Error(err)
			}
		}()
		// If more were needed, this would wait for ever.
		if ev, err := d.Next(); err != nil || string(ev.Data) != "a" {
			t.Fatalf("%q: got %q, error %v", in, ev.Data, err)
		}
	}
}

func TestDecoderOnABrokenStream(t *testing.T) {
	t.Run("what was not complete is dropped", func(t *testing.T) {
		broken := errors.New("connection reset")
		in := io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken))
		evs, err := decode(in)
		if !errors.Is(err, broken) || !reflect.DeepEqual(evs, []seen{{Data: "a"}}) {
			t.Errorf("got %q, error %v", evs, err)
		}
	})
	t.Run("a reader that never gives anything", func(t *testing.T) {
		if _, err := decode(never{}); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("comments alone are no event", func(t *testing.T) {
		if evs, err := decode(strings.NewReader(": a\n\n: b\n\n")); len(evs) > 0 || !errors.Is(err, io.EOF) {
			t.Errorf("got %q, error %v", evs, err)
		}
	})
}

type never struct{}

func (never) Read([]byte) (int, error) { return 0, nil }

func BenchmarkParser(b *testing.B) {
	chunk := []byte("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n")
	named := append([]byte("event: content_block_delta\n"), chunk...)
	short := []byte(strings.Repeat("data\r", 10_000) + "\r")
	long := append(append([]byte("data: "), bytes.Repeat([]byte("x"), 5<<20)...), "\n\n"...)
	for _, bc := range []struct {
		name string
		in   []byte
		step int
	}{
		{"chunks", bytes.Repeat(chunk, 10), 8 << 10},
		{"named events", bytes.Repeat(named, 10), 8 << 10},
		{"short CR lines", short, len(short)},
		{"long line", long, 8 << 10},
		{"long line byte by byte", long, 1},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bc.in)))
			p := NewParser(0)
			for b.Loop() {
				n := 0
				for rest := bc.in; len(rest) > 0; {
					k := min(bc.step, len(rest))
					p.Feed(rest[:k])
					rest = rest[k:]
					for {
						_, ok, err := p.Next()
						if err != nil {
							b.Fatal(err)
						}
						if !ok {
							break
						}
						n++
					}
				}
				if n == 0 {
					b.Fatal("no event")
				}
			}
		})
	}
}
