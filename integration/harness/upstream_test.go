package harness

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// post calls an upstream directly.
func (f *Upstream) post(body string) (*http.Response, error) {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	f.t.Cleanup(tr.CloseIdleConnections)
	cl := &http.Client{Transport: tr}
	return cl.Post(f.URL+"/chat/completions", "application/json", strings.NewReader(body))
}

// fakeTest is a test whose Fatalf is recorded.
type fakeTest struct {
	testing.TB
	failed bool
}

func (f *fakeTest) Fatalf(string, ...any) {
	f.failed = true
	runtime.Goexit()
}

// TestUpstream checks that scripts do what their comments say.
func TestUpstream(t *testing.T) {
	const ask = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	pace := make(chan struct{})
	close(pace)
	for _, tc := range []struct {
		name   string
		do     Script
		fails  error  // before the header
		breaks error  // in the body
		body   string // the end of what arrived
	}{
		{name: "says", do: Says(7, 3, "Hel", "lo"), body: EndMark},
		{name: "eof", do: Steps(Begins("Hel"), EOF), body: Wire{"one-1", "m"}.Text("Hel")},
		{name: "reset before the header", do: Reset, fails: syscall.ECONNRESET},
		{name: "reset mid-stream", do: Steps(Begins("Hel"), Reset), breaks: syscall.ECONNRESET, body: Wire{"one-1", "m"}.Text("Hel")},
		{name: "torn off before the header", do: TornOff, fails: io.EOF},
		{name: "torn off mid-stream", do: Steps(Begins("Hel"), TornOff), breaks: io.ErrUnexpectedEOF, body: Wire{"one-1", "m"}.Text("Hel")},
		{name: "half an event", do: Steps(Begins("Hel"), HalfEvent), body: "gr\xc3"},
		{name: "trickles", do: Trickles(pace, func(w Wire) []string { return w.Whole(7, 3, "Hel") }), body: EndMark},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one := NewTarget(t, "one", tc.do)
			resp, err := one.post(ask)
			if !errors.Is(err, tc.fails) {
				t.Fatalf("failed with %v, want %v", err, tc.fails)
			}
			if err != nil {
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if !errors.Is(err, tc.breaks) || !strings.HasSuffix(string(body), tc.body) {
				t.Errorf("got %q, %v; want %q, %v", body, err, tc.body, tc.breaks)
			}
		})
	}
	t.Run("the last entry of a script repeats", func(t *testing.T) {
		one := NewTarget(t, "one", Refuses(503, "x"), Refuses(429, "x", "Retry-After", "7"), Says(7, 3, "Hello"))
		for _, want := range []int{503, 429, 200, 200} {
			resp, err := one.post(`{"model":"m"}`)
			if err != nil {
				t.Fatal(err)
			}
			if text := ReadAll(t, resp); resp.StatusCode != want || want == 200 && !strings.Contains(text, `"content":"Hello"`) {
				t.Errorf("%d %s, want %d", resp.StatusCode, text, want)
			}
		}
		if one.Count() != 4 {
			t.Errorf("%d calls are counted", one.Count())
		}
	})
	t.Run("a model continues an assistant message", func(t *testing.T) {
		one := NewTarget(t, "one", Knows(7, 3, "Hello world"))
		resp, err := one.post(`{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hello wo"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		if text := ReadAll(t, resp); !strings.Contains(text, `"content":"rld"`) {
			t.Error(text)
		}
	})
	t.Run("failures go to the test that For names", func(t *testing.T) {
		sub := &fakeTest{TB: t}
		one := NewTarget(t, "one").For(sub)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			one.Only()
		}()
		<-ended
		if !sub.failed {
			t.Error("the test did not fail")
		}

		answered := make(chan error, 1)
		go func() {
			resp, err := one.post(ask)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			answered <- err
		}()
		call := one.Call()
		if call.T != sub {
			t.Error("the call belongs to another test")
		}
		call.Answer("Hello")
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})

	t.Run("down and up again", func(t *testing.T) {
		one := NewTarget(t, "one", Says(7, 3, "Hello"))
		one.Down()
		if _, err := one.post(ask); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want a refused connection", err)
		}
		one.Up()
		resp, err := one.post(ask)
		if err != nil {
			t.Fatal(err)
		}
		ReadAll(t, resp)
	})
}
