package openai

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// heard is a stream as its reader sees it.
type heard struct {
	chunks  []provider.Chunk
	skipped int
	err     error
}

// madeUp are the ids that a stream makes up where the server gives none.
var madeUp = regexp.MustCompile(`(chatcmpl-|call_)[0-9a-f-]{8,}`)

// withoutNullUsage takes "usage":null out, as the gateway does with every
// chunk before it goes out.
func withoutNullUsage(t testing.TB, c provider.Chunk) provider.Chunk {
	t.Helper()
	c.Raw, c.Regular, c.Plain = madeUp.ReplaceAll(c.Raw, []byte("$1")), false, false
	if c.Usage == nil {
		raw, err := sjson.DeleteBytes(c.Raw, "usage")
		if err != nil {
			t.Fatal(err)
		}
		c.Raw = raw
	}
	return c
}

func listen(t testing.TB, next func() (*provider.Chunk, error), skipped func() int) heard {
	t.Helper()
	var h heard
	for {
		c, err := next()
		if err != nil {
			h.err, h.skipped = err, skipped()
			return h
		}
		h.chunks = append(h.chunks, withoutNullUsage(t, *c))
	}
}

// inFull reads a stream without the short cut for regular chunks.
func inFull(t testing.TB, body []byte) heard {
	t.Helper()
	s := newStream(context.Background(), io.NopCloser(bytes.NewReader(body)))
	return listen(t, func() (*provider.Chunk, error) {
		for {
			ev, err := s.dec.Next()
			if err != nil {
				return nil, s.ended(err)
			}
			data := bytes.TrimSpace(ev.Data)
			if len(data) == 0 {
				continue
			}
			if s.err != nil || string(data) == provider.EndMark {
				if s.err != nil {
					return nil, s.err
				}
				return s.last()
			}
			chunk, err := s.chunk(ev.Type, data)
			switch {
			case err != nil:
				return nil, err
			case chunk == nil:
				s.skipped++
			case len(chunk.Raw) > 0:
				return chunk, nil
			}
		}
	}, func() int { return s.skipped })
}

// checkShortCut holds the short cut for regular chunks against the long way.
func checkShortCut(t testing.TB, body []byte) {
	t.Helper()
	s := newStream(context.Background(), io.NopCloser(bytes.NewReader(body)))
	regular := 0
	got := listen(t, func() (*provider.Chunk, error) {
		c, err := s.Next()
		if err == nil && c.Regular {
			regular++
		}
		return c, err
	}, s.Skipped)
	want := inFull(t, body)
	if fmt.Sprint(got.err) != fmt.Sprint(want.err) || got.skipped != want.skipped || len(got.chunks) != len(want.chunks) {
		t.Fatalf("%d chunks, %d skipped, %v; want %d, %d, %v\n%q", len(got.chunks), got.skipped, got.err, len(want.chunks), want.skipped, want.err, body)
	}
	for i, c := range got.chunks {
		if !reflect.DeepEqual(c, want.chunks[i]) {
			t.Fatalf("chunk %d: %s %+v\nwant %s %+v", i, c.Raw, c.Facts, want.chunks[i].Raw, want.chunks[i].Facts)
		}
	}
}

const begins = `data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"

func TestRegularChunks(t *testing.T) {
	const chunk = `{"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}`
	for _, tc := range []struct {
		name, chunk string
		regular     bool
	}{
		{"text", chunk, true},
		{"another answer's id", strings.Replace(chunk, `"id":"1"`, `"id":"2"`, 1), false},
		{"without an id", strings.Replace(chunk, `"id":"1",`, ``, 1), false},
		{"a second choice", strings.Replace(chunk, `"index":0`, `"index":1`, 1), false},
		{"a finish", strings.Replace(chunk, `"finish_reason":null`, `"finish_reason":"stop"`, 1), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := []byte(begins + "data: " + tc.chunk + "\n\ndata: " + tc.chunk + "\n\ndata: [DONE]\n\n")
			checkShortCut(t, body)
			s := newStream(t.Context(), io.NopCloser(bytes.NewReader(body)))
			if first, err := s.Next(); err != nil || !first.Regular {
				t.Errorf("the first chunk: %+v, %v", first, err)
			}
			if second, err := s.Next(); err != nil || second.Regular != tc.regular {
				t.Errorf("%+v, %v", second, err)
			}
		})
	}
	t.Run("the first one without a role", func(t *testing.T) {
		checkShortCut(t, []byte("data: "+chunk+"\n\ndata: "+chunk+"\n\ndata: [DONE]\n\n"))
	})
	t.Run("the first one without an id", func(t *testing.T) {
		first := strings.Replace(begins, `"id":"1",`, "", 1)
		checkShortCut(t, []byte(first+"data: "+chunk+"\n\ndata: [DONE]\n\n"))
	})
	t.Run("no finish", func(t *testing.T) {
		checkShortCut(t, []byte(strings.Replace(begins, `}]}`, `}],"usage":null}`, 1)+"data: [DONE]\n\n"))
	})
	t.Run("behind the finish", func(t *testing.T) {
		finish := strings.Replace(chunk, `"finish_reason":null`, `"finish_reason":"stop"`, 1)
		checkShortCut(t, []byte(begins+"data: "+finish+"\n\ndata: "+chunk+"\n\n"))
	})
	t.Run("an event called error", func(t *testing.T) {
		checkShortCut(t, []byte(begins+"event: error\ndata: "+chunk+"\n\n"))
	})
}

// TestRegularRecordings holds every recorded stream, and mutations of its
// chunks, against the long way.
func TestRegularRecordings(t *testing.T) {
	for _, rec := range providertest.Load(t, providertest.Folder(t), "openai") {
		if rec.Kind != "stream" {
			continue
		}
		t.Run(rec.Name, func(t *testing.T) {
			checkShortCut(t, rec.Body)
			begin := rec.Body[:min(len(rec.Body), 3000)]
			for i := 0; i < len(begin); i += 29 {
				mutated := bytes.Clone(begin)
				mutated[i] = "\"},0"[i%4]
				checkShortCut(t, mutated)
			}
		})
	}
}

func FuzzRegular(f *testing.F) {
	f.Add([]byte(begins))
	f.Add([]byte(begins + `data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"\u00e9"},"finish_reason":null}],"usage":null}` + "\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) { checkShortCut(t, body) })
}

// TestRegularChunkAllocations is the bound of the chunk path: the text of a
// regular chunk, and nothing else.
func TestRegularChunkAllocations(t *testing.T) {
	const chunks = 1000
	chunk := `data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"
	body := []byte(begins + strings.Repeat(chunk, chunks))
	read := func() {
		s := newStream(t.Context(), io.NopCloser(bytes.NewReader(body)))
		for range chunks + 1 {
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(10, read); n > 1.1*chunks {
		t.Errorf("%v allocations for %d chunks", n, chunks)
	}
}

func BenchmarkStream(b *testing.B) {
	const chunks = 64
	chunk := `data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"
	body := []byte(begins + strings.Repeat(chunk, chunks))
	b.ReportAllocs()
	for b.Loop() {
		s := newStream(b.Context(), io.NopCloser(bytes.NewReader(body)))
		for range chunks {
			if _, err := s.Next(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
