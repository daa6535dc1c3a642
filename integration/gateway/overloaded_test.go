package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// overloadedDoor is a way in, and how a client hears there that the provider is overloaded:
// only Anthropic's API has words for it.
type overloadedDoor struct {
	name, path string
	header     []string

	status     int
	code, told string // and where in the document

	failed, ended string // the events that end a stream: with a failure, and well
}

const session = "0b6a3a52-7a0e-4f0c-9d5e-6a3f8e1f2c11"

var overloadedDoors = []overloadedDoor{
	{"messages", "/v1/messages", nil, 529, "overloaded_error", "error.type", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"", "message_stop"},
	{"messages of a session", "/v1/messages", []string{"X-Session-Id", session}, 529, "overloaded_error", "error.type", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"", "message_stop"},
	{"completions", "/v1/chat/completions", nil, 502, "ai_error", "error.code", `"code":"ai_error"`, "[DONE]"},
	{"responses", "/v1/responses", nil, 502, "ai_error", "error.code", "event: response.failed\n", "response.completed"},
	{"chat", "/chat", nil, 502, "ai_error", "error.code", "event: error\ndata: {\"code\":\"ai_error\"", `"finishReason":"stop"`},
}

// ask asks a model for a stream or a document.
func (d overloadedDoor) ask(cl *harness.Client, model string, stream bool) *http.Response {
	body := askedThrough(d.path, stream)
	if d.path == "/chat" {
		body = object{"sessionId": harness.NewSession(), "message": "hi", "modelId": model, "stream": stream}
	}
	body["model"] = model
	return cl.Do(http.MethodPost, d.path, body, d.header...)
}

// overloadedSite has a model of each type of provider, called as its type is.
func overloadedSite(up *harness.Upstream) string {
	var site strings.Builder
	site.WriteString("tenant_resolve\nchat_session\nai_gateway {\n")
	for name, options := range map[string]string{"openai": "", "anthropic": "", "gemini": "", "ollama": "", "cloudflare": "", "bedrock": "\nregion us-east-1"} {
		base := up.Origin()
		if name == "openai" {
			base = up.URL
		}
		fmt.Fprintf(&site, "provider %s {\nbase_url %s\napi_key k%s\n}\nmodel m-%s {\nto %s/x\n}\n", name, base, options, name, name)
	}
	site.WriteString("retries 0\ncircuit_breaker off\nrescue off\n}\n")
	return site.String()
}

// TestOverloaded has a provider that has too much to do, told in its own way, before there
// is anything of an answer. A limit of the provider's is another thing.
func TestOverloaded(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, overloadedSite(up)), "globex", "ann")
	const anthropic = `{"type":"error","error":{"type":"overloaded_error","message":"upstream-words"}}`
	for _, kind := range []struct {
		name, model string
		do          harness.Script
		retryAfter  string
	}{
		{"529 of Anthropic", "m-anthropic", harness.Document(529, anthropic, "Retry-After", "7"), "7"},
		{"529 without words", "m-anthropic", harness.Document(529, ""), ""},
		{"200 of Anthropic", "m-anthropic", harness.Document(200, anthropic), ""},
		{"the first event of Anthropic", "m-anthropic", harness.Sends("event: error\ndata: " + anthropic + "\n\n"), ""},
		{"503 of OpenAI", "m-openai", harness.Refuses(503, "x"), ""},
		{"503 of a proxy", "m-openai", harness.Document(503, "<p>upstream-words</p>", "Content-Type", "text/html"), ""},
		{"503 of Gemini", "m-gemini", harness.Document(503, `{"error":{"code":503,"message":"upstream-words: the model is overloaded","status":"UNAVAILABLE"}}`), ""},
		{"503 of Ollama", "m-ollama", harness.Document(503, `{"error":"upstream-words: server busy"}`), ""},
		{"503 of Cloudflare", "m-cloudflare", harness.Document(503, `{"errors":[{"message":"upstream-words"}]}`), ""},
		{"503 of Bedrock", "m-bedrock", harness.Document(503, `{"message":"upstream-words"}`, "X-Amzn-Errortype", "ServiceUnavailableException"), ""},
		{"200 of Bedrock", "m-bedrock", harness.Document(200, `{"__type":"com.amazon.coral.service#ServiceUnavailableException","message":"upstream-words"}`), ""},
	} {
		for _, d := range overloadedDoors {
			for _, stream := range []bool{false, true} {
				if strings.HasPrefix(kind.name, "the first event") && !stream || kind.name == "200 of Bedrock" && stream {
					continue // of streams alone, and of documents
				}
				t.Run(fmt.Sprint(kind.name, "/", d.name, " ", stream), func(t *testing.T) {
					up.Plays(kind.do)
					resp := d.ask(cl, kind.model, stream)
					text := harness.ReadAll(t, resp)
					if resp.StatusCode != d.status || gjson.Get(text, d.told).Str != d.code || resp.Header.Get("Retry-After") != kind.retryAfter {
						t.Errorf("%d, Retry-After %q: %s", resp.StatusCode, resp.Header.Get("Retry-After"), text)
					}
					if strings.Contains(text, "upstream-words") {
						t.Errorf("the provider's words come out: %s", text)
					}
				})
			}
		}
	}
	for name, do := range map[string]harness.Script{
		"m-anthropic": harness.Document(429, `{"type":"error","error":{"type":"rate_limit_error","message":"x"}}`),
		"m-bedrock":   harness.Document(429, `{"message":"x"}`, "X-Amzn-Errortype", "ThrottlingException"),
	} {
		up.Plays(do)
		resp := overloadedDoors[0].ask(cl, name, false)
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusTooManyRequests || gjson.Get(text, "error.type").Str != "rate_limit_error" {
			t.Errorf("a limit of %s: %d %s", name, resp.StatusCode, text)
		}
	}
}

// TestOverloadedMidway has the provider say so behind the beginning of an answer.
func TestOverloadedMidway(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, overloadedSite(up)), "globex", "ann")
	for model, events := range map[string][]string{
		"m-anthropic": {
			"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"x\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
			"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
			"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
			"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"upstream-words\"}}\n\n",
		},
		"m-openai": {
			"data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hello\"},\"finish_reason\":null}]}\n\n",
			"data: {\"error\":{\"message\":\"upstream-words\",\"type\":\"server_error\",\"code\":503}}\n\n",
		},
		"m-gemini": {
			"data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Hello\"}]}}]}\n\n",
			"data: {\"error\":{\"code\":503,\"message\":\"upstream-words\",\"status\":\"UNAVAILABLE\"}}\n\n",
		},
	} {
		for _, d := range overloadedDoors {
			t.Run(model+"/"+d.name, func(t *testing.T) {
				up.Plays(harness.Sends(events...))
				resp := d.ask(cl, model, true)
				text := harness.ReadAll(t, resp)
				if resp.StatusCode != http.StatusOK || !strings.Contains(text, "Hello") || strings.Count(text, d.failed) != 1 || !strings.Contains(text, d.code) {
					t.Errorf("%d %s", resp.StatusCode, text)
				}
				if strings.Contains(text, d.ended) || strings.Contains(text, "upstream-words") {
					t.Errorf("it looks complete, or has the provider's words: %s", text)
				}
			})
		}
	}
}
