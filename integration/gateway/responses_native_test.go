package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// responseEvents are an answer with much that chat completions do not have, in the words
// of OpenAI.
var responseEvents = func() []string {
	usage := `"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":16}`
	var list []string
	for i, data := range []string{
		`{"type":"response.created","response":{"id":"resp_up","object":"response","created_at":17,"status":"in_progress","model":"gpt-5","output":[],"store":false}`,
		`{"type":"response.in_progress","response":{"id":"resp_up","status":"in_progress","model":"gpt-5"}`,
		`{"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}`,
		`{"type":"response.reasoning_summary_part.added","item_id":"rs_1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}`,
		`{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"summary_index":0,"delta":"hm"`,
		`{"type":"response.output_item.done","output_index":0,"item":{"id":"rs_1","type":"reasoning","encrypted_content":"c2VhbGVk","summary":[{"type":"summary_text","text":"hm"}]}`,
		`{"type":"response.output_item.added","output_index":1,"item":{"id":"ws_1","type":"web_search_call","status":"in_progress"}`,
		`{"type":"response.output_item.done","output_index":1,"item":{"id":"ws_1","type":"web_search_call","status":"completed"}`,
		`{"type":"response.output_item.added","output_index":2,"item":{"id":"msg_1","type":"message","role":"assistant","content":[]}`,
		`{"type":"response.content_part.added","item_id":"msg_1","output_index":2,"content_index":0,"part":{"type":"output_text","text":""}`,
		`{"type":"response.output_text.delta","item_id":"msg_1","output_index":2,"content_index":0,"delta":"Hello ","obfuscation":"x"`,
		`{"type":"response.brand_new",  "n":1.0`,
		`{"type":"response.output_text.delta","item_id":"msg_1","output_index":2,"content_index":0,"delta":"world"`,
		`{"type":"response.output_text.done","item_id":"msg_1","output_index":2,"content_index":0,"text":"Hello world"`,
		`{"type":"response.output_item.done","output_index":2,"item":{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello world","annotations":[]}]}`,
		`{"type":"response.completed","response":{"id":"resp_up","status":"completed","model":"gpt-5","output":[],` + usage + `}`,
	} {
		typ := gjson.Get(data+"}", "type").Str
		list = append(list, fmt.Sprintf("event: %s\ndata: %s,\"sequence_number\":%d}\n\n", typ, data, i))
	}
	return list
}()

// firstThought and firstWords are the numbers of events with which thinking and the visible
// answer have begun, and last is the one that ends it.
const firstThought, firstWords, last = 5, 11, 15

const responsesSite = `
	log
	tenant_resolve
	ai_gateway {
		provider openai {
			base_url %s
			api_key upstream-key
			responses on
		}
		provider other openai {
			base_url %s
		}
		model fast {
			to openai/gpt-5
			price 1 10
		}
		model safe {
			to openai/gpt-5
			to other/up-1
		}
		retries 0
		circuit_breaker off
	}
`

// TestNativeResponses has clients of OpenAI's Responses at a server that has these itself.
func TestNativeResponses(t *testing.T) {
	up, other := harness.NewUpstream(t), harness.NewTarget(t, "other")
	c := harness.Start(t, harness.GatewayTenants, fmt.Sprintf(responsesSite, up.URL, other.URL))
	cl := harness.NewClient(c, "globex", "ann")
	request := func(model, more string) string {
		return `{"input":[{"role":"user","content":"\u0068i"}], "model" : "` + model + `","tools":[{"type":"web_search"}],"new_member":[1.0],"store":true` + more + `}`
	}
	ask := func(t *testing.T, model string) string {
		t.Helper()
		return harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/responses", request(model, `,"stream":true`)))
	}
	whole := strings.Join(responseEvents, "")

	t.Run("a stream passes as it came", func(t *testing.T) {
		up.Plays(harness.Sends(whole))
		resp := cl.Do(http.MethodPost, "/v1/responses", request("fast", `,"stream":true`), "X-User-Id", "eve")
		if got := harness.ReadAll(t, resp); got != whole {
			t.Errorf("got\n%s\nwant\n%s", got, whole)
		}
		asked := up.Last()
		if want := strings.NewReplacer(`"fast"`, `"gpt-5"`, `"store":true`, `"store":false`).Replace(request("fast", `,"stream":true`)); asked.Body != want || asked.Path != "/v1/responses" {
			t.Errorf("%s got\n%s\nwant\n%s", asked.Path, asked.Body, want)
		}
		if got := asked.Header.Get("Authorization"); got != "Bearer upstream-key" {
			t.Errorf("the upstream got the key %q", got)
		}
		harness.WantFields(t, c.AccessLog(resp.Header.Get("X-Trace-Id")), map[string]any{
			"tenant": "globex", "user": "eve", "trace_id": nil, "model": "fast", "provider": "openai", "attempts": 1.0,
			"tokens_in": 9.0, "tokens_out": 7.0, "cost_usd": 79e-6, "ttft_ms": nil, "status": 200.0,
		})
	})

	t.Run("a document passes as it came", func(t *testing.T) {
		const answer = `{"id":"resp_up", "object":"response","status":"completed","model":"gpt-5","output":[{"type":"message","content":[{"type":"output_text","text":"hi","annotations":[{"x":1}]}]}],"usage":{"input_tokens":9,"output_tokens":5}}`
		up.Plays(harness.Document(http.StatusOK, answer))
		if got := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/responses", request("fast", ""))); got != answer {
			t.Errorf("got\n%s\nwant\n%s", got, answer)
		}
	})

	t.Run("a cut before anything was said falls back", func(t *testing.T) {
		for n := 1; n < firstThought; n++ {
			up.Plays(harness.Sends(responseEvents[:n]...))
			other.Plays(harness.Says(9, 7, "Hello"))
			got := ask(t, "safe")
			if strings.Contains(got, "resp_up") || strings.Contains(got, "rs_1") || strings.Count(got, "event: response.created\n") != 1 || strings.Count(got, "event: response.completed\n") != 1 {
				t.Errorf("cut after %d events:\n%s", n, got)
			}
		}
	})

	t.Run("a cut ends with response.failed", func(t *testing.T) {
		for n := firstThought; n < last; n++ {
			up.Plays(harness.Sends(responseEvents[:n]...))
			got := ask(t, "fast")
			rest, ok := strings.CutPrefix(got, strings.Join(responseEvents[:n], ""))
			if !ok || !strings.HasPrefix(rest, "event: error\n") || strings.Count(rest, "event: response.failed\n") != 1 || strings.Contains(rest, "response.completed") {
				t.Fatalf("cut after %d events:\n%s", n, got)
			}
			_, data, _ := strings.Cut(rest, "event: response.failed\ndata: ")
			if v := gjson.Parse(data); v.Get("sequence_number").Int() != int64(n)+1 || v.Get("response.id").Str != "resp_up" || v.Get("response.error.code").Str == "" {
				t.Errorf("cut after %d events it ends with %s", n, rest)
			}
		}
	})

	t.Run("a failure of the response", func(t *testing.T) {
		failed := "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"secret of upstream\"}},\"sequence_number\":99}\n\n"
		broken := "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"secret of upstream\",\"sequence_number\":99}\n\n"
		untyped := strings.TrimPrefix(broken, "event: error\n")
		for _, event := range []string{failed, broken, untyped} {
			up.Plays(harness.Sends(strings.Join(responseEvents[:2], "") + event))
			other.Plays(harness.Says(9, 7, "Hello"))
			if got := ask(t, "safe"); !strings.Contains(got, `"text":"Hello"`) || strings.Contains(got, "resp_up") || !strings.Contains(got, "event: response.completed\n") {
				t.Errorf("before its first words:\n%s", got)
			}
			up.Plays(harness.Sends(strings.Join(responseEvents[:firstWords], "") + event))
			if got := ask(t, "fast"); strings.Count(got, "event: response.failed\n") != 1 || strings.Contains(got, "secret") {
				t.Errorf("after them:\n%s", got)
			}
		}
		up.Plays(harness.Document(http.StatusOK, `{"id":"resp_up","status":"failed","error":{"code":"server_error","message":"secret of upstream"},"output":[]}`))
		resp := cl.Do(http.MethodPost, "/v1/responses", request("fast", ""))
		if text := harness.ReadAll(t, resp); resp.StatusCode < 500 || strings.Contains(text, "secret") {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
	})

	t.Run("a cut is rescued by a server without Responses", func(t *testing.T) {
		words := strings.Join(slices.Concat(responseEvents[:6], responseEvents[8:firstWords]), "") // a search cannot be continued
		up.Plays(harness.Sends(words))
		other.Plays(harness.Says(9, 7, "Hello ", "world"))
		got := ask(t, "safe")
		rest, ok := strings.CutPrefix(got, words)
		if !ok || !strings.Contains(rest, `"delta":"world"`) || strings.Count(rest, "event: response.completed\n") != 1 || strings.Contains(rest, `"delta":"Hello`) {
			t.Errorf("got\n%s", got)
		}
		if asked := other.Last(); asked.Get("new_member").Exists() || asked.Path != "/v1/chat/completions" {
			t.Errorf("the rescuer got %s", asked.Body)
		}
	})

	t.Run("an answer without room", func(t *testing.T) {
		incomplete := strings.NewReplacer("response.completed", "response.incomplete", `"status":"completed","model"`, `"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"model"`).Replace(whole)
		up.Plays(harness.Sends(incomplete))
		if got := ask(t, "fast"); got != incomplete {
			t.Errorf("got\n%s", got)
		}
	})

	t.Run("what belongs to the key is refused", func(t *testing.T) {
		before := up.Count()
		for at, more := range map[string]string{
			"previous_response_id":           `,"previous_response_id":"resp_other"`,
			"conversation":                   `,"conversation":"conv_1"`,
			"background":                     `,"background":true`,
			"prompt":                         `,"prompt":{"id":"pmpt_1"}`,
			"input.1.content.0.file_id":      `,"input":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"input_file","file_id":"file_1"}]}]`,
			"input.0.type":                   `,"input":[{"type":"item_reference","id":"msg_1"}]`,
			"tools.0.vector_store_ids":       `,"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]`,
			"input.0.role":                   `,"input":[{"id":"msg_1"}]`,
			"tools.0.model":                  `,"tools":[{"type":"image_generation","model":"gpt-image-1"}]`,
			"tools.0.container":              `,"tools":[{"type":"code_interpreter","container":"cntr_1"}]`,
			"tools.0.container.file_ids":     `,"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file_1"]}}]`,
			"input.0.output.0.file_id":       `,"input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","file_id":"file_1"}]}]`,
			"input.0.content.0.file\u005fid": `,"input":[{"role":"user","content":[{"type":"input_image","file\u005fid":"file_1"}]}]`,
		} {
			body := map[string]json.RawMessage{"model": []byte(`"fast"`), "input": []byte(`"hi"`)}
			if err := json.Unmarshal([]byte("{"+more[1:]+"}"), &body); err != nil {
				t.Fatal(err)
			}
			resp := cl.Do(http.MethodPost, "/v1/responses", body)
			text := harness.ReadAll(t, resp)
			if resp.StatusCode != http.StatusBadRequest || !strings.HasPrefix(gjson.Get(text, "error.param").Str, strings.SplitN(at, ".", 2)[0]) {
				t.Errorf("%s: %d %s", at, resp.StatusCode, text)
			}
		}
		if n := up.Count() - before; n != 0 {
			t.Errorf("the upstream was asked %d times", n)
		}
	})
}
