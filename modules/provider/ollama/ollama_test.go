package ollama

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func newOllama(t testing.TB, u upstream.Upstream) *Ollama {
	t.Helper()
	return providertest.Provisioned(t, &Ollama{Upstream: u})
}

func newProvider(t *testing.T, baseURL string) provider.Provider {
	return newOllama(t, upstream.Upstream{BaseURL: baseURL})
}

func TestRecordings(t *testing.T) {
	t.Run("own", func(t *testing.T) {
		providertest.Run(t, newProvider, providertest.Load(t, "testdata", "ollama"))
	})
	t.Run("shared", func(t *testing.T) {
		providertest.Run(t, newProvider, providertest.Load(t, providertest.Folder(t), "ollama"))
	})
}

// TestOtherWay asks for a stream from a server that answers whole, and the
// other way around.
func TestOtherWay(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for _, rec := range providertest.Load(t, "testdata", "ollama") {
		t.Run(rec.Name, func(t *testing.T) {
			replay.Play(rec, providertest.Bytes)
			switch rec.Kind {
			case "plain":
				rec.Check(t, providertest.Stream(t.Context(), t, p))
				var indented bytes.Buffer
				json.Indent(&indented, rec.Body, "", "  ")
				replay.Answer(200, nil, indented.Bytes(), providertest.Whole)
				rec.Check(t, providertest.Stream(t.Context(), t, p))
				rec.Check(t, providertest.Complete(t.Context(), t, p))
			case "stream":
				a := providertest.Complete(t.Context(), t, p)
				if len(rec.Expected.Errors) == 0 {
					rec.Check(t, a)
				} else if _, ok := errors.AsType[*provider.Error](a.Err); !ok {
					t.Errorf("got %v, want the error in the stream", a.Err)
				}
			}
		})
	}
}

func TestOddAnswers(t *testing.T) {
	const (
		say  = `{"model":"m","message":{"role":"assistant","content":"hi"},"done":false}` + "\n"
		stop = `{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}` + "\n"
	)
	for _, tc := range []struct {
		name, typ, body string
		text, finish    string
		is              error           // what Stream ends with
		reason          provider.Reason // if it is a *provider.Error
		fails           bool
		skipped         int
	}{
		{name: "another content type", typ: "text/html", body: say + stop, text: "hi", finish: "stop"},
		{name: "byte order mark", body: "\xef\xbb\xbf" + say + stop, text: "hi", finish: "stop"},
		{name: "not JSON is skipped", body: "hello\n" + say + "[1]\n" + stop, text: "hi", finish: "stop", skipped: 2},
		{name: "a line that is not whole", body: say + "{\n" + stop, text: "hi", is: provider.ErrCut, skipped: 1},
		{name: "what is unknown is ignored", body: `{"status":"loading"}` + "\n" + say + `{"model":"m","progress":1}` + "\n" + stop, text: "hi", finish: "stop"},
		{name: "reason left out", body: say + `{"done":true}`, text: "hi", finish: "stop"},
		{name: "nothing but loaded", body: `{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}`, finish: "stop"},
		{name: "goes on after the end", body: say + stop + `{"error":"late"}` + "\n", text: "hi", finish: "stop"},
		{name: "empty", is: provider.ErrCut},
		{name: "cut in a line", body: say + say[:30], text: "hi", is: provider.ErrCut, skipped: 1},
		{name: "cut in the first line", body: say[:30], is: provider.ErrCut, skipped: 1},
		{name: "html", typ: "text/html", body: "<html>\n<p>Sign in</p>\n", fails: true, reason: provider.ReasonBadAnswer, skipped: 2},
		{name: "JSON of another kind", body: "[\n1\n]", fails: true, reason: provider.ReasonBadAnswer, skipped: 3},
		{name: "error with status 200", typ: "application/json", body: `{"error":"model requires more system memory"}`, fails: true, reason: provider.ReasonUnavailable},
		{name: "error with a status in it", body: say + `{"error":"slow down","status":429}` + "\n", text: "hi", fails: true, reason: provider.ReasonRateLimited},
		{name: "error over several lines", body: "{\n \"error\": \"boom\"\n}", fails: true, reason: provider.ReasonUnavailable, skipped: 3},
		{name: "context", body: `{"error":"the prompt exceeds the context length of the model"}`, fails: true, reason: provider.ReasonContextLength},
		{name: "brackets", body: strings.Repeat("[", 1<<20), fails: false, is: provider.ErrCut, skipped: 1},
		{name: "long line", body: `{"x":"` + strings.Repeat("x", upstream.MaxEvent), fails: true, reason: provider.ReasonBadAnswer},
		{name: "members of other types", body: `{"model":7,"message":{"content":["x"],"thinking":1,"tool_calls":"x"},"done":"yes"}` + "\n" + say + stop, text: "hi", finish: "stop"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(200, http.Header{"Content-Type": {tc.typ}}, []byte(tc.body), providertest.Whole)
			s, err := newProvider(t, replay.URL).Stream(t.Context(), &provider.Request{Body: []byte(`{"messages":[]}`)})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var text, finish string
			for {
				var c *provider.Chunk
				if c, err = s.Next(); err != nil {
					break
				}
				text += c.Text
				finish += c.FinishReason
			}
			if text != tc.text || finish != tc.finish || s.Skipped() != tc.skipped {
				t.Errorf("text %q, finish %q, %d skipped", text, finish, s.Skipped())
			}
			perr, failed := errors.AsType[*provider.Error](err)
			if failed != tc.fails || failed && perr.Reason != tc.reason {
				t.Errorf("failed with %v, want reason %d", err, tc.reason)
			}
			if !tc.fails && tc.is == nil {
				tc.is = io.EOF
			}
			if !tc.fails && !errors.Is(err, tc.is) {
				t.Errorf("ended with %v, want %v", err, tc.is)
			}
		})
	}
}

func TestToolCallsWithoutIDs(t *testing.T) {
	const call = `{"function":{"name":"f","arguments":{"a": 1,` + "\t" + `"b":[ ]}}}`
	body := `{"message":{"tool_calls":[` + call + `,` + call + `]}}` + "\n" +
		`{"message":{"tool_calls":[{"function":{"name":"g","arguments":"{\"x\":1}"}},{"function":{"name":"h"}}]},"done":true,"done_reason":"stop"}`
	replay := providertest.NewReplay(t)
	replay.Answer(200, nil, []byte(body), providertest.Whole)
	p := newProvider(t, replay.URL)
	for name, a := range map[string]providertest.Answer{
		"streamed": providertest.Stream(t.Context(), t, p),
		"whole":    providertest.Complete(t.Context(), t, p),
	} {
		if a.Err != nil || a.Finish != "tool_calls" || len(a.ToolCalls) != 4 {
			t.Fatalf("%s: %+v", name, a)
		}
		seen := make(map[string]bool)
		for i, want := range []string{`{"a":1,"b":[]}`, `{"a":1,"b":[]}`, `{"x":1}`, `{}`} {
			c := a.ToolCalls[i]
			if !strings.HasPrefix(c.ID, "call_") || len(c.ID) > 40 || seen[c.ID] {
				t.Errorf("%s: the id of call %d is %q", name, i, c.ID)
			}
			seen[c.ID] = true
			if c.Arguments != want {
				t.Errorf("%s: arguments %s, want %s", name, c.Arguments, want)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	for counts, want := range map[string]*provider.Usage{
		`"prompt_eval_count":3,"eval_count":4`:      {Input: 3, Output: 4},
		`"prompt_eval_count":3`:                     {Input: 3},
		`"eval_count":4`:                            nil,
		`"prompt_eval_count":-3,"eval_count":4`:     nil,
		`"prompt_eval_count":3,"eval_count":-4`:     {Input: 3},
		`"prompt_eval_count":"3"`:                   nil,
		`"prompt_eval_count":1e30,"eval_count":1e9`: {Input: 1 << 40, Output: 1e9},
	} {
		p, ok, err := readPart([]byte(`{"done":true,` + counts + `}`))
		if !ok || err != nil || (p.usage == nil) != (want == nil) || want != nil && *p.usage != *want {
			t.Errorf("%s: %+v, %v", counts, p.usage, err)
		}
	}
}

func TestRequest(t *testing.T) {
	replay := providertest.NewReplay(t)
	replay.Answer(200, nil, []byte(`{"done":true}`), providertest.Whole)
	for _, tc := range []struct{ own, tenants, want string }{{"", "", ""}, {"own", "", "Bearer own"}, {"own", "tenant's", "Bearer tenant's"}} {
		before, _ := replay.Requests()
		o := newOllama(t, upstream.Upstream{BaseURL: replay.URL + "/", APIKey: tc.own})
		s, err := o.Stream(t.Context(), &provider.Request{Model: "m", Body: []byte(`{"messages":[]}`), APIKey: tc.tenants, TraceID: "t-1"})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		requests, _ := replay.Requests()
		req := requests[len(before)]
		if req.URL.Path != "/api/chat" || req.Header.Get("Authorization") != tc.want || req.Header.Get("Accept") != "application/x-ndjson" || req.Header.Get("X-Request-Id") != "t-1" {
			t.Errorf("called %s with %v", req.URL.Path, req.Header)
		}
	}
	if base := newOllama(t, upstream.Upstream{}).Base(); base != "http://127.0.0.1:11434" {
		t.Errorf("default base URL %s", base)
	}
}

func TestContinue(t *testing.T) {
	if newOllama(t, upstream.Upstream{}).Continues("llama3.1") || !newOllama(t, upstream.Upstream{Continue: new(true)}).Continues("llama3.1") {
		t.Error("want models to continue where the operator says so, and only there")
	}
	body, err := chatBody(&provider.Request{Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`), Continue: "He"}, true)
	if err != nil || gjson.GetBytes(body, "messages.1").Raw != `{"role":"assistant","content":"He"}` {
		t.Errorf("got %s, %v", body, err)
	}
	_, err = chatBody(&provider.Request{Body: []byte(`{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_object"}}`), Continue: "{"}, true)
	if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnsupported {
		t.Errorf("got %v, want it unsupported", err)
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile[Ollama](t, []providertest.Block{
		{Name: "everything", In: "ollama {\n base_url https://ollama.com\n api_key {env.KEY}\n header X-Team ops\n transport http {\n dial_timeout 2s\n }\n continue on\n}", Want: `{"base_url":"https://ollama.com","api_key":"{env.KEY}","headers":{"X-Team":["ops"]},"transport":{"dial_timeout":2000000000,"protocol":"http"},"continue":true}`},
		{Name: "nothing", In: "ollama", Want: `{}`},
		{Name: "unknown", In: "ollama {\n host x\n}", Err: "unrecognized subdirective 'host': want base_url"},
		{Name: "argument", In: "ollama x", Err: "wrong argument count"},
		{Name: "twice", In: "ollama {\n base_url http://a\n base_url http://b\n}", Err: "base_url is given twice"},
	})
}

// FuzzStream reads anything: the result must be the same in one piece and byte
// by byte, and every chunk must be JSON.
func FuzzStream(f *testing.F) {
	for _, body := range []string{
		`{"message":{"content":"hi"}}` + "\n" + `{"done":true,"done_reason":"stop","prompt_eval_count":1}`,
		"{\r\n\"message\":{\"thinking\":\"x\"},\r\n\"done\":true}", `{"error":"x","status":429}`, "x\n\n{}\n[",
		`{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":{"x":1}}}]},"done":true}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		read := func(r io.Reader) (texts string, chunks int, last string) {
			s := newStream(t.Context(), &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(r)}, "m")
			defer s.Close()
			for {
				c, err := s.Next()
				if err != nil {
					return texts, chunks, err.Error()
				}
				if !json.Valid(c.Raw) || bytes.ContainsAny(c.Raw, "\r\n") {
					t.Fatalf("%q is not JSON on one line", c.Raw)
				}
				texts += c.Text
				chunks++
			}
		}
		texts, chunks, last := read(bytes.NewReader(body))
		texts2, chunks2, last2 := read(iotest.OneByteReader(bytes.NewReader(body)))
		if texts != texts2 || chunks != chunks2 || last != last2 {
			t.Errorf("%q, %d, %s\nbyte by byte %q, %d, %s", texts, chunks, last, texts2, chunks2, last2)
		}
	})
}
