package aigateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestBatches has a provider that says when it has to be waited for: what came
// before goes out in one write, and nothing waits for what has not come.
func TestBatches(t *testing.T) {
	w := &countingWriter{ResponseRecorder: httptest.NewRecorder()}
	var seen []string
	look := func(do step) step {
		return func(ctx context.Context) (*provider.Chunk, error) {
			seen = append(seen, read(w.ResponseRecorder).text)
			return do(ctx)
		}
	}
	one := &script{replies: []reply{{
		steps: []step{text("Once "), text("upon "), look(text("a ")), text("time"), look(finish("stop")), end},
		reads: []int{0, 2, 4},
	}}}
	h := newGateway(t, `{}`, one)
	serve(t, h, w, newRequest(t.Context(), streamed))
	a := read(w.ResponseRecorder)
	a.wantWhole(t, "Once upon a time")
	if len(seen) != 2 || seen[0] != "Once upon " || seen[1] != "Once upon a time" {
		t.Errorf("before the reads the client had %q", seen)
	}
	if w.writes != 3 || w.flushes != 3 {
		t.Errorf("%d writes and %d flushes for 3 reads", w.writes, w.flushes)
	}
}

type countingWriter struct {
	*httptest.ResponseRecorder
	writes, flushes int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes++
	return w.ResponseRecorder.Write(p)
}

func (w *countingWriter) Flush() { w.flushes++ }

// TestChunkAllocations bounds what a regular chunk costs on its way through
// the gateway: nothing but the text that is kept for a rescue.
func TestChunkAllocations(t *testing.T) {
	allocs := func(n int) float64 {
		steps := make([]step, 0, n+2)
		chunk := &provider.Chunk{
			Raw:     []byte(`{"id":"id-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}`),
			Facts:   provider.Facts{Text: "a", Content: true, OutputBytes: 1, Choices: 1, Model: "m"},
			Regular: true,
		}
		for range n {
			steps = append(steps, func(context.Context) (*provider.Chunk, error) { return chunk, nil })
		}
		steps = append(steps, finish("stop"), end)
		h := newGateway(t, `{}`, &script{replies: []reply{{steps: steps, reads: []int{0}}}})
		return testing.AllocsPerRun(5, func() {
			serve(t, h, &discard{header: make(http.Header)}, newRequest(t.Context(), streamed))
		})
	}
	const n = 2000
	if a := (allocs(2*n) - allocs(n)) / n; a > 0.1 {
		t.Errorf("%.2f allocations a chunk", a)
	}
}

// discard is a client that reads everything.
type discard struct{ header http.Header }

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) WriteHeader(int)             {}
func (w *discard) Write(p []byte) (int, error) { return len(p), nil }
func (w *discard) Flush()                      {}
