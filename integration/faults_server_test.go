package integration

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// post calls a target without any gateway between.
func (f *target) post(body string) (*http.Response, error) {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	f.t.Cleanup(tr.CloseIdleConnections)
	cl := &http.Client{Transport: tr}
	return cl.Post(f.url+"/chat/completions", "application/json", strings.NewReader(body))
}

// TestFaultServer checks that the targets of the tests do what is said of
// them.
func TestFaultServer(t *testing.T) {
	const ask = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	pace := make(chan struct{})
	close(pace)
	for _, tc := range []struct {
		name   string
		do     behaviour
		fails  error  // before the header
		breaks error  // in the body
		body   string // what it ends with, as far as it came
	}{
		{name: "says", do: says(7, 3, "Hel", "lo"), body: endMark},
		{name: "eof", do: steps(begins("Hel"), eof), body: wire{"one-1", "m"}.text("Hel")},
		{name: "reset before the header", do: reset, fails: syscall.ECONNRESET},
		{name: "reset in the middle", do: steps(begins("Hel"), reset), breaks: syscall.ECONNRESET, body: wire{"one-1", "m"}.text("Hel")},
		{name: "torn off before the header", do: tornOff, fails: io.EOF},
		{name: "torn off in the middle", do: steps(begins("Hel"), tornOff), breaks: io.ErrUnexpectedEOF, body: wire{"one-1", "m"}.text("Hel")},
		{name: "half an event", do: steps(begins("Hel"), halfEvent), body: "gr\xc3"},
		{name: "trickles", do: trickles(pace, func(w wire) []string { return w.whole(7, 3, "Hel") }), body: endMark},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one := newTarget(t, "one", tc.do)
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
	t.Run("the script, whose last line repeats", func(t *testing.T) {
		one := newTarget(t, "one", refuses(503, "x"), refuses(429, "x", "Retry-After", "7"), says(7, 3, "Hello"))
		for _, want := range []int{503, 429, 200, 200} {
			resp, err := one.post(`{"model":"m"}`)
			if err != nil {
				t.Fatal(err)
			}
			if text := readAll(t, resp); resp.StatusCode != want || want == 200 && !strings.Contains(text, `"content":"Hello"`) {
				t.Errorf("%d %s, want %d", resp.StatusCode, text, want)
			}
		}
		if one.count() != 4 {
			t.Errorf("%d calls are counted", one.count())
		}
	})
	t.Run("a model that goes on from where it was", func(t *testing.T) {
		one := newTarget(t, "one", knows(7, 3, "Hello world"))
		resp, err := one.post(`{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hello wo"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		if text := readAll(t, resp); !strings.Contains(text, `"content":"rld"`) {
			t.Error(text)
		}
	})
	t.Run("down and up again", func(t *testing.T) {
		one := newTarget(t, "one", says(7, 3, "Hello"))
		one.down()
		if _, err := one.post(ask); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want a refused connection", err)
		}
		one.up()
		resp, err := one.post(ask)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	})
}
