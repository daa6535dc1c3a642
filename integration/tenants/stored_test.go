package tenants

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestStoredAtProvider: what a provider keeps for the gateway's key is everybody's. No tenant
// reads it by its id, whatever way the request takes, unless the provider has a key of this
// tenant alone.
func TestStoredAtProvider(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	const (
		message  = `{"id":"m","type":"message","role":"assistant","model":"x","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`
		response = `{"id":"resp_1","object":"response","status":"completed","model":"x","output":[{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`
		said     = `"messages":[{"role":"user","content":"hi"}]`
	)
	c := harness.Start(t, `
		chat {
			tenant shared
			tenant own {
				credential openai tenants-openai-key
				credential claude tenants-claude-key
				credential cloud tenants-cloud-key
			}
		}
	`, `
		tenant_resolve
		ai_gateway {
			provider openai {
				base_url `+up.Origin()+`/v1
				api_key shared-key
				responses on
			}
			provider claude anthropic {
				base_url `+up.Origin()+`
				api_key shared-key
			}
			provider cloud cloudflare {
				base_url `+up.Origin()+`
				api_key shared-key
			}
			model gpt {
				to openai/x
			}
			model claude {
				to claude/x
			}
			model cloud {
				to cloud/x
			}
			retries 0
		}
	`)
	for _, tc := range []struct{ path, model, members, param, answer string }{
		{harness.CompletionsPath, "gpt", `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]`, "messages.0.content.0.file.file_id", harness.WholeAnswer},
		{harness.CompletionsPath, "gpt", `"messages":[{"role":"user","content":[{"type":"file","f\u0069le_id":"file-1"}]}]`, "messages.0.content.0.file_id", harness.WholeAnswer},
		{harness.CompletionsPath, "cloud", `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]`, "messages.0.content.0.file.file_id", harness.WholeAnswer},
		{harness.CompletionsPath, "gpt", said + `,"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]`, "tools.0.vector_store_ids", harness.WholeAnswer},
		{harness.CompletionsPath, "gpt", said + `,"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]`, "tools.0.container.file_ids", harness.WholeAnswer},
		{"/v1/messages", "claude", `"max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]`, "messages.0.content.0.source.file_id", message},
		{"/v1/messages", "claude", `"max_tokens":9,"messages":[{"role":"user","content":[{"type":"container_upload","file_id":"file_1"}]}]`, "messages.0.content.0.file_id", message},
		{"/v1/messages", "claude", `"max_tokens":9,` + said + `,"container":"container_1"`, "container", message},
		{"/v1/messages", "claude", `"max_tokens":9,` + said + `,"container":{"id":"container_1"}`, "container", message},
		{"/v1/messages", "claude", `"max_tokens":9,` + said + `,"container":{"skills":[{"type":"anthropic","skill_id":"pptx"},{"type":"custom","skill_id":"skill_1"}]}`, "container.skills.1.skill_id", message},
		{"/v1/messages/count_tokens", "claude", `"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"file_1"}}]}]`, "messages.0.content.0.source.file_id", `{"input_tokens":3}`},
		{"/v1/responses", "gpt", `"store":false,"input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]`, "input.0.content.0.file_id", response},
		{"/v1/responses", "gpt", `"store":false,"input":[{"role":"user","content":[{"type":"input_image","file_id":"file-1"}]}]`, "input.0.content.0.file_id", response},
		{"/v1/responses", "gpt", `"store":false,"input":"hi","tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]`, "tools.0.vector_store_ids", response},
		{"/v1/responses", "gpt", `"store":false,"input":"hi","tools":[{"type":"code_interpreter","container":"cntr_1"}]`, "tools.0.container", response},
		{"/v1/completions", "gpt", `"prompt":"hi","tools":[{"vector_store_ids":["vs_1"]}]`, "tools.0.vector_store_ids", `{"choices":[{"text":"hi"}]}`},
		{"/v1/images/generations", "gpt", `"prompt":"hi","images":[{"file_id":"file-1"}]`, "images.0.file_id", `{"data":[{"b64_json":"A"}]}`},
		{"/v1/moderations", "gpt", `"input":[{"type":"image_url","image_url":{"file_id":"file-1"}}]`, "input.0.image_url.file_id", `{"results":[]}`},
	} {
		t.Run(tc.path+" "+tc.param, func(t *testing.T) {
			body := `{"model":"` + tc.model + `",` + tc.members + `}`
			before := up.Count()
			resp := harness.NewClient(c, "shared", "ann").Do(http.MethodPost, tc.path, body)
			estimated := resp.Header.Get("X-Ai-Estimated") == "true" // by the gateway alone
			if text := harness.ReadAll(t, resp); !estimated && (resp.StatusCode != http.StatusBadRequest || !strings.Contains(text, tc.param)) || up.Count() != before {
				t.Errorf("with a shared key: %d %s", resp.StatusCode, text)
			}
			up.Plays(harness.Document(http.StatusOK, tc.answer))
			resp = harness.NewClient(c, "own", "ann").Do(http.MethodPost, tc.path, body)
			if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
				t.Fatalf("with its own key: %d %s", resp.StatusCode, text)
			}
			asked := up.Last()
			if keys := asked.Header.Get("Authorization") + asked.Header.Get("X-Api-Key") + asked.Header.Get("Cf-Aig-Authorization"); !strings.Contains(keys, "tenants-") {
				t.Errorf("the keys are %q", keys)
			}
			if id := strings.NewReplacer(`\u0069`, "i").Replace(asked.Body); !strings.Contains(id, "file-1") && !strings.Contains(id, "_1") {
				t.Errorf("the provider got %s", asked.Body)
			}
		})
	}
	for name, body := range map[string]string{
		"a schema":               said + `,"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"file_id":{"type":"string"}}}}}]`,
		"what a tool was called": `"messages":[{"role":"user","content":"file_id"},{"role":"assistant","content":null,"tool_calls":[{"id":"file_id","type":"function","function":{"name":"f","arguments":"{\"file_id\":1}"}}]},{"role":"tool","tool_call_id":"file_id","content":"x"}]`,
		"the client's own words": said + `,"metadata":{"file_id":"1"}`,
		"nothing":                `"messages":[{"role":"user","content":[{"type":"text","text":"hi","file_id":null}]}]`,
	} {
		up.Plays(harness.Document(http.StatusOK, harness.WholeAnswer))
		resp := harness.NewClient(c, "shared", "ann").Do(http.MethodPost, harness.CompletionsPath, `{"model":"gpt",`+body+`}`)
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", name, resp.StatusCode, text)
		}
	}
}
