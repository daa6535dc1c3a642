package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// typesSite is a gateway with a model for each type of provider, named after the
// type. All of them call one upstream.
func typesSite(up *harness.Upstream) string {
	var b strings.Builder
	b.WriteString("tenant_resolve\nchat_session\nai_gateway {\nretries 0\npassthrough\n")
	for typ, options := range map[string]string{
		"openai": "api_key k", "anthropic": "api_key k", "gemini": "api_key k", "ollama": "",
		"bedrock": "region us-east-1\napi_key k", "cloudflare": "api_key k",
	} {
		fmt.Fprintf(&b, "provider %s {\nbase_url %s\n%s\n}\nmodel %s {\nto %[1]s/up\n}\n", typ, up.Origin(), options, typ)
	}
	return b.String() + "default_model openai\n}\n"
}

// TestParams: a value that no provider takes is refused before any is called, by
// its name, whatever the type of the provider.
func TestParams(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeAnswer))
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	for _, typ := range []string{"openai", "anthropic", "gemini", "ollama", "bedrock", "cloudflare"} {
		for _, member := range []string{
			`"n":1e9`, `"n":0`, `"n":-1`, `"n":1.5`, `"n":129`, `"n":"2"`, `"n":[1]`, `"n":true`, `"n":1e400`,
			`"max_tokens":-5`, `"max_tokens":0`, `"max_tokens":1.5`, `"max_tokens":"7"`, `"max_tokens":1e300`, `"max_tokens":9223372036854775808`,
			`"max_completion_tokens":-1`, `"max_completion_tokens":{}`,
			`"temperature":"0.5"`, `"temperature":-0.1`, `"temperature":2.1`, `"top_p":1.5`, `"top_p":[]`,
			`"frequency_penalty":3`, `"presence_penalty":"x"`, `"seed":"7"`, `"stop":7`, `"stop":["a",7]`, `"stop":{}`,
			`"logprobs":1`, `"top_logprobs":-1`, `"top_logprobs":21`, `"logit_bias":[]`, `"user":7`, `"reasoning_effort":3`,
			`"tools":{}`, `"tools":"x"`, `"tool_choice":7`, `"parallel_tool_calls":"yes"`, `"response_format":"json"`, `"modalities":"text"`, `"store":"no"`,
		} {
			resp := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"`+typ+`","messages":[{"role":"user","content":"hi"}],`+member+`}`)
			name, _, _ := strings.Cut(strings.TrimPrefix(member, `"`), `"`)
			if strings.Contains(member, "e400") && resp.StatusCode == http.StatusBadRequest {
				harness.ReadAll(t, resp) // no number at all, to some parsers
				continue
			}
			f := harness.WantFailure(t, resp, http.StatusBadRequest, "invalid_request")
			if f.Error.Param == nil || *f.Error.Param != name {
				t.Errorf("%s to %s: the param is not %s: %+v", member, typ, name, f.Error)
			}
		}
	}
	for _, member := range []string{`"dimensions":-1`, `"dimensions":1.5`, `"dimensions":"7"`, `"dimensions":1e300`, `"encoding_format":7`, `"user":{}`} {
		resp := cl.Do(http.MethodPost, "/v1/embeddings", `{"model":"openai","input":"hi",`+member+`}`)
		name, _, _ := strings.Cut(strings.TrimPrefix(member, `"`), `"`)
		f := harness.WantFailure(t, resp, http.StatusBadRequest, "invalid_request")
		if f.Error.Param == nil || *f.Error.Param != name {
			t.Errorf("%s: the param is not %s: %+v", member, name, f.Error)
		}
	}
	if n := up.Count(); n != 0 {
		t.Errorf("the provider was called %d times", n)
	}
	for _, members := range []string{
		`"n":128`, `"n":1.0`, `"n":null`, `"max_tokens":null`, `"max_tokens":9007199254740993`, `"max_completion_tokens":1`, `"temperature":0`, `"temperature":2`, `"top_p":0`,
		`"frequency_penalty":-2`, `"seed":-7`, `"seed":1.50`, `"stop":null`, `"stop":[]`, `"stop":["1","2","3","4","5"]`, `"logprobs":true,"top_logprobs":20`,
		`"logit_bias":{"1":-100}`, `"tool_choice":"any"`, `"response_format":{"type":"regex"}`, `"x_own":{"n":-1}`, `"top_k":-1`, `"min_p":"x"`,
	} {
		body := `{"model":"up","messages":[{"role":"user","content":"hi"}],` + members + `}`
		resp := cl.Do(http.MethodPost, harness.CompletionsPath, strings.Replace(body, `"up"`, `"openai"`, 1))
		if said := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", members, resp.StatusCode, said)
			continue
		}
		if got := up.Last().Body; got != body {
			t.Errorf("the provider got %s, want %s", got, body)
		}
	}
}

// TestModelNames: what cannot be the name of a model reaches no header and no
// provider.
func TestModelNames(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeAnswer))
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	for _, name := range []string{
		"", "openai/" + strings.Repeat("x", 9<<10), "openai/" + strings.Repeat("é", 250), "openai/a\x00b", "openai/a\nb", "openai/a\u202eb", "openai/a\u200bb", "\ufeffopenai/a", "openai/a\u2028b",
	} {
		quoted, _ := json.Marshal(name)
		for _, ask := range []struct{ path, param, body string }{
			{harness.CompletionsPath, "model", `{"model":%s,"messages":[{"role":"user","content":"hi"}]}`},
			{"/v1/embeddings", "model", `{"model":%s,"input":"hi"}`},
			{"/chat", "modelId", `{"sessionId":"` + harness.NewSession() + `","message":"hi","stream":false,"modelId":%s}`},
		} {
			resp := cl.Do(http.MethodPost, ask.path, fmt.Sprintf(ask.body, quoted))
			if h := resp.Header.Get("X-Model-Id"); h != "" {
				t.Errorf("%.20q: X-Model-Id: %.40q", name, h)
			}
			if f := harness.WantFailure(t, resp, http.StatusBadRequest, "invalid_request"); !strings.HasPrefix(f.Error.Message, ask.param+": ") {
				t.Errorf("%.20q: message %q does not name %s", name, f.Error.Message, ask.param)
			}
		}
		session := harness.NewSession()
		harness.WantFailure(t, cl.Do(http.MethodPost, harness.CompletionsPath, fmt.Sprintf(`{"model":%s,"messages":[{"role":"user","content":"hi"}]}`, quoted), "X-Session-Id", session), http.StatusBadRequest, "invalid_request")
		harness.WantFailure(t, cl.Do(http.MethodGet, "/chat/"+session+"/history", nil), http.StatusNotFound, "session_not_found")
	}
	if n := up.Count(); n != 0 {
		t.Errorf("the provider was called %d times", n)
	}
	name := "openai/modèle-" + strings.Repeat("x", 242)
	quoted, _ := json.Marshal(name)
	resp := cl.Do(http.MethodPost, harness.CompletionsPath, fmt.Sprintf(`{"model":%s,"messages":[{"role":"user","content":"hi"}]}`, quoted))
	if said := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Model-Id") != name {
		t.Errorf("%d, X-Model-Id %q: %s", resp.StatusCode, resp.Header.Get("X-Model-Id"), said)
	}
}

// TestDropped: X-Ai-Dropped names what a provider does not get, but neither grows with
// the request nor says what the client likes.
func TestDropped(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	var members, tools strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&members, `,"m%d":1`, i)
		fmt.Fprintf(&tools, `,{"type":"function","function":{"name":"f%d","strict":true,"parameters":{"type":"object"}}}`, i)
	}
	for name, tc := range map[string]struct{ typ, members, answer, first string }{
		"members": {"ollama", `,"a, b":1` + members.String(), `{"model":"up","message":{"role":"assistant","content":"so"},"done":true,"prompt_eval_count":9,"eval_count":5}`, "m0"},
		"tools":   {"anthropic", `,"tools":[` + tools.String()[1:] + `]`, `{"id":"m","type":"message","role":"assistant","model":"up","content":[{"type":"text","text":"so"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":5}}`, "tools.0.function.strict"},
	} {
		t.Run(name, func(t *testing.T) {
			up.For(t).Plays(harness.Document(http.StatusOK, tc.answer))
			resp := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"`+tc.typ+`","messages":[{"role":"user","content":"hi"}]`+tc.members+`}`)
			said := harness.ReadAll(t, resp)
			names := strings.Split(resp.Header.Get("X-Ai-Dropped"), ", ")
			if resp.StatusCode != http.StatusOK || names[0] != tc.first || len(names) > 32 {
				t.Errorf("%d, %d names of which the first is %q: %s", resp.StatusCode, len(names), names[0], said)
			}
		})
	}
}
