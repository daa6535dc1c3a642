package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

var update = flag.Bool("update", false, "write the golden files")

// throughRequest returns a request whose model takes its tools only in Responses.
func throughRequest(body string) *provider.Request {
	return &provider.Request{Model: "gpt-5.5", Body: []byte(body), Translated: true, Omit: []string{effortWithTools}}
}

// newResponder returns a provider that speaks Responses.
func newResponder(t testing.TB, baseURL string) *OpenAI {
	t.Helper()
	return providertest.Provisioned(t, &OpenAI{Upstream: upstream.Upstream{BaseURL: baseURL + "/v1", APIKey: "key-1"}, Responses: new(true)})
}

const emptyResponse = `{"id":"resp_1","status":"completed","model":"gpt-5.5","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}`

// sentThrough returns what is sent of a request, and where.
func sentThrough(t *testing.T, preq *provider.Request) (path string, body []byte) {
	t.Helper()
	replay := providertest.NewReplay(t)
	replay.Answer(http.StatusOK, nil, []byte(emptyResponse), providertest.Whole)
	if _, err := newResponder(t, replay.URL).Complete(t.Context(), preq); err != nil {
		t.Fatal(err)
	}
	requests, bodies := replay.Requests()
	return requests[len(requests)-1].URL.Path, bodies[len(bodies)-1]
}

// TestToResponse compares the requests of Responses that chat completions become, and has
// OpenAI take them.
func TestToResponse(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "toresponse", "*.request"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			preq := throughRequest(string(in))
			path, body := sentThrough(t, preq)
			if refused := providertest.RefuseResponse(body); path != "/v1/responses" || refused != nil {
				t.Errorf("%s refuses %s: %s", path, body, refused)
			}
			var b bytes.Buffer
			if err := json.Indent(&b, body, "", "  "); err != nil {
				t.Fatal(err)
			}
			got, name := b.String()+"\n"+strings.Join(preq.Dropped, "\n")+"\n", strings.TrimSuffix(file, ".request")+".response"
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(name)
			if err != nil || got != string(want) {
				t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
			}
		})
	}
}

// TestPrefixThroughResponses has a conversation grow: what was sent stays byte for byte, for
// prompt caches.
func TestPrefixThroughResponses(t *testing.T) {
	sample, err := os.ReadFile(filepath.Join("testdata", "toresponse", "agent.request"))
	if err != nil {
		t.Fatal(err)
	}
	const begin = 2
	messages, before := gjson.GetBytes(sample, "messages").Array(), ""
	for n := begin; n <= len(messages); n++ {
		list := make([]json.RawMessage, n)
		for i := range list {
			list[i] = json.RawMessage(messages[i].Raw)
		}
		body, err := sjson.SetBytes(sample, "messages", list)
		if err != nil {
			t.Fatal(err)
		}
		_, sent := sentThrough(t, throughRequest(string(body)))
		head, _, _ := strings.Cut(string(sent), `"input":[`)
		input := gjson.GetBytes(sent, "input").Raw
		if n > begin && !strings.HasPrefix(head+input, before) {
			t.Errorf("after %d messages it begins with another one\n%s\nwant\n%s", n, head+input, before)
		}
		before = head + strings.TrimSuffix(input, "]")
	}
}

// TestNotThroughResponses has requests that stay chat completions without reasoning, or are
// refused by name.
func TestNotThroughResponses(t *testing.T) {
	const tools = `,"tools":[{"type":"function","function":{"name":"f"}}]`
	said := func(members string) string { return `{"messages":[{"role":"user","content":"hi"}]` + members + `}` }
	for name, tc := range map[string]struct {
		change func(*provider.Request)
		body   string
	}{
		"a client of chat completions": {func(r *provider.Request) { r.Translated = false }, said(tools)},
		"nothing was refused":          {func(r *provider.Request) { r.Omit = nil }, said(tools)},
		"a begun answer":               {func(r *provider.Request) { r.Continue = "so" }, said(`,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"`)},
		"no tools":                     {nil, said(`,"reasoning_effort":"high"`)},
		"no reasoning":                 {nil, said(tools + `,"reasoning_effort":"none"`)},
		"thinking disabled":            {nil, said(tools + `,"thinking":{"type":"disabled"}`)},
		"two choices":                  {nil, said(tools + `,"n":2`)},
		"log probabilities":            {nil, said(tools + `,"logprobs":true`)},
	} {
		t.Run(name, func(t *testing.T) {
			preq := throughRequest(tc.body)
			if tc.change != nil {
				tc.change(preq)
			}
			if newResponder(t, "http://127.0.0.1:1").goesThroughResponses(preq) {
				t.Error("it goes through Responses")
			}
		})
	}
	preq := throughRequest(said(tools))
	if newOpenAI(t, upstream.Upstream{BaseURL: "http://127.0.0.1:1", APIKey: "k"}).goesThroughResponses(preq) {
		t.Error("a server without Responses gets one")
	}
	for at, message := range map[string]string{
		"messages.0.content.1":              `{"role":"user","content":[{"type":"text","text":"hear"},{"type":"input_audio","input_audio":{"data":"","format":"wav"}}]}`,
		"messages.0.role":                   `{"role":"function","name":"f","content":"x"}`,
		"messages.0.content.0.file.file_id": `{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}`,
	} {
		_, err := newResponder(t, "http://127.0.0.1:1").Complete(t.Context(), throughRequest(`{"messages":[`+message+`]`+tools+`}`))
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Param != at || e.Reason != provider.ReasonUnsupported {
			t.Errorf("%s: %v", at, err)
		}
	}
}
