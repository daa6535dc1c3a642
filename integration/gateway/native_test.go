package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// nativeEvents are an answer with much that chat completions do not have.
var nativeEvents = []string{
	"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-4-5\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":9,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n",
	"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
	"event: ping\ndata: {\"type\": \"ping\"}\n\n",
	"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n",
	"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"c2ln\"}}\n\n",
	"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
	"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
	"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello \"}}\n\n",
	"event: brand_new\ndata: {\"type\":\"brand_new\",  \"n\":1.0}\n\n",
	"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"world\"}}\n\n",
	"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
	"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":7}}\n\n",
	"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
}

const nativeSite = `
	tenant_resolve
	ai_gateway {
		provider anthropic {
			base_url %s
			api_key upstream-key
			header Anthropic-Beta operators-beta
		}
		provider openai {
			base_url %s
		}
		model fast {
			to anthropic/claude-haiku-4-5
		}
		model safe {
			to anthropic/claude-haiku-4-5
			to openai/up-1
		}
		retries 0
		circuit_breaker off
	}
`

// TestNativeMessages has Anthropic's clients at Anthropic's API.
func TestNativeMessages(t *testing.T) {
	up, other := harness.NewUpstream(t), harness.NewTarget(t, "other")
	site := strings.Replace(strings.Replace(nativeSite, "%s", up.Origin(), 1), "%s", other.URL, 1)
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, site), "globex", "ann")
	request := func(model string) string {
		return `{"max_tokens":100, "model" : "` + model + `","messages":[{"role":"user","content":"\u0068i"}],"new_member":[1.0],"stream":true}`
	}
	ask := func(t *testing.T, model string) string {
		t.Helper()
		return harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages?beta=true", request(model), "Anthropic-Version", "2023-06-01", "Anthropic-Beta", "clients-beta"))
	}
	whole := strings.Join(nativeEvents, "")

	t.Run("a stream passes as it came", func(t *testing.T) {
		for _, ends := range []string{"\n", "\r\n"} {
			events := strings.ReplaceAll(whole, "\n", ends)
			up.Plays(harness.Sends(events))
			if got := ask(t, "fast"); got != events {
				t.Errorf("got\n%q\nwant\n%q", got, events)
			}
		}
		asked := up.Last()
		if want := strings.Replace(request("fast"), "fast", "claude-haiku-4-5", 1); asked.Body != want {
			t.Errorf("the upstream got\n%s\nwant\n%s", asked.Body, want)
		}
		h := asked.Header
		if h.Get("X-Api-Key") != "upstream-key" || h.Get("Authorization") != "" || h.Get("Anthropic-Beta") != "operators-beta,clients-beta" {
			t.Errorf("the upstream got the headers %v", h)
		}
	})

	t.Run("a document passes as it came", func(t *testing.T) {
		const answer = `{"id":"m", "type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi","citations":[{"x":1}]}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":5}}`
		up.Plays(harness.Document(http.StatusOK, answer))
		got := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", strings.Replace(request("fast"), `,"stream":true`, "", 1)))
		if got != answer {
			t.Errorf("got\n%s\nwant\n%s", got, answer)
		}
	})

	t.Run("a cut ends with an error event", func(t *testing.T) {
		for n := 4; n < len(nativeEvents)-2; n++ { // from the first content to before the stop reason
			up.Plays(harness.Sends(nativeEvents[:n]...))
			got := ask(t, "fast")
			before := strings.Join(nativeEvents[:n], "")
			if rest, ok := strings.CutPrefix(got, before); !ok || !strings.Contains(rest, "event: error\n") || strings.Contains(rest, "message_stop") {
				t.Errorf("cut after %d events:\n%s", n, got)
			}
		}
	})

	t.Run("a missing end is added", func(t *testing.T) {
		up.Plays(harness.Sends(nativeEvents[:len(nativeEvents)-1]...))
		got := ask(t, "fast")
		if !strings.HasPrefix(got, whole[:strings.LastIndex(whole, "event: message_stop")]) || strings.Count(got, "event: message_stop\n") != 1 {
			t.Errorf("got\n%s", got)
		}
	})

	t.Run("an error before the answer", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusBadRequest, `{"type":"error","error":{"type":"invalid_request_error","message":"new_member: not permitted"}}`))
		resp := cl.Do(http.MethodPost, "/v1/messages", request("fast"))
		body := gjson.Parse(harness.ReadAll(t, resp))
		if resp.StatusCode != http.StatusBadRequest || body.Get("type").Str != "error" || !strings.Contains(body.Get("error.message").Str, "new_member") {
			t.Errorf("%d %s", resp.StatusCode, body.Raw)
		}
	})

	t.Run("a cut is rescued by a provider with another API", func(t *testing.T) {
		up.Plays(harness.Sends(nativeEvents[:9]...))
		other.Plays(harness.Says(9, 7, "Hello ", "world"))
		got := ask(t, "safe")
		rest, ok := strings.CutPrefix(got, strings.Join(nativeEvents[:9], ""))
		if !ok || !strings.Contains(rest, `"text":"world"`) || !strings.HasSuffix(rest, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n") || strings.Contains(rest, "Hello") {
			t.Errorf("got\n%s", got)
		}
		if asked := other.Last(); asked.Get("new_member").Exists() {
			t.Errorf("the rescuer got %s", asked.Body)
		}
	})

	t.Run("stored files are refused", func(t *testing.T) {
		before := up.Count()
		resp := cl.Do(http.MethodPost, "/v1/messages", `{"model":"fast","max_tokens":9,"container":"c_1","messages":[{"role":"user","content":"hi"}]}`)
		if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "container") || up.Count() != before {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	})
}

// TestOnlyNative has requests that only a provider with the client's API may understand: it
// gets them as they came, and others none of them.
func TestOnlyNative(t *testing.T) {
	t.Parallel()
	native := harness.NewUpstream(t, harness.Document(http.StatusOK, `{"id":"m","type":"message","role":"assistant","model":"x","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`))
	other := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\nai_gateway {\n"+
		"provider claude anthropic {\nbase_url "+native.Origin()+"\n}\nprovider openai {\nbase_url "+other.URL+"\n}\n"+
		"model fast {\nto claude/x\n}\nmodel both {\nto openai/y\nto claude/x\n}\nmodel plain {\nto openai/y\n}\n}\n")
	cl := harness.NewClient(c, "globex", "ann")
	for _, members := range []string{
		`"tools":[{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"web_search"}`,
		`"thinking":{"type":"dreamy"}`, `"output_config":{"effort":"huge"}`,
		`"system":[{"type":"new","x":1}]`,
	} {
		for model, status := range map[string]int{"fast": http.StatusOK, "both": http.StatusOK, "plain": http.StatusBadRequest} {
			resp := cl.Do(http.MethodPost, "/v1/messages", `{"model":"`+model+`","max_tokens":9,"messages":[{"role":"user","content":[{"type":"newkind","text":"zz"}]}],`+members+`}`)
			text := harness.ReadAll(t, resp)
			if resp.StatusCode != status {
				t.Errorf("%s with %s: %d %s", model, members, resp.StatusCode, text)
			}
			if status == http.StatusOK && !strings.Contains(native.Last().Body, members) {
				t.Errorf("%s with %s: the provider got %s", model, members, native.Last().Body)
			}
		}
	}
	if n := other.Count(); n != 0 {
		t.Errorf("another provider was asked %d times", n)
	}
}

// TestNativeWithinBudget has a budget that may have to end a document: it is streamed, and
// still has what only its provider knows.
func TestNativeWithinBudget(t *testing.T) {
	up := harness.NewUpstream(t)
	var tenants strings.Builder
	for _, id := range []string{"one", "two", "three", "four"} {
		tenants.WriteString("\ttenant " + id + " {\n\t\tbudget 1000 tokens/day\n\t}\n")
	}
	c := harness.Start(t, "\nchat {\n"+tenants.String()+"}\n", strings.ReplaceAll(budgetedSite, "%s", up.Origin()))
	for _, api := range []struct {
		tenants                   [2]string
		path, body, upstreamModel string
		events                    []string
		text                      int // the number of the event with the first text
		own, stop, limit          string
	}{
		{
			[2]string{"one", "two"}, "/v1/messages", `{"model":"claude","max_tokens":5000,"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"web_search"}}`,
			"claude-haiku-4-5", nativeEvents, 7, `content.0.signature`, "stop_reason", "max_tokens",
		},
		{
			[2]string{"three", "four"}, "/v1/responses", `{"model":"gpt","store":false,"input":"hi","tools":[{"type":"web_search"}],"tool_choice":{"type":"web_search"}}`,
			"gpt-5", responseEvents, 10, `output.#(type=="web_search_call").id`, "incomplete_details.reason", "max_output_tokens",
		},
	} {
		t.Run(api.path, func(t *testing.T) {
			up.Plays(harness.Sends(strings.Join(api.events, "")))
			resp := harness.NewClient(c, api.tenants[0], "ann").Do(http.MethodPost, api.path, api.body)
			got := harness.ReadAll(t, resp)
			if resp.StatusCode != http.StatusOK || !gjson.Get(got, api.own).Exists() || resp.Header.Get("X-Ai-Dropped") != "" {
				t.Errorf("%d, X-Ai-Dropped %q\n%s", resp.StatusCode, resp.Header.Get("X-Ai-Dropped"), got)
			}
			want := strings.Replace(api.body, gjson.Get(api.body, "model").Raw, `"`+api.upstreamModel+`"`, 1)
			if asked := up.Last().Body; asked != strings.TrimSuffix(want, "}")+`,"stream":true}` {
				t.Errorf("the upstream got\n%s", asked)
			}

			events := slices.Clone(api.events)
			events[api.text+2] = strings.Replace(events[api.text+2], "world", strings.Repeat("long ", 2000), 1)
			up.Plays(harness.Sends(strings.Join(events, "")))
			got = harness.ReadAll(t, harness.NewClient(c, api.tenants[1], "ann").Do(http.MethodPost, api.path, api.body))
			if gjson.Get(got, api.stop).Str != api.limit || !strings.Contains(got, "Hello ") || strings.Contains(got, "long") || !gjson.Get(got, api.own).Exists() {
				t.Errorf("with its budget used up, it is\n%s", got)
			}
		})
	}
}

// TestNativeDocumentWithinBudget has servers answer with a document although a budget had them
// asked for a stream. The document is taken, or nothing of it if the budget has no room.
func TestNativeDocumentWithinBudget(t *testing.T) {
	up := harness.NewUpstream(t)
	var tenants strings.Builder
	for _, id := range []string{"messages", "responses"} {
		for i := range 3 {
			fmt.Fprintf(&tenants, "tenant %s-%d {\nbudget 1000 tokens/day\n}\n", id, i)
		}
	}
	c := harness.Start(t, "\nchat {\n"+tenants.String()+"}\n", strings.ReplaceAll(budgetedSite, "%s", up.Origin()))
	for id, api := range map[string]struct{ path, body, answer, stop, limit string }{
		"messages": {
			"/v1/messages", `{"model":"claude","max_tokens":5000,"messages":[{"role":"user","content":"hi"}]}`,
			`{"id":"msg_1", "type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"TEXT"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":5}, "new":1.0}`,
			"stop_reason", "max_tokens",
		},
		"responses": {
			"/v1/responses", `{"model":"gpt","store":false,"input":"hi"}`,
			`{"id":"resp_1", "object":"response","status":"completed","model":"m","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"TEXT","annotations":[]}]}],"usage":{"input_tokens":9,"output_tokens":5}, "new":1.0}`,
			"incomplete_details.reason", "max_output_tokens",
		},
	} {
		ask := func(n int, body string) *http.Response {
			return harness.NewClient(c, fmt.Sprintf("%s-%d", id, n), "ann").Do(http.MethodPost, api.path, body)
		}
		up.Plays(harness.Document(http.StatusOK, api.answer))
		resp := ask(0, api.body)
		if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != api.answer || !gjson.Get(up.Last().Body, "stream").Bool() {
			t.Errorf("%s: %d\n%s", api.path, resp.StatusCode, got)
		}
		c.WantMetrics(map[string]float64{`caddy_ai_budget_used_ratio{period="day",tenant="` + id + `-0"}`: 0.014})

		up.Plays(harness.Document(http.StatusOK, strings.Replace(api.answer, `"output_tokens":5`, `"output_tokens":5000`, 1)))
		resp = ask(1, api.body)
		got := harness.ReadAll(t, resp)
		if resp.StatusCode != http.StatusOK || gjson.Get(got, api.stop).Str != api.limit || strings.Contains(got, "TEXT") || gjson.Get(got, "model").Str != "m" || !gjson.Get(got, "id").Exists() {
			t.Errorf("%s: with its budget used up, it is %d\n%s", api.path, resp.StatusCode, got)
		}

		// a client that has asked for a stream cannot do with a document
		up.Plays(harness.Document(http.StatusOK, api.answer))
		resp = ask(2, strings.Replace(api.body, "{", `{"stream":true,`, 1))
		if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: a stream is %d %s", api.path, resp.StatusCode, got)
		}
	}
}

const budgetedSite = `
	tenant_resolve
	ai_gateway {
		provider anthropic {
			base_url %s
			api_key k
		}
		provider openai {
			base_url %s
			api_key k
			responses on
		}
		model claude {
			to anthropic/claude-haiku-4-5
		}
		model gpt {
			to openai/gpt-5
		}
	}
`
