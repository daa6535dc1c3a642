package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

const claudeSays = `{"id":"m","type":"message","role":"assistant","model":"up","content":[{"type":"text","text":"so"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":5}}`

// droppedFrom returns what an answer names as left out.
func droppedFrom(t *testing.T, resp *http.Response) []string {
	t.Helper()
	text := harness.ReadAll(t, resp)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if n := len(resp.Header.Values("X-Ai-Dropped")); n > 1 {
		t.Errorf("X-Ai-Dropped comes %d times", n)
	}
	return strings.Split(resp.Header.Get("X-Ai-Dropped"), ", ")
}

func wantDropped(t *testing.T, resp *http.Response, names ...string) {
	t.Helper()
	got := droppedFrom(t, resp)
	for _, name := range names {
		if !slices.Contains(got, name) {
			t.Errorf("X-Ai-Dropped is %q, want %s in it", got, name)
		}
	}
}

// TestReasoningOfAnother continues a conversation that another provider has begun, in every
// API and with a session.
func TestReasoningOfAnother(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	const (
		signed = `"reasoning_content":"deep","thinking_blocks":[{"type":"thinking","thinking":"deep","signature":"sig"}]`
		called = `{"role":"assistant","content":"so",` + signed + `,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}`
	)
	openAI := harness.Document(http.StatusOK, harness.WholeAnswer)
	for _, typ := range []string{"openai", "cloudflare"} {
		up.Plays(openAI)
		wantDropped(t, cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"`+typ+`","messages":[{"role":"user","content":"hi"},`+called+`,{"role":"tool","tool_call_id":"c","content":"bad","is_error":true}]}`),
			"messages.thinking_blocks", "messages.reasoning_content")
		wantUnderstood(t, up.Last())
		if got := up.Last().Get("messages.2.content").Str; got != "(the tool has failed)\nbad" {
			t.Errorf("the result is %q", got)
		}

		up.Plays(openAI)
		wantDropped(t, cl.Do(http.MethodPost, "/v1/messages", `{"model":"`+typ+`","max_tokens":9,"messages":[{"role":"user","content":"hi"},
			{"role":"assistant","content":[{"type":"thinking","thinking":"deep","signature":"sig"},{"type":"text","text":"so"}]},{"role":"user","content":"and?"}]}`), "messages.thinking_blocks")
		wantUnderstood(t, up.Last())
	}

	// a session that Claude has begun
	session := harness.NewSession()
	up.Plays(harness.Document(http.StatusOK, `{"id":"m","type":"message","role":"assistant","model":"up","content":[{"type":"thinking","thinking":"deep","signature":"sig"},
		{"type":"tool_use","id":"toolu_1","name":"f","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":9,"output_tokens":5}}`))
	harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", `{"model":"anthropic","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}`, "X-Session-Id", session))
	up.Plays(harness.Document(http.StatusOK, claudeSays))
	harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", `{"model":"anthropic","max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"bad","is_error":true}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}`, "X-Session-Id", session))
	up.Plays(openAI)
	wantDropped(t, cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"openai/other","messages":[{"role":"user","content":"and?"}]}`, "X-Session-Id", session), "messages.thinking_blocks", "messages.reasoning_content")
	wantUnderstood(t, up.Last())
	if got := up.Last().Get(`messages.#(role=="tool").content`).Str; got != "(the tool has failed)\nbad" {
		t.Errorf("the result is %q", got)
	}
}

// wantUnderstood looks for what a server of chat completions does not know.
func wantUnderstood(t *testing.T, got harness.Asked) {
	t.Helper()
	for _, name := range []string{"deep", "sig", "thinking", "is_error", "cache_control", "cch1_"} {
		if strings.Contains(got.Body, name) {
			t.Errorf("the upstream got %s:\n%s", name, got.Body)
		}
	}
}

// TestAnthropicBeta has the features that a client wants of Anthropic's API: its providers get
// them whatever way the request takes, and no others.
func TestAnthropicBeta(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	const (
		plain  = `{"role":"user","content":"hi"}`
		sealed = plain + `,{"role":"assistant","content":[{"type":"thinking","thinking":"deep","signature":"cch1_e30"},{"type":"text","text":"so"}]},` + plain
	)
	for name, tc := range map[string]struct {
		model, messages, answer string
		session                 bool
	}{
		"as it came":         {"anthropic", plain, claudeSays, false},
		"translated":         {"anthropic", sealed, claudeSays, false},
		"in a session":       {"anthropic", plain, claudeSays, true},
		"elsewhere":          {"openai", plain, harness.WholeAnswer, false},
		"elsewhere, session": {"openai", plain, harness.WholeAnswer, true},
	} {
		t.Run(name, func(t *testing.T) {
			up.For(t).Plays(harness.Document(http.StatusOK, tc.answer))
			header := []string{"Anthropic-Beta", "context-1m,interleaved"}
			if tc.session {
				header = append(header, "X-Session-Id", harness.NewSession())
			}
			got := droppedFrom(t, cl.Do(http.MethodPost, "/v1/messages", `{"model":"`+tc.model+`","max_tokens":9,"messages":[`+tc.messages+`]}`, header...))
			sent := up.Last().Header.Get("Anthropic-Beta")
			if native := tc.model == "anthropic"; native != (sent == "context-1m,interleaved") || native == slices.Contains(got, "anthropic-beta") {
				t.Errorf("the provider got %q, and X-Ai-Dropped is %q", sent, got)
			}
		})
	}
}

// TestRescueWithBetas has an answer of Anthropic's rescued by Anthropic.
func TestRescueWithBetas(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", "tenant_resolve\nai_gateway {\nretries 0\nprovider anthropic {\nbase_url "+up.Origin()+"\n}\nmodel fast {\nto anthropic/claude-haiku-4-5\n}\n}\n"), "", "")
	up.Plays(harness.Sends(nativeEvents[:8]...), harness.Sends(strings.Join(nativeEvents, "")))
	events := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", `{"model":"fast","max_tokens":99,"stream":true,"messages":[{"role":"user","content":"hi"}]}`, "Anthropic-Beta", "context-1m"))
	if sent := up.Last().Header.Get("Anthropic-Beta"); up.Count() < 2 || sent != "context-1m" {
		t.Errorf("after %d calls the rescuer got %q:\n%s", up.Count(), sent, events)
	}
}

// TestEffortGivenUp asks again without an effort that the model refuses.
func TestEffortGivenUp(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	refused := harness.Document(http.StatusBadRequest, `{"error":{"message":"Unrecognized request argument supplied: reasoning_effort","type":"invalid_request_error","param":null,"code":null}}`)
	answer := harness.Document(http.StatusOK, harness.WholeAnswer)
	for i := range 2 { // then it is known
		up.Plays(refused, answer)
		if i > 0 {
			up.Plays(answer)
		}
		wantDropped(t, cl.Do(http.MethodPost, "/v1/messages", `{"model":"openai","max_tokens":9,"thinking":{"type":"enabled","budget_tokens":2000},"messages":[{"role":"user","content":"hi"}]}`), "thinking")
		if up.Last().Get("reasoning_effort").Exists() {
			t.Errorf("the upstream got %s", up.Last().Body)
		}
	}
}

// TestNativeItemsLeftOut has items of Responses that mean something only to a server that has
// kept them.
func TestNativeItemsLeftOut(t *testing.T) {
	t.Parallel()
	const answer = `{"id":"r","object":"response","status":"completed","model":"gpt-5","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":9,"output_tokens":5}}`
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", "tenant_resolve\nai_gateway {\nretries 0\nprovider openai {\nbase_url "+up.URL+"\nresponses on\n}\nmodel fast {\nto openai/gpt-5\n}\n}\n"), "", "")
	for item, name := range map[string]string{
		`{"type":"reasoning","id":"rs_1","summary":[]}`:               "input.reasoning",
		`{"type":"item_reference","id":"rs_1"}`:                       "input.item_reference",
		`{"id":"rs_1"}`:                                               "input.item_reference",
		`{"type":"code_interpreter_call","id":"ci_1","code":"print"}`: "input.code_interpreter_call",
	} {
		up.Plays(harness.Document(http.StatusOK, answer))
		wantDropped(t, cl.Do(http.MethodPost, "/v1/responses", `{"model":"fast","store":true,"input":[{"role":"user","content":"hi"},`+item+`,{"role":"assistant","content":"so"}]}`), name, "store")
		if got := up.Last().Get("input.#").Int(); got != 2 {
			t.Errorf("the upstream got %s", up.Last().Body)
		}
	}
	refused := harness.Document(http.StatusBadRequest, `{"error":{"message":"The encrypted content gAAA could not be verified.","type":"invalid_request_error","code":"invalid_encrypted_content"}}`)
	up.Plays(refused, harness.Document(http.StatusOK, answer))
	wantDropped(t, cl.Do(http.MethodPost, "/v1/responses", `{"model":"fast","store":false,"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},{"type":"message","id":"msg_1","role":"assistant","content":"so"}]}`), "input.reasoning", "input.id")
}

// TestDocumentsByURL has documents that the provider is to fetch.
func TestDocumentsByURL(t *testing.T) {
	t.Parallel()
	const answer = `{"id":"r","object":"response","status":"completed","model":"gpt-5","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":9,"output_tokens":5}}`
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", "tenant_resolve\nai_gateway {\nretries 0\nprovider native openai {\nbase_url "+up.URL+"\nresponses on\n}\nprovider openai {\nbase_url "+up.URL+"\n}\nprovider anthropic {\nbase_url "+up.Origin()+"\n}\nprovider gemini {\nbase_url "+up.Origin()+"\n}\npassthrough\n}\n"), "", "")
	const (
		bodyOfMessages  = `"max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://example.com/a.pdf"}}]}]}`
		bodyOfResponses = `"store":false,"input":[{"role":"user","content":[{"type":"input_file","file_url":"https://example.com/a.pdf"}]}]}`
	)
	for _, tc := range []struct{ path, model, body, answer, at, want string }{
		{"/v1/messages", "anthropic/x", bodyOfMessages, claudeSays, "messages.0.content.0.source", `{"type":"url","url":"https://example.com/a.pdf"}`},
		{"/v1/responses", "anthropic/x", bodyOfResponses, claudeSays, "messages.0.content.0.source", `{"type":"url","url":"https://example.com/a.pdf"}`},
		{"/v1/responses", "native/x", bodyOfResponses, answer, "input.0.content.0.file_url", `"https://example.com/a.pdf"`},
		{"/v1/messages", "openai/x", bodyOfMessages, "", "", ""},
		{"/v1/responses", "openai/x", bodyOfResponses, "", "", ""},
		{"/v1/messages", "gemini/x", bodyOfMessages, "", "", ""},
	} {
		before := up.Count()
		up.Plays(harness.Document(http.StatusOK, tc.answer))
		resp := cl.Do(http.MethodPost, tc.path, `{"model":"`+tc.model+`",`+tc.body)
		text := harness.ReadAll(t, resp)
		switch {
		case tc.want == "" && (resp.StatusCode != http.StatusBadRequest || up.Count() != before || !strings.Contains(text, "does not fetch files")):
			t.Errorf("%s to %s: %d %s", tc.path, tc.model, resp.StatusCode, text)
		case tc.want != "" && (resp.StatusCode != http.StatusOK || gjson.Get(up.Last().Body, tc.at).Raw != tc.want):
			t.Errorf("%s to %s: %d %s, the upstream got %s", tc.path, tc.model, resp.StatusCode, text, up.Last().Body)
		}
	}
}

// TestDroppedInASession names what the session and the provider have left out, together.
func TestDroppedInASession(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	for path, body := range map[string]string{
		harness.CompletionsPath: `{"model":"ollama","input":"hi","tools":[{"type":"web_search"}],"user":"ann","text":{"verbosity":"low"}}`,
		"/v1/responses":         `{"model":"ollama","input":"hi","tools":[{"type":"web_search"}],"user":"ann","text":{"verbosity":"low"}}`,
		"/v1/messages":          `{"model":"ollama","max_tokens":9,"service_tier":"standard_only","tools":[{"type":"web_search","name":"s"}],"metadata":{"user_id":"ann"},"messages":[{"role":"user","content":"hi"}]}`,
	} {
		up.Plays(harness.Document(http.StatusOK, `{"model":"up","message":{"role":"assistant","content":"so"},"done":true,"prompt_eval_count":9,"eval_count":5}`))
		names := []string{"tools.web_search", "user", "text.verbosity"}
		if path == "/v1/messages" {
			names = []string{"tools.web_search", "metadata.user_id", "service_tier"}
		}
		wantDropped(t, cl.Do(http.MethodPost, path, body, "X-Session-Id", harness.NewSession()), names...)
	}
}
