package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// asked is a request of the Messages API, and what becomes of it.
const (
	asked = `{ "system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"model" : "claude", "max_tokens":1e2,` + "\n" + `"messages":[{"role":"user","content":"\u0068i"}],"unknown":{"b":1,"a":2.0} }`
	sent  = `{ "system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"model" : "claude-haiku-4-5", "max_tokens":1e2,` + "\n" + `"messages":[{"role":"user","content":"\u0068i"}],"unknown":{"b":1,"a":2.0} }`
)

func nativeRequest(body string, header http.Header) *provider.Request {
	return &provider.Request{
		Model: "claude-haiku-4-5", Body: []byte(`{"messages":[]}`),
		Native: &provider.Native{API: provider.APIMessages, Body: []byte(body), Header: header},
		Betas:  header["Anthropic-Beta"],
	}
}

// nativeStream returns the bytes of an answer's chunks, their facts added up, and what
// the stream ends with.
func nativeStream(t *testing.T, p provider.Provider) (raw string, f provider.Facts, err error) {
	t.Helper()
	s, err := p.Stream(t.Context(), nativeRequest(asked, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var events []string
	for {
		c, err := s.Next()
		if err != nil {
			return strings.Join(events, ""), f, err
		}
		if len(c.Raw) > 0 {
			t.Errorf("a chunk of chat completions: %s", c.Raw)
		}
		events = append(events, string(c.Native))
		f.Text += c.Text
		f.Reasoning += c.Reasoning
		f.FinishReason += c.FinishReason
		f.ToolCalls = f.ToolCalls || c.ToolCalls
		f.OutputBytes += c.OutputBytes
		if c.Usage != nil {
			f.Usage = c.Usage
		}
		f.Model += c.Model
	}
}

func TestNativeStreamIsTheUpstreams(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for _, rec := range providertest.Load(t, providertest.Folder(t), "anthropic") {
		if rec.Kind != "stream" {
			continue
		}
		body := bytes.TrimRight(rec.Body, "\n")
		body = append(body, "\n\n"...)
		for name, body := range map[string][]byte{
			"as recorded":   body,
			"with CRLF":     bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n")),
			"with comments": bytes.ReplaceAll(body, []byte("event: "), []byte(": hello\nid: 7\nevent: ")),
		} {
			for _, manner := range [...]providertest.Manner{providertest.Whole, providertest.Bytes} {
				t.Run(rec.Name+"/"+name, func(t *testing.T) {
					replay.Answer(200, rec.Response.Headers, body, manner)
					raw, f, err := nativeStream(t, p)
					if !errors.Is(err, io.EOF) {
						t.Fatalf("error %v", err)
					}
					// the LF of the last CRLF may come too late
					if raw != string(body) && raw != strings.TrimSuffix(string(body), "\n") {
						t.Errorf("got\n%q\nwant\n%q", raw, body)
					}
					want := rec.Expected
					if f.Text != want.Text || f.Reasoning != want.Reasoning || f.FinishReason != want.Finish || f.ToolCalls != (len(want.ToolCalls) > 0) {
						t.Errorf("facts %+v, want %+v", f, want)
					}
					if f.Usage.Input != want.Usage.Prompt || f.Usage.Output != want.Usage.Completion || f.Usage.Cached != want.Usage.PromptDetails.Cached {
						t.Errorf("usage %+v, want %+v", f.Usage, want.Usage)
					}
				})
			}
		}
	}
}

func TestNativeStreamCutAtEveryByte(t *testing.T) {
	const (
		head = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n" +
			"event: ping\ndata: {\"type\":\"ping\"}\n\n" +
			"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
			"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n" +
			"event: new_thing\ndata: {\"type\":\"new_thing\"}\n\n" +
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n"
		tail = "\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	)
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for at := len("event: m"); at < len(head+tail); at += 3 {
		body := (head + tail)[:at]
		replay.Answer(200, http.Header{"Content-Type": {"text/event-stream"}}, []byte(body), providertest.Whole)
		raw, f, err := nativeStream(t, p)
		finished := at >= len(head)-1 // all but the line's end is there
		if finished != errors.Is(err, io.EOF) || !finished && !errors.Is(err, provider.ErrCut) {
			t.Errorf("cut at %d: %v", at, err)
		}
		if finished != (f.FinishReason == "stop") {
			t.Errorf("cut at %d: finish reason %q", at, f.FinishReason)
		}
		if whole := head + tail; !strings.HasPrefix(whole, strings.TrimRight(raw, "\n")) {
			t.Errorf("cut at %d: %q", at, raw)
		}
	}
	replay.Answer(200, http.Header{"Content-Type": {"text/event-stream"}}, []byte(head+"\nevent: error\ndata: {}\n\n"), providertest.Whole)
	if _, _, err := nativeStream(t, p); !errors.Is(err, io.EOF) {
		t.Errorf("an error behind the end: %v", err)
	}
}

func TestNativeStreamFails(t *testing.T) {
	for name, tc := range map[string]struct {
		body   string
		reason provider.Reason
	}{
		"an error":         {"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n", provider.ReasonUnavailable},
		"an unnamed error": {"data: {\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}\n\n", provider.ReasonRateLimited},
		"a document":       {`{"type":"message","content":[]}`, provider.ReasonBadAnswer},
		"an error alone":   {`{"type":"error","error":{"type":"rate_limit_error","message":"m"}}`, provider.ReasonRateLimited},
		"a page":           {"<html>", provider.ReasonBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(200, nil, []byte(tc.body), providertest.Whole)
			raw, _, err := nativeStream(t, newProvider(t, replay.URL))
			e, ok := errors.AsType[*provider.Error](err)
			if !ok || e.Reason != tc.reason || raw != "" {
				t.Errorf("got %q and %v", raw, err)
			}
		})
	}
}

func TestNativeDocument(t *testing.T) {
	const answer = `{ "type":"message","model":"claude-x","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"hi"},{"type":"tool_use","id":"t","name":"f","input":{"a":1}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"cache_creation_input_tokens":4,"output_tokens":2} }`
	replay := providertest.NewReplay(t)
	replay.Answer(200, nil, []byte(answer), providertest.Whole)
	a := newAnthropic(t, upstream.Upstream{BaseURL: replay.URL, APIKey: "own", Headers: http.Header{"Anthropic-Beta": {"a, b"}}})
	c, err := a.Complete(t.Context(), nativeRequest(asked, http.Header{"Anthropic-Version": {"2024-01-01"}, "Anthropic-Beta": {"c,a"}, "Anthropic-Other": {"x"}}))
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Native) != answer || len(c.Body) > 0 {
		t.Errorf("got %s and %s", c.Native, c.Body)
	}
	if c.Text != "hi" || c.Reasoning != "hm" || !c.ToolCalls || c.FinishReason != "tool_calls" || c.Model != "claude-x" || c.Usage.Total() != 7 {
		t.Errorf("facts %+v, usage %+v", c.Facts, c.Usage)
	}
	requests, bodies := replay.Requests()
	if string(bodies[0]) != sent {
		t.Errorf("sent\n%s\nwant\n%s", bodies[0], sent)
	}
	for name, want := range map[string]string{"X-Api-Key": "own", "Anthropic-Version": "2024-01-01", "Anthropic-Beta": "a,b,c", "Anthropic-Other": ""} {
		if got := requests[0].Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestNativeRefusesWhatIsStored(t *testing.T) {
	a := newAnthropic(t, upstream.Upstream{BaseURL: "http://127.0.0.1:1"})
	for body, param := range map[string]string{
		`{"tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-8"}]}`:  "tools.0.model",
		`{"tools":[{"name":"n","input_schema":{"type":"object","properties":{"model":{}}}}]}`: "",
		`{"container":"c1"}`:        "container",
		`{"container":{"id":"c1"}}`: "container",
		`{"container":{"skills":[{"type":"anthropic","skill_id":"pdf"},{"type":"custom","skill_id":"s"}]}}`:                                                                        "container.skills.1.skill_id",
		`{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}]}`:                                                                    "messages.0.content.0.source.file_id",
		`{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"file","\u0066ile_id":"f"}}]}]}]}`:                               "messages.0.content.0.content.0.source.file_id",
		`{"messages":[{"role":"user","content":[{"type":"container_upload","file_id":"f"}]}]}`:                                                                                     "messages.0.content.0.file_id",
		`{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"i","name":"n","input":{"file_id":"f"}}]},{"role":"user","content":[{"text":"\"file_id\":\"f\""}]}]}`: "",
		`{"messages":[{"role":"assistant","content":[{"type":"text","text":"a","citations":[{"type":"char_location","file_id":"f"}]}]}]}`:                                          "",
	} {
		req := nativeRequest(body, nil)
		req.APIKey = ""
		_, err := a.Complete(t.Context(), req)
		e, _ := errors.AsType[*provider.Error](err)
		if e == nil || e.Param != param || (param == "") == (e.Reason == provider.ReasonUnsupported) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// The way around the parser reads what the parser reads.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" grün"}}`,
		`{"type":"content_block_delta","index":3,"delta":{"type":"thinking_delta","thinking":"hm"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"},"x":{"y":"b"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\n"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want provider.Facts
		if !new(reader).Plain(data, &got) {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("%q is not valid", data)
		}
		if last, err := new(reader).Read(gjson.ParseBytes(data), &want); last || err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %+v, want %+v", data, got, want)
		}
	})
}
