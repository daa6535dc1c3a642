package providertest

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// reads checks that a stream calls provider.Request.BeforeRead, and that it
// holds nothing back. The server sends an event only after the stream has
// returned everything in the events before it and then announced a read. A
// stream that holds something back, or does not announce a read, waits for
// ever.
func reads(t *testing.T, d *Dialect) {
	r := hi
	r.Parts = slices.Clone(hi.Parts)
	if d.has(HasReasoning) {
		r.Parts = slices.Insert(r.Parts, 0, Part{Reasoning: "hm "}, Part{Reasoning: "ö…"})
	}
	r.Parts = append(r.Parts, Part{Call: 1, ID: "call_a", Name: "weather", Arguments: arguments})
	r.Finish = "tool_calls"

	said := d.saidAfter(t, r)
	t.Run("plain", func(t *testing.T) { d.readEvents(t, r, said, false) })
	t.Run("compressed", func(t *testing.T) { d.readEvents(t, r, said, true) })
}

// saidAfter returns what a stream says after no event, after the first one, and
// so on.
func (d *Dialect) saidAfter(t *testing.T, r Reply) []Answer {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	events := d.Events(r)
	said := make([]Answer, 1, len(events)+1)
	for i := range events {
		s.Answer(http.StatusOK, s.streamType(), join(events[:i+1]), Whole)
		said = append(said, streamOf(t.Context(), t, s, s.request(plainBody)))
	}
	return said
}

// readEvents reads a stream whose server waits after each event.
func (d *Dialect) readEvents(t *testing.T, r Reply, said []Answer, compressed bool) {
	events := d.Events(r)
	next := make(chan struct{}, len(events))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Type", d.ContentType)
		out := flushing(w, compressed)
		for _, event := range events {
			select {
			case <-next:
			case <-req.Context().Done():
				return
			}
			out(event)
		}
	}))
	t.Cleanup(srv.Close)
	p := d.New(t, upstream.Upstream{BaseURL: srv.URL, APIKey: configuredKey})

	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var got Answer
	var sent atomic.Int32
	req := d.request(plainBody)
	req.BeforeRead = func() {
		if n := int(sent.Load()); n < len(events) && got.saysAll(said[n]) {
			sent.Add(1)
			next <- struct{}{}
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- got.read(ctx, p, req) }()
	select {
	case err := <-ended:
		if err != nil || !got.saysAll(said[len(events)]) {
			t.Errorf("said %q, %d bytes of output and finish %q, and ended with %v", got.Text, got.OutputBytes, got.Finish, err)
		}
	case <-time.After(patience):
		cancel(nil)
		<-ended
		want := said[sent.Load()]
		t.Fatalf("after event %d of %d the stream waits with %q, %d bytes of output and finish %q; want %q, %d and %q, and an announcement",
			sent.Load(), len(events), got.Text, got.OutputBytes, got.Finish, want.Text, want.OutputBytes, want.Finish)
	}
}

// flushing begins an answer and returns a function that sends a part of it at
// once.
func flushing(w http.ResponseWriter, compressed bool) func([]byte) {
	rc := http.NewResponseController(w)
	if !compressed {
		rc.Flush()
		return func(b []byte) {
			w.Write(b)
			rc.Flush()
		}
	}
	w.Header().Set("Content-Encoding", "gzip")
	rc.Flush()
	zw := gzip.NewWriter(w)
	return func(b []byte) {
		zw.Write(b)
		zw.Flush()
		rc.Flush()
	}
}

// read reads a stream to its end, and adds up what its chunks say.
func (a *Answer) read(ctx context.Context, p provider.Provider, req *provider.Request) error {
	s, err := p.Stream(ctx, req)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		a.facts(c.Facts)
	}
}

// saysAll says whether an answer has come as far as another one.
func (a *Answer) saysAll(of Answer) bool {
	return a.Text == of.Text && a.OutputBytes == of.OutputBytes && a.Finish == of.Finish && (a.Counted == nil) == (of.Counted == nil)
}
