package chat

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestKeptNatively keeps responses of a server that has the API itself: it is asked in its
// own words, in every turn, and what it answers comes as it is, but for the response's id.
func TestKeptNatively(t *testing.T) {
	for _, stream := range []bool{true, false} {
		t.Run(fmt.Sprint("stream ", stream), func(t *testing.T) {
			up := harness.NewUpstream(t)
			site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
			a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")}
			ask := func(reply providertest.Reply, body string) (events string, doc gjson.Result) {
				t.Helper()
				up.Plays(harness.Responses(reply))
				resp := a.cl.Do(http.MethodPost, "/v1/responses", strings.TrimSuffix(body, "}")+fmt.Sprintf(`,"model":"fast","stream":%v}`, stream))
				got := harness.ReadAll(t, resp)
				if !stream {
					return "", gjson.Parse(got)
				}
				if resp.Header.Get("X-Ai-Dropped") != "" {
					t.Errorf("left out: %q", resp.Header.Get("X-Ai-Dropped"))
				}
				_, data, _ := strings.Cut(got, "event: response.completed\ndata: ")
				return got, gjson.Get(data, "response")
			}
			usage := &provider.Usage{Input: 9, Output: 7, Cached: 4, Reasoning: 3}
			const tools = `"tools":[{"type":"web_search"},{"type":"custom","name":"exec"},{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false}],"reasoning":{"summary":"auto"}`
			events, first := ask(providertest.Reply{
				Model: "up-fast", Finish: "tool_calls", Usage: usage,
				Parts: []providertest.Part{{Reasoning: "hm"}, {Text: "Hel"}, {Text: "lo"}, {Call: 1, ID: "call_1", Name: "exec", Arguments: "say \"hi\"\n"}, {Call: 2, ID: "call_2", Name: "f", Arguments: "{}"}},
			}, `{"input":"hi","instructions":"be brief","metadata":{"k":"v"},`+tools+`}`)
			asked := gjson.Parse(up.Last().Body)
			if up.Last().Path != "/v1/responses" || asked.Get("store").Raw != "false" || asked.Get("tools.0.type").Str != "web_search" || asked.Get("include.0").Str != "reasoning.encrypted_content" || asked.Get("input").Str != "hi" {
				t.Errorf("the server is asked %s %s", up.Last().Path, asked)
			}
			id := first.Get("id").Str
			if len(id) < 60 || first.Get("store").Raw != "true" || first.Get("output.#").Int() != 4 || first.Get("output.0.encrypted_content").Str == "" || first.Get("metadata.k").Str != "v" || first.Get("usage.input_tokens_details.cached_tokens").Int() != 4 {
				t.Fatalf("the response is %s", first)
			}
			if stream {
				if strings.Count(events, `"obfuscation":"x"`) != 5 || strings.Contains(events, `"resp_0"`) || strings.Count(events, `"id":"`+id+`"`) != 3 {
					t.Errorf("the events are\n%s", events)
				}
				for n, event := range strings.Split(strings.TrimSpace(events), "\n\n") {
					_, data, _ := strings.Cut(event, "data: ")
					if gjson.Get(data, "sequence_number").Int() != int64(n) {
						t.Errorf("event %d is %s", n, event)
					}
				}
				for _, after := range []int{0, 7} {
					rest := harness.ReadAll(t, a.cl.Do(http.MethodGet, fmt.Sprintf("/v1/responses/%s?stream=true&starting_after=%d", id, after), nil))
					_, want, _ := strings.Cut(events, fmt.Sprintf(`"sequence_number":%d,`, after))
					_, want, _ = strings.Cut(want, "\n\n")
					if _, end, _ := strings.Cut(want, "event: response.completed"); !strings.HasPrefix(rest, strings.TrimSuffix(want, "event: response.completed"+end)) || !strings.Contains(rest, `"response.completed","sequence_number":`) {
						t.Errorf("after %d it goes on with\n%s\nwant\n%s", after, rest, want)
					}
				}
			}
			if kept := a.call(http.MethodGet, "/v1/responses/"+id, nil); kept.Raw != first.Raw {
				t.Errorf("it is kept as\n%s\nand not\n%s", kept, first)
			}

			_, second := ask(providertest.Reply{Model: "up-fast", Finish: "stop", Usage: usage, Parts: []providertest.Part{{Reasoning: "so"}, {Text: "done"}}},
				`{"previous_response_id":"`+id+`","input":[{"type":"custom_tool_call_output","call_id":"call_1","output":"hi"},{"type":"function_call_output","call_id":"call_2","output":"2"}],`+tools+`}`)
			if second.Get("previous_response_id").Str != id || second.Get("status").Str != "completed" {
				t.Fatalf("the second response is %s", second)
			}
			input := gjson.Get(up.Last().Body, "input")
			if input.Get("#").Int() != 7 || input.Get("0.content").Str != "hi" || input.Get("5.output").Str != "hi" {
				t.Errorf("the second input is %s", input)
			}
			for i, item := range first.Get("output").Array() {
				if got := input.Get(fmt.Sprint(i + 1)); got.Raw != item.Get("@ugly").Raw {
					t.Errorf("item %d goes back as\n%s\nand not\n%s", i, got, item)
				}
			}
			// the AI SDK sends what it was answered by reference
			_, third := ask(providertest.Reply{Model: "up-fast", Finish: "stop", Usage: usage, Parts: []providertest.Part{{Text: "third"}}},
				`{"input":[{"role":"user","content":"hi"},{"type":"item_reference","id":"`+second.Get("output.0.id").Str+`"},{"type":"item_reference","id":"`+second.Get("output.1.id").Str+`"},{"role":"user","content":"more"}],`+tools+`}`)
			if input := gjson.Get(up.Last().Body, "input"); input.Get("1.encrypted_content").Str == "" || input.Get("2.content.0.text").Str != "done" || third.Get("status").Str != "completed" {
				t.Errorf("by reference, the input is %s", input)
			}
			sessions := a.cl.List("").Data.Sessions
			harness.WantList(t, "history", harness.Contents(a.cl.History(sessions[1].SessionID)), []string{"user: hi", "assistant: Hello", "tool: hi", "tool: 2", "assistant: done"})
		})
	}
}

// TestKeptNativelyFails has such a server fail, fall silent, be cancelled, or be replaced by
// one that does not have the API.
func TestKeptNativelyFails(t *testing.T) {
	up, other := harness.NewUpstream(t), harness.NewTarget(t, "other")
	site := fmt.Sprintf(`tenant_resolve
chat_session
ai_gateway {
	provider openai {
		base_url %s
		api_key k
		responses on
	}
	provider other openai {
		base_url %s
		api_key k
	}
	model fast {
		to openai/gpt-5
	}
	model safe {
		to openai/gpt-5
		to other/up-1
	}
	model else {
		to other/up-1
	}
	retries 0
	circuit_breaker off
}
`, up.URL, other.URL)
	a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")}
	reply := providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Reasoning: "hm"}, {Text: "Hel"}, {Text: "lo"}}}
	const body = `{"input":"hi","tools":[{"type":"web_search"}],"model":"%s","stream":%v%s}`
	ask := func(model string, stream bool, more string) string {
		t.Helper()
		return harness.ReadAll(t, a.cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(body, model, stream, more)))
	}
	events := providertest.ResponseEvents([]byte(`{"input":"hi"}`), reply)

	said := slices.IndexFunc(events, func(e []byte) bool { return bytes.Contains(e, []byte("output_text.delta")) })
	t.Run("cut", func(t *testing.T) {
		for n := range events {
			up.Plays(func(c *harness.Call) {
				for _, e := range events[:n] {
					c.Send(string(e))
				}
				c.Send(": \n\n")
			})
			got := ask("fast", true, "")
			if strings.Contains(got, "event: response.completed") || n > said && strings.Count(got, "event: response.failed\n") != 1 {
				t.Errorf("cut after %d events:\n%s", n, got)
			}
			for i, event := range strings.Split(strings.TrimSpace(got), "\n\n") {
				_, data, ok := strings.Cut(event, "data: ")
				if ok && gjson.Get(data, "sequence_number").Int() != int64(i) {
					t.Errorf("cut after %d events, event %d is %s", n, i, event)
				}
			}
			if n > said {
				_, data, _ := strings.Cut(got, "event: response.failed\ndata: ")
				id := gjson.Get(data, "response.id").Str
				if kept := a.call(http.MethodGet, "/v1/responses/"+id, nil); kept.Get("status").Str != "failed" || len(id) < 60 || !slices.Contains([]string{"Hel", "Hello"}, text(kept)) || n == said+1 && kept.Get("output.1.status").Str != "incomplete" {
					t.Errorf("cut after %d events, it is kept as %s", n, kept)
				}
			}
		}
	})
	t.Run("another provider", func(t *testing.T) {
		for _, stream := range []bool{true, false} {
			up.Plays(harness.Refuses(500, "x"))
			other.Plays(harness.Says(9, 7, "Hello"))
			resp := a.cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(body, "safe", stream, ""))
			got := harness.ReadAll(t, resp)
			if !strings.Contains(got, `"text":"Hello"`) || !strings.Contains(resp.Header.Get("X-Ai-Dropped"), "web_search") {
				t.Errorf("%v\n%s", resp.Header, got)
			}
		}
		other.Plays(harness.Says(9, 7, "Hello"))
		up.Plays(harness.Refuses(500, "x"))
		first := gjson.Parse(ask("safe", false, ""))
		up.Plays(harness.Responses(reply))
		second := gjson.Parse(ask("safe", false, `,"previous_response_id":"`+first.Get("id").Str+`"`))
		if input := gjson.Get(up.Last().Body, "input"); second.Get("output.1.content.0.text").Str != "Hello" || input.Get("#").Int() != 3 || input.Get("1.content.0.text").Str != "Hello" {
			t.Errorf("what another provider has said goes as %s, and the response is %s", input, second)
		}
		up.Plays(harness.Refuses(500, "x"))
		other.Plays(harness.Says(9, 7, "again"))
		third := gjson.Parse(ask("safe", false, `,"previous_response_id":"`+second.Get("id").Str+`"`))
		asked := other.Last().Body
		if third.Get("output.0.content.0.text").Str != "again" || strings.Contains(asked, "response_items") || gjson.Get(asked, "messages.#").Int() != 5 {
			t.Errorf("what the server has said goes as %s, and the response is %s", asked, third)
		}
	})
	t.Run("in the background", func(t *testing.T) {
		up.Plays(harness.Responses(reply))
		id := gjson.Parse(ask("fast", false, `,"background":true`)).Get("id").Str
		a.wantStatus("/v1/responses/"+id, "completed")
		kept := a.call(http.MethodGet, "/v1/responses/"+id, nil)
		if kept.Get("background").Raw != "true" || kept.Get("output.0.encrypted_content").Str == "" || kept.Get("output.1.content.0.text").Str != "Hello" {
			t.Errorf("it is kept as %s", kept)
		}
	})
	t.Run("once more under a key", func(t *testing.T) {
		up.Plays(harness.Responses(reply))
		answers := make([]string, 2)
		for i := range answers {
			resp := a.cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(body, "fast", true, ""), "Idempotency-Key", "k")
			answers[i] = harness.ReadAll(t, resp)
		}
		if answers[0] != answers[1] || !strings.Contains(answers[0], "event: response.completed") {
			t.Errorf("first\n%s\nthen\n%s", answers[0], answers[1])
		}
	})
	t.Run("forced", func(t *testing.T) {
		up.Plays(harness.Responses(reply))
		session := harness.NewSession()
		forced := func(model string) (*http.Response, string) {
			resp := a.cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(body, model, false, `,"tool_choice":{"type":"web_search"}`), "X-Session-Id", session)
			return resp, harness.ReadAll(t, resp)
		}
		if resp, got := forced("fast"); resp.StatusCode != http.StatusOK || gjson.Get(got, "output.1.content.0.text").Str != "Hello" {
			t.Errorf("%d %s", resp.StatusCode, got)
		}
		if resp, got := forced("else"); resp.StatusCode != http.StatusBadRequest || gjson.Get(got, "error.param").Str != "tool_choice.type" {
			t.Errorf("elsewhere: %d %s", resp.StatusCode, got)
		}
	})
}

// TestKeptNativelyWithinBudget has a budget that may have to end the answer, and one that does.
func TestKeptNativelyWithinBudget(t *testing.T) {
	up := harness.NewUpstream(t)
	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	c := harness.Start(t, "\nchat {\n\ttenant rich {\n\t\tbudget 1000000 tokens/day\n\t}\n\ttenant poor {\n\t\tbudget 1000 tokens/day\n\t}\n\ttenant poorer {\n\t\tbudget 1000 tokens/day\n\t}\n}\n", site)
	reply := providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Reasoning: "hm"}, {Text: "Hello "}, {Text: strings.Repeat("long ", 2000)}}}
	ask := func(tenant string, stream bool) string {
		up.Plays(harness.Responses(reply))
		body := fmt.Sprintf(`{"input":"hi","tools":[{"type":"web_search"}],"model":"fast","stream":%v}`, stream)
		return harness.ReadAll(t, harness.NewClient(c, tenant, "ann").Do(http.MethodPost, "/v1/responses", body))
	}
	if got := gjson.Parse(ask("rich", false)); got.Get("output.0.encrypted_content").Str == "" || got.Get("status").Str != "completed" || !strings.Contains(got.Raw, "long") {
		t.Errorf("a document is %.600s", got.Raw)
	}
	if got := gjson.Parse(ask("poor", false)); got.Get("incomplete_details.reason").Str != "max_output_tokens" || got.Get("output.0.encrypted_content").Str == "" || got.Get("status").Str != "incomplete" || !strings.Contains(got.Raw, "Hello") || strings.Contains(got.Raw, "long") {
		t.Errorf("ended by its budget, a document is %.600s", got.Raw)
	}
	got := ask("poorer", true)
	_, data, _ := strings.Cut(got, "event: response.incomplete\ndata: ")
	response := gjson.Get(data, "response")
	if response.Get("output.1.content.0.text").Str != "Hello " || len(response.Get("id").Str) < 60 || strings.Contains(got, "response.completed") {
		t.Errorf("ended by its budget, a stream is\n%s", got)
	}
	for i, event := range strings.Split(strings.TrimSpace(got), "\n\n") {
		if _, data, _ := strings.Cut(event, "data: "); gjson.Get(data, "sequence_number").Int() != int64(i) {
			t.Errorf("event %d is %s", i, event)
		}
	}
}

// wantCancelled checks a response that was cancelled behind "Hel": the answer to cancel, what
// is kept, its stream, and what a follower gets.
func (a asks) wantCancelled(id string, answered gjson.Result, stream *harness.RawStream) {
	a.t.Helper()
	kept := a.call(http.MethodGet, "/v1/responses/"+id, nil)
	if answered.Raw != kept.Raw {
		a.t.Errorf("the answer to cancel is\n%s\nand a later GET returns\n%s", answered, kept)
	}
	if kept.Get("id").Str != id || kept.Get("status").Str != "cancelled" || kept.Get("error").Raw != "null" || kept.Get("incomplete_details").Raw != "null" ||
		kept.Get("output.0.content.0.text").Str != "Hel" || kept.Get("output.0.status").Str != "incomplete" || !kept.Get("usage.output_tokens").Exists() {
		a.t.Errorf("it is kept as %s", kept)
	}
	follower := harness.ReadAll(a.t, a.cl.Do(http.MethodGet, "/v1/responses/"+id+"?stream=true", nil))
	for name, events := range map[string]string{"its stream": stream.Rest(), "a follower": follower} {
		_, data, _ := strings.Cut(events, "event: response.cancelled\ndata: ")
		if gjson.Get(data, "response").Raw != kept.Raw || strings.Count(events, "event: response.output_item.done\n") != 1 {
			a.t.Errorf("%s is\n%s", name, events)
		}
		for i, event := range strings.Split(strings.TrimSpace(events), "\n\n") {
			if _, data, _ := strings.Cut(event, "data: "); gjson.Get(data, "sequence_number").Int() != int64(i) {
				a.t.Errorf("event %d of %s is %s", i, name, event)
			}
		}
	}
}

// TestKeptCancelled cancels a response of a server that has only chat completions.
func TestKeptCancelled(t *testing.T) {
	up := harness.NewUpstream(t)
	a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, up.Sessions("")), "acme", "ann")}
	body := map[string]any{"model": "fast", "input": "hi", "background": true, "stream": true}
	pending := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body))
	call := up.Call()
	call.Say("Hel")
	begun := pending.Raw().UpTo(`"delta":"Hel"`)
	_, data, _ := strings.Cut(begun.Text, "data: ")
	id := gjson.Get(data, "response.id").Str
	a.wantCancelled(id, a.call(http.MethodPost, "/v1/responses/"+id+"/cancel", nil), begun)
}

// TestKeptNativelyCancelled cancels such a response, and goes on from it.
func TestKeptNativelyCancelled(t *testing.T) {
	up := harness.NewUpstream(t)
	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")}
	events := providertest.ResponseEvents([]byte(`{"input":"hi"}`), providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Text: "Hel"}, {Text: "lo"}}})
	said := slices.IndexFunc(events, func(e []byte) bool { return bytes.Contains(e, []byte("output_text.delta")) })
	over := make(chan struct{})
	up.Plays(func(c *harness.Call) {
		for _, e := range events[:said+1] {
			c.Send(string(e))
		}
		<-c.R.Context().Done()
		close(over)
	})
	body := map[string]any{"model": "fast", "input": "hi", "background": true, "stream": true}
	begun := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body)).Raw().UpTo(`"delta":"Hel"`)
	_, data, _ := strings.Cut(begun.Text, "data: ")
	id := gjson.Get(data, "response.id").Str
	got := a.call(http.MethodPost, "/v1/responses/"+id+"/cancel", nil)
	<-over
	a.wantCancelled(id, got, begun)
	up.Plays(harness.Responses(providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Text: "next"}}}))
	if got := a.create(map[string]any{"input": "go on", "previous_response_id": id}); got.Get("output.0.content.0.text").Str != "next" {
		t.Errorf("the next one is %s", got)
	}
	if input := gjson.Get(up.Last().Body, "input"); input.Get("1.content.0.text").Str != "Hel" {
		t.Errorf("it goes on from %s", input)
	}
}

// TestKeptNativelyEdges has results behind what the user says, calls without a result, a call
// of a custom tool that is cut off, and a request that is not kept itself.
func TestKeptNativelyEdges(t *testing.T) {
	up := harness.NewUpstream(t)
	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")}
	usage := &provider.Usage{Input: 9, Output: 7}
	hi := providertest.Reply{Model: "gpt-5", Finish: "stop", Usage: usage, Parts: []providertest.Part{{Text: "hi"}}}
	tools := []any{map[string]any{"type": "custom", "name": "exec"}}

	t.Run("a result behind a message", func(t *testing.T) {
		up.Plays(harness.Responses(providertest.Reply{Model: "gpt-5", Finish: "tool_calls", Usage: usage, Parts: []providertest.Part{{Call: 1, ID: "call_1", Name: "exec", Arguments: "ls"}}}))
		id := a.create(map[string]any{"input": "one", "tools": tools}).Get("id").Str
		up.Plays(harness.Responses(hi))
		got := a.create(map[string]any{"previous_response_id": id, "tools": tools, "input": []any{
			map[string]any{"role": "user", "content": "wait"}, map[string]any{"type": "custom_tool_call_output", "call_id": "call_1", "output": "a b"},
		}})
		asked := gjson.Get(up.Last().Body, "input")
		if got.Get("status").Str != "completed" || asked.Get("1.type").Str != "custom_tool_call" || asked.Get("#").Int() != 4 {
			t.Errorf("%s for %s", got, asked)
		}
	})
	t.Run("a call of the server's own kind", func(t *testing.T) {
		const patch = `{"id":"resp_x","object":"response","status":"completed","model":"gpt-5","output":[{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"ZQ"},{"id":"apc_1","type":"apply_patch_call","call_id":"call_p","status":"completed","operation":{"type":"create_file","path":"a","diff":"+a"}}],"usage":{"input_tokens":9,"output_tokens":5,"total_tokens":14}}`
		up.Plays(harness.Document(http.StatusOK, patch))
		id := a.create(map[string]any{"input": "one", "tools": []any{map[string]any{"type": "apply_patch"}}}).Get("id").Str
		up.Plays(harness.Responses(hi))
		got := a.create(map[string]any{"previous_response_id": id, "input": "never mind"})
		if asked := gjson.Get(up.Last().Body, "input"); got.Get("status").Str != "completed" || strings.Contains(asked.Raw, "apply_patch_call") || strings.Contains(asked.Raw, "reasoning") {
			t.Errorf("%s for %s", got, asked)
		}
	})
	t.Run("a loop of the server's own tools", func(t *testing.T) {
		const patch = `{"id":"resp_x","object":"response","status":"completed","model":"gpt-5","output":[{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"ZQ"},{"id":"apc_1","type":"apply_patch_call","call_id":"call_p","status":"completed","operation":{"type":"create_file","path":"a","diff":"+a"}}],"usage":{"input_tokens":9,"output_tokens":5,"total_tokens":14}}`
		up.Plays(harness.Document(http.StatusOK, patch))
		id := a.create(map[string]any{"input": "one", "tools": []any{map[string]any{"type": "apply_patch"}}}).Get("id").Str
		for turn, input := range []any{[]any{map[string]any{"type": "apply_patch_call_output", "call_id": "call_p", "status": "completed", "output": "ok"}}, "more", "and more"} {
			up.Plays(harness.Responses(hi))
			got := a.create(map[string]any{"previous_response_id": id, "tools": []any{map[string]any{"type": "apply_patch"}}, "input": input})
			if asked := gjson.Get(up.Last().Body, "input"); got.Get("status").Str != "completed" || asked.Get("1.type").Str != "apply_patch_call" || asked.Get("2.type").Str != "apply_patch_call_output" || asked.Get("#").Int() != int64(3+2*turn) {
				t.Fatalf("turn %d: %s for %s", turn, got, asked)
			}
			id = got.Get("id").Str
		}
	})
	t.Run("items of the client's own", func(t *testing.T) {
		items := []any{
			map[string]any{"type": "message", "role": "user", "content": "hi"},
			map[string]any{"type": "reasoning", "id": "rs_a", "summary": []any{}, "encrypted_content": "ZQ"},
			map[string]any{"type": "web_search_call", "id": "ws_a", "status": "completed", "action": map[string]any{"type": "search", "query": "x"}},
			map[string]any{"type": "message", "role": "assistant", "id": "msg_a", "status": "completed", "content": []any{map[string]any{"type": "output_text", "text": "so", "annotations": []any{}}}},
			map[string]any{"type": "custom_tool_call", "call_id": "call_c", "name": "exec", "input": "ls"},
			map[string]any{"type": "custom_tool_call_output", "call_id": "call_c", "output": "a"},
			map[string]any{"type": "message", "role": "user", "content": "go on"},
		}
		up.Plays(harness.Responses(hi))
		id := a.create(map[string]any{"input": items, "tools": tools}).Get("id").Str
		first := gjson.Get(up.Last().Body, "input").Array()
		up.Plays(harness.Responses(hi))
		a.create(map[string]any{"input": "more", "previous_response_id": id, "tools": tools})
		second := gjson.Get(up.Last().Body, "input").Array()
		if len(second) != len(first)+2 {
			t.Fatalf("the second turn has %v", second)
		}
		for i, item := range first {
			if second[i].Get("@ugly").Raw != item.Get("@ugly").Raw {
				t.Errorf("item %d is\n%s\nand then\n%s", i, item, second[i])
			}
		}
	})
	t.Run("a custom call that is cut off", func(t *testing.T) {
		events := providertest.ResponseEvents([]byte(`{"input":"hi","tools":[{"type":"custom","name":"exec"}]}`), providertest.Reply{Model: "gpt-5", Finish: "tool_calls", Parts: []providertest.Part{
			{Call: 1, ID: "call_1", Name: "exec", Arguments: "say "}, {Call: 1, Arguments: "more"},
		}})
		begun := slices.IndexFunc(events, func(e []byte) bool { return bytes.Contains(e, []byte("input.delta")) })
		up.Plays(func(c *harness.Call) {
			for _, e := range events[:begun+1] {
				c.Send(string(e))
			}
			<-c.R.Context().Done()
		})
		body := map[string]any{"model": "fast", "input": "hi", "tools": tools, "background": true, "stream": true}
		stream := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body)).Raw().UpTo(`"delta":"say "`)
		_, data, _ := strings.Cut(stream.Text, "data: ")
		got := a.call(http.MethodPost, "/v1/responses/"+gjson.Get(data, "response.id").Str+"/cancel", nil)
		if item := got.Get("output.0"); item.Get("input").Str != "say " || item.Get("status").Str != "incomplete" {
			t.Errorf("it is kept as %s", got)
		}
		if events := stream.Rest(); strings.Count(events, "custom_tool_call_input.delta\n") != 1 || strings.Count(events, "output_item.done\n") != 1 {
			t.Errorf("its stream is\n%s", events)
		}
	})
	t.Run("not kept", func(t *testing.T) {
		up.Plays(harness.Responses(hi))
		id := a.create(map[string]any{"input": "one"}).Get("id").Str
		for _, stream := range []bool{false, true} {
			up.Plays(harness.Responses(hi))
			got := harness.ReadAll(t, a.cl.Do(http.MethodPost, "/v1/responses", map[string]any{"model": "fast", "input": "two", "previous_response_id": id, "store": false, "stream": stream}))
			if stream {
				_, got, _ = strings.Cut(got, "event: response.completed\ndata: ")
				got = gjson.Get(got, "response").Raw
			}
			if v := gjson.Parse(got); len(v.Get("id").Str) < 30 || v.Get("store").Raw != "false" || v.Get("previous_response_id").Str != id {
				t.Errorf("stream %v: %s", stream, got)
			}
		}
	})
}
