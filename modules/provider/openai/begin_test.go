package openai

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

const asked = `{"messages":[{"role":"user","content":"hi"}],"seed":1}`

func TestContinues(t *testing.T) {
	for _, tc := range []struct {
		base, model string
		said        *bool
		want        bool
	}{
		{"https://api.openai.com/v1", "gpt-4o", nil, false},
		{"https://api.mistral.ai/v1", "mistral-large-latest", nil, true},
		{"https://api.mistral.ai/v1", "magistral-medium-latest", nil, false},
		{"https://api.mistral.ai.evil/v1", "mistral-large-latest", nil, false},
		{"https://api.deepseek.com/v1", "deepseek-chat", nil, false},
		{"https://api.deepseek.com/beta", "deepseek-chat", nil, true},
		{"https://api.deepseek.com/beta/v1", "deepseek-chat", nil, true},
		{"https://api.deepseek.com/betas", "deepseek-chat", nil, false},
		{"http://127.0.0.1:8000/v1", "llama", nil, false},
		{"http://127.0.0.1:8000/v1", "llama", new(true), true},
		{"https://api.mistral.ai/v1", "mistral-large-latest", new(false), false},
	} {
		o := newOpenAI(t, upstream.Upstream{BaseURL: tc.base, Continue: tc.said})
		if got := o.Continues(tc.model); got != tc.want {
			t.Errorf("%s at %s: %v, want %v", tc.model, tc.base, got, tc.want)
		}
	}
}

func TestBegin(t *testing.T) {
	for _, tc := range []struct{ name, base, want string }{
		{"mistral", "https://api.mistral.ai/v1", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"He\"llo","prefix":true}],"seed":1}`},
		{"deepseek", "https://api.deepseek.com/beta", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"He\"llo","prefix":true}],"seed":1}`},
		{"another_server", "http://127.0.0.1:8000/v1", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"He\"llo"}],"seed":1,"continue_final_message":true,"add_generation_prompt":false}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			preq := &provider.Request{Body: []byte(asked), Continue: `He"llo`, TraceID: "t"}
			got, err := begin(preq, newOpenAI(t, upstream.Upstream{BaseURL: tc.base}).beginning())
			if err != nil || string(got.Body) != tc.want || got.TraceID != "t" {
				t.Errorf("\n got %s, %v\nwant %s", got.Body, err, tc.want)
			}
			if string(preq.Body) != asked {
				t.Errorf("the caller's body was changed: %s", preq.Body)
			}
		})
	}
	t.Run("plain", func(t *testing.T) {
		got, err := Begin(&provider.Request{Body: []byte(asked), Continue: "He"})
		if err != nil || gjson.GetBytes(got.Body, "messages.1").Raw != `{"role":"assistant","content":"He"}` || gjson.GetBytes(got.Body, "continue_final_message").Exists() {
			t.Errorf("got %s, %v", got.Body, err)
		}
	})
	t.Run("a_whole_answer_changes_nothing", func(t *testing.T) {
		preq := &provider.Request{Body: []byte(asked)}
		if got, err := begin(preq, beginFinal); got != preq || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("what_cannot_be_continued_is_refused_before_any_call", func(t *testing.T) {
		replay := providertest.NewReplay(t)
		preq := &provider.Request{Continue: "He", Body: []byte(`{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_object"}}`)}
		o := newOpenAI(t, upstream.Upstream{BaseURL: replay.URL})
		_, err := o.Complete(t.Context(), preq)
		_, streamErr := o.Stream(t.Context(), preq)
		for _, err := range []error{err, streamErr} {
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnsupported {
				t.Errorf("got %v, want it unsupported", err)
			}
		}
		if requests, _ := replay.Requests(); len(requests) > 0 {
			t.Errorf("%d calls, want none", len(requests))
		}
	})
}

func init() {
	caddy.RegisterModule(redirected{})
}

// redirected is a transport that sends every call to another server, so that
// the base URL can be one of the known ones.
type redirected struct {
	To string `json:"to"`
}

func (redirected) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.redirected",
		New: func() caddy.Module { return new(redirected) },
	}
}

func (r *redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Scheme, req.URL.Host = "http", r.To
	return http.DefaultTransport.RoundTrip(req)
}

// read reads a stream whose chunks and facts agree to its end.
func read(t *testing.T, s provider.Stream) (text, finish string, err error) {
	t.Helper()
	defer s.Close()
	for {
		c, err := s.Next()
		if err != nil {
			if _, again := s.Next(); again == nil || again.Error() != err.Error() {
				t.Errorf("ended with %v, then with %v", err, again)
			}
			return text, finish, err
		}
		if got := gjson.GetBytes(c.Raw, "choices.0.delta.content").Str; got != c.Text {
			t.Errorf("the chunk says %q, its facts %q", got, c.Text)
		}
		text += c.Text
		finish += c.FinishReason
	}
}

func TestEcho(t *testing.T) {
	chunks := func(finish string, texts ...string) string {
		var b strings.Builder
		b.WriteString(`data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n")
		for i, text := range texts {
			reason := "null"
			if i == len(texts)-1 && finish != "" {
				reason = `"` + finish + `"`
			}
			b.WriteString(`data: {"choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":` + reason + `}]}` + "\n\n")
		}
		return b.String()
	}
	replay := providertest.NewReplay(t)
	preq := &provider.Request{Body: []byte(asked), Continue: "Grüße, "}
	o := newOpenAI(t, upstream.Upstream{
		BaseURL:      "https://api.mistral.ai/v1",
		TransportRaw: json.RawMessage(`{"protocol":"redirected","to":"` + strings.TrimPrefix(replay.URL, "http://") + `"}`),
	})
	for _, tc := range []struct {
		name, body   string
		text, finish string
		is           error
		bad          bool
	}{
		{"in_one_piece", chunks("stop", "Grüße, ", "Welt"), "Welt", "stop", io.EOF, false},
		{"in_pieces", chunks("stop", "Gr", "ü", "ße", ", Wel", "t"), "Welt", "stop", io.EOF, false},
		{"its_space_moved_to_the_next_piece", chunks("stop", "Grüße,", " Welt"), "Welt", "stop", io.EOF, false},
		{"said_twice_by_the_model", chunks("stop", "Grüße, ", "Grüße, "), "Grüße, ", "stop", io.EOF, false},
		{"nothing_behind_it", chunks("length", "Grüße, "), "", "length", io.EOF, false},
		{"nothing_in_its_place", chunks("stop", "Hallo Welt"), "", "", nil, true},
		{"another_end", chunks("stop", "Grüße", "! Welt"), "", "", nil, true},
		{"only_its_beginning", chunks("stop", "Grü"), "", "", nil, true},
		{"none_before_the_mark", chunks("", "Grü") + "data: [DONE]\n\n", "", "", nil, true},
		{"cut_in_it", chunks("", "Grü"), "", "", provider.ErrCut, false},
		{"cut_behind_it", chunks("", "Grüße, ", "We"), "We", "", provider.ErrCut, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay.Answer(200, http.Header{"Content-Type": {"text/event-stream"}}, []byte(tc.body), providertest.Whole)
			in, err := o.Stream(t.Context(), preq)
			if err != nil {
				t.Fatal(err)
			}
			text, finish, err := read(t, in)
			if text != tc.text || finish != tc.finish {
				t.Errorf("text %q and finish %q, want %q and %q", text, finish, tc.text, tc.finish)
			}
			e, bad := errors.AsType[*provider.Error](err)
			if bad != tc.bad || bad && e.Reason != provider.ReasonBadAnswer || !bad && !errors.Is(err, tc.is) {
				t.Errorf("ended with %v, want %v", err, tc.is)
			}
		})
	}
	t.Run("asked_for_once", func(t *testing.T) {
		_, bodies := replay.Requests()
		if want := `{"role":"assistant","content":"Grüße, ","prefix":true}`; gjson.GetBytes(bodies[0], "messages.1").Raw != want {
			t.Errorf("sent %s, want %s in it", bodies[0], want)
		}
	})
	t.Run("an_answer_from_the_beginning_has_none", func(t *testing.T) {
		replay.Answer(200, nil, []byte(chunks("stop", "Hallo")), providertest.Whole)
		in, err := o.Stream(t.Context(), &provider.Request{Body: []byte(asked)})
		if err != nil {
			t.Fatal(err)
		}
		if text, _, err := read(t, in); text != "Hallo" || !errors.Is(err, io.EOF) {
			t.Errorf("text %q, %v", text, err)
		}
	})
	t.Run("whole", func(t *testing.T) {
		for text, want := range map[string]string{"Grüße, Welt": "Welt", "Grüße, ": "", "Hallo": "-"} {
			replay.Answer(200, nil, []byte(`{"choices":[{"message":{"content":"`+text+`"},"finish_reason":"stop"}]}`), providertest.Whole)
			c, err := o.Complete(t.Context(), preq)
			switch {
			case want == "-" && err == nil:
				t.Errorf("%q passes for an echo", text)
			case want != "-" && (err != nil || c.Text != want || gjson.GetBytes(c.Body, "choices.0.message.content").Str != want):
				t.Errorf("%q became %+v, %v", text, c, err)
			}
		}
	})
}
