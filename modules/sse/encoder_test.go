package sse

import (
	"slices"
	"strings"
	"testing"
)

func TestAppendEvent(t *testing.T) {
	for _, tc := range []struct {
		name      string
		id, event string
		data      string
		want      string
	}{
		{name: "data only", data: "a", want: "data: a\n\n"},
		{name: "everything", id: "0198f:1", event: "done", data: `{"done":true}`, want: "id: 0198f:1\nevent: done\ndata: {\"done\":true}\n\n"},
		{name: "no data", id: "1", want: "id: 1\ndata: \n\n"},
		{name: "lines", data: "a\nb\r\nc\rd\n", want: "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"},
		{name: "line ends one by one", data: "\n\r\r\n", want: strings.Repeat("data: \n", 4) + "\n"},
		{name: "a space stays", data: " a", want: "data:  a\n\n"},
		{name: "line ends and NUL in names are taken out", id: "1\r\n2\x00", event: "\nx\ndata: y\r", data: "a", want: "id: 12\nevent: xdata: y\ndata: a\n\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := AppendEvent([]byte("before"), tc.id, tc.event, []byte(tc.data))
			if string(got) != "before"+tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAppendComment(t *testing.T) {
	for text, want := range map[string]string{
		"keep-alive": ": keep-alive\n",
		"":           ": \n",
		"a\ndata: b": ": a\n: data: b\n",
	} {
		got := AppendComment([]byte("data: x\n\n"), text)
		if string(got) != "data: x\n\n"+want {
			t.Errorf("got %q, want %q", got, want)
		}
		if evs, flushed := parse(t, string(got)); !slices.Equal(evs, []seen{{Data: "x"}}) || flushed != nil {
			t.Errorf("the comment %q is read as %q and %q", text, evs, flushed)
		}
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	data := []byte(`{"sessionId":"0198f","role":"assistant","content":"Hello","tenantId":"acme","traceId":"0198f"}`)
	buf := make([]byte, 0, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEvent(buf[:0], "0198f:1", "", data)
	}
}

var (
	lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")
	unnamed  = strings.NewReplacer("\r", "", "\n", "", "\x00", "")
)

func FuzzEncodeDecode(f *testing.F) {
	f.Add("1", "done", []byte(`{"done":true}`), "keep-alive", 3)
	f.Add("", "", []byte(""), "", 0)
	f.Add(" 1", " x:y", []byte(" a\r\n\r\rb\n"), "a\rdata: b", 1)
	f.Add("\x00", "\r\n", []byte("\xef\xbb\xbf"), "\xef\xbb\xbf", 7)
	f.Fuzz(func(t *testing.T, id, event string, data []byte, comment string, split int) {
		var out []byte
		out = AppendComment(out, comment)
		out = AppendEvent(out, id, event, data)
		out = AppendComment(out, comment)
		out = AppendEvent(out, "", "", []byte("last"))

		want := seen{unnamed.Replace(id), unnamed.Replace(event), lineEnds.Replace(string(data))}
		last := seen{ID: want.ID, Data: "last"}

		if split %= len(out); split < 0 {
			split = -split
		}
		evs, flushed := parse(t, string(out[:split]), string(out[split:]))
		if !slices.Equal(evs, []seen{want, last}) || flushed != nil {
			t.Fatalf("%q\ngot  %q and %q\nwant %q", out, evs, flushed, []seen{want, last})
		}
	})
}

// TestReuse drops the buffer of one huge event, which a stream would otherwise
// hold until its end.
func TestReuse(t *testing.T) {
	small := Reuse(make([]byte, 100, 4096))
	if len(small) != 0 || cap(small) != 4096 {
		t.Errorf("small: len %d, cap %d", len(small), cap(small))
	}
	if huge := Reuse(make([]byte, 100, 8<<20)); huge != nil {
		t.Errorf("huge: cap %d, want it dropped", cap(huge))
	}
}
