package echo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// quick is an Echo that does not wait.
func quick() *Echo { return &Echo{Delay: new(caddy.Duration)} }

func ask(t *testing.T, content string, extra string) *provider.Request {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return &provider.Request{Model: "echo", Body: []byte(`{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":` + string(raw) + `}]` + extra + `}`)}
}

func read(t *testing.T, s provider.Stream) (chunks []provider.Chunk) {
	t.Helper()
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			return chunks
		}
		if err != nil {
			t.Fatal(err)
		}
		kept := *c
		kept.Raw = bytes.Clone(c.Raw) // it is valid until the next chunk
		chunks = append(chunks, kept)
	}
}

func TestEcho(t *testing.T) {
	for _, tc := range []struct {
		name, in, extra, want, finish string
		prompt, output                int64
	}{
		{"words", "one two three", "", "one two three", "stop", 5, 3},
		{"white space", "  one\n\n\ttwo  \u2003three \n", "", "  one\n\n\ttwo  \u2003three \n", "stop", 5, 3},
		{"only white space", " \n ", "", " \n ", "stop", 2, 0},
		{"nothing", "", "", "", "stop", 2, 0},
		{"other scripts", "日本語 <b>&🚀</b>", "", "日本語 <b>&🚀</b>", "stop", 4, 2},
		{"max_tokens", "one two three", `,"max_tokens":2`, "one two", "length", 5, 2},
		{"max_completion_tokens", "one two three ", `,"max_completion_tokens":1`, "one", "length", 5, 1},
		{"just enough", "one two ", `,"max_tokens":2`, "one two ", "stop", 4, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := ask(t, tc.in, tc.extra)
			usage := provider.Usage{Input: tc.prompt, Output: tc.output}

			c, err := quick().Complete(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if c.Text != tc.want || c.FinishReason != tc.finish || *c.Usage != usage {
				t.Errorf("whole: %q, %s, %+v", c.Text, c.FinishReason, *c.Usage)
			}

			s, err := quick().Stream(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			chunks := read(t, s)
			var text strings.Builder
			for _, c := range chunks {
				text.WriteString(c.Text)
			}
			last, end := chunks[len(chunks)-1], chunks[len(chunks)-2]
			if text.String() != tc.want || end.FinishReason != tc.finish || *last.Usage != usage || last.Choices != 0 {
				t.Errorf("stream: %q, %s, %+v", text.String(), end.FinishReason, *last.Usage)
			}
			if role := gjson.GetBytes(chunks[0].Raw, "choices.0.delta.role").Str; role != "assistant" {
				t.Errorf("the first chunk's role is %q", role)
			}
			id := gjson.GetBytes(last.Raw, "id").Str
			for _, c := range chunks {
				root := gjson.ParseBytes(c.Raw)
				if root.Get("object").Str != "chat.completion.chunk" || root.Get("id").Str != id || !strings.HasPrefix(id, "chatcmpl-") || c.Model != "echo" {
					t.Errorf("chunk %s", c.Raw)
				}
			}
		})
	}
}

func TestEchoParts(t *testing.T) {
	req := &provider.Request{Body: []byte(`{"messages":[
		{"role":"user","content":"first"},
		{"role":"assistant","content":null,"tool_calls":[]},
		{"role":"user","content":[{"type":"text","text":"a "},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"b"}]},
		{"role":"assistant","content":"last"}]}`)}
	c, err := quick().Complete(t.Context(), req)
	if err != nil || c.Text != "a b" || c.Usage.Input != 4 {
		t.Errorf("got %+v, %v", c, err)
	}
	c, err = quick().Complete(t.Context(), &provider.Request{Body: []byte(`{"messages":[]}`)})
	if err != nil || c.Text != "" || c.FinishReason != "stop" {
		t.Errorf("without a question: %+v, %v", c, err)
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s, _ := new(Echo).Stream(t.Context(), ask(t, "one two three", ""))
		read(t, s)
		if got := time.Since(start); got != 60*time.Millisecond {
			t.Errorf("three words took %v, want 60ms", got)
		}
	})
}

// TestBeforeRead: a stream waits before every word but the first, and announces
// that after it has returned the word before.
func TestBeforeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		req := ask(t, "one two three", "")
		var said string
		var at []string
		req.BeforeRead = func() { at = append(at, fmt.Sprint(said, " ", time.Since(start))) }
		s, err := new(Echo).Stream(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for {
			c, err := s.Next()
			if err != nil {
				break
			}
			said += c.Text
		}
		if want := []string{"one 0s", "one two 30ms"}; !slices.Equal(at, want) {
			t.Errorf("announced at %q, want %q", at, want)
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("the client went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		s, _ := (&Echo{Delay: new(caddy.Duration(time.Hour))}).Stream(ctx, ask(t, "one two", ""))
		s.Next()
		s.Next()
		go cancel(cause)
		start := time.Now()
		if _, err := s.Next(); !errors.Is(err, cause) || time.Since(start) != 0 {
			t.Errorf("ended with %v after %v, want the cause at once", err, time.Since(start))
		}
	})
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile[Echo](t, []providertest.Block{
		{Name: "default", In: "echo", Want: `{}`},
		{Name: "no_delay", In: "echo {\n delay 0\n}", Want: `{"delay":0}`},
		{Name: "delay", In: "echo {\n delay 1s\n}", Want: `{"delay":1000000000}`},
		{Name: "no_value", In: "echo {\n delay\n}", Err: "wrong argument count"},
		{Name: "negative", In: "echo {\n delay -1s\n}", Err: "want a duration such as 30ms"},
		{Name: "option_of_a_call", In: "echo {\n base_url http://x\n}", Err: "echo has no base_url"},
		{Name: "unknown", In: "echo {\n speed 1\n}", Err: "unrecognized subdirective 'speed'"},
	})
}
