package clients

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// keptCases are what clients do with responses that are kept.
var keptCases = []clientCase{
	{Do: "previous", Model: "echo", want: sight{Text: "re: one, re: two"}},
	{Do: "resume", Model: "echo", want: sight{Text: "re: one"}},
	{Do: "follow", Model: "echo", want: sight{Text: "re: one", Finish: "completed"}},
	{Do: "background", Model: "echo", want: sight{Text: "re: one", Finish: "completed"}},
	{Do: "cancel", Model: "endless", want: sight{Finish: "cancelled"}},
	{Do: "parse", Model: "place", want: sight{Text: `{"city":"Tokyo","degrees":21}`}},
	{Do: "object", Model: "place", want: sight{Text: `{"city":"Tokyo","degrees":21}`}},
	{Do: "agent", Model: "echo", want: sight{Text: "re: one, re: two, re: three"}},
	{Do: "call", Model: "tool", want: sight{Text: "It is warm.", Ran: 2}},
	{Do: "turns", Model: "tool", want: sight{Text: "It is warm., It is warm.", Ran: 2}},
}

// TestKeptResponses runs clients against a gateway with chat_session in front, which
// keeps what they say.
func TestKeptResponses(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.ByModel(map[string]harness.Script{
		"upstream-echo":    harness.Echoes,
		"upstream-endless": harness.Steps(harness.Begins("once "), harness.Stalls),
		"upstream-place":   harness.Replies(placeOf(t)),
		"upstream-tool":    callsTwice(t),
	}))
	testKept(t, up, "")
}

// TestKeptResponsesNatively does the same in front of a server that has Responses itself,
// as strict as OpenAI's own.
func TestKeptResponsesNatively(t *testing.T) {
	t.Parallel()
	testKept(t, harness.NewUpstream(t, answersResponses(t, nil)), "responses on")
}

// TestKeptResponsesUnnumbered does the same in front of one that does not number its events.
func TestKeptResponsesUnnumbered(t *testing.T) {
	t.Parallel()
	testKept(t, harness.NewUpstream(t, answersResponses(t, harness.Unnumbered)), "responses on")
}

func testKept(t *testing.T, up *harness.Upstream, options string) {
	c := harness.Start(t, "chat {\n tenant acme {\n api_key acme-client-key\n }\n }\n", `
		tenant_resolve
		chat_session
		ai_gateway {
			provider openai {
				base_url `+up.URL+`
				`+options+`
			}
			model echo {
				to openai/upstream-echo
			}
			model endless {
				to openai/upstream-endless
			}
			model place {
				to openai/upstream-place
			}
			model tool {
				to openai/upstream-tool
			}
		}
	`)
	client := officialClient{name: "kept", run: runScript, peculiar: []peculiarity{reasoningIsLost}}
	cases := make([]clientCase, len(keptCases))
	for i, k := range keptCases {
		k.Name, k.Key = k.Do, "acme-client-key"
		client.does = append(client.does, k.Do)
		cases[i] = k
	}
	client.test(t, c.URL, cases)
}

// answersResponses answers as the upstream of TestKeptResponses does, in Responses. It wants
// back what it has said as it was. number is as of harness.ResponsesNumbered.
func answersResponses(t *testing.T, number func(int) string) harness.Script {
	usage := &provider.Usage{Input: 20, Output: 9}
	calls := []providertest.Part{
		{Reasoning: "Two of them."}, {Text: "Let me see."},
		{Call: 1, ID: "call_1", Name: "weather", Arguments: `{"city":"Tokyo"}`}, {Call: 2, ID: "call_2", Name: "weather", Arguments: `{"city":"Kyoto"}`},
	}
	return func(c *harness.Call) {
		body := []byte(c.Body)
		if refused := providertest.RefuseResponse(body); refused != nil || c.Path != "/v1/responses" {
			t.Errorf("a strict server refuses %s: %v\n%s", c.Path, refused, body)
			harness.Document(http.StatusBadRequest, `{"error":{"message":"refused"}}`)(c)
			return
		}
		model := c.Get("model").Str
		reply := providertest.Reply{Model: model, Finish: "stop", Usage: usage}
		switch model {
		case "upstream-echo":
			reply.Parts = []providertest.Part{{Text: "re: "}, {Text: lastWords(gjson.GetBytes(body, "input"))}}
		case "upstream-place":
			if gjson.GetBytes(body, "text.format.type").Str != "json_schema" {
				t.Errorf("the schema is not in %s", body)
			}
			reply.Parts = []providertest.Part{{Text: `{"city":"Tokyo","degrees":21}`}}
		case "upstream-tool":
			said := strings.Count(c.Body, `"Let me see."`)
			if said == 0 {
				reply.Parts, reply.Finish = calls, "tool_calls"
				break
			}
			if said != 1 || strings.Count(c.Body, toolResult) != 2 || gjson.GetBytes(body, `input.#(type=="reasoning").encrypted_content`).Str == "" {
				t.Errorf("the model does not get back what it has said: %s", body)
			}
			reply.Parts = []providertest.Part{{Text: "It is "}, {Text: "warm."}}
		case "upstream-endless":
			c.Send(harness.EventsNumbered(body, reply, number)[0])
			harness.Stalls(c)
			return
		}
		harness.ResponsesNumbered(reply, number)(c)
	}
}

// lastWords returns what the last item of an input says.
func lastWords(input gjson.Result) string {
	if input.Type == gjson.String {
		return input.Str
	}
	items := input.Array()
	return provider.TextOf(items[len(items)-1].Get("content"))
}

// placeOf answers with a place, if the request asks for its schema.
func placeOf(t *testing.T) func(harness.Asked) string {
	return func(a harness.Asked) string {
		format := gjson.Get(a.Body, "response_format")
		if format.Get("type").Str != "json_schema" || !format.Get("json_schema.schema.properties.city").Exists() || !format.Get("json_schema.strict").Bool() {
			t.Errorf("the schema is not in %s", a.Body)
		}
		return `{"city":"Tokyo","degrees":21}`
	}
}

// callsTwice calls a tool twice after some reasoning and some text, and wants back
// what it has said.
func callsTwice(t *testing.T) harness.Script {
	calls := []string{
		`{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Tokyo\"}"}}`,
		`{"id":"call_2","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Kyoto\"}"}}`,
	}
	return func(c *harness.Call) {
		if !strings.Contains(c.Body, toolResult) {
			if c.Streams() {
				c.Send(c.Role(), c.Event(`{"reasoning_content":"Two of them."}`, ""), c.Text("Let me see."),
					c.Tool(0, "call_1", "weather", `{"city":"Tokyo"}`), c.Tool(1, "call_2", "weather", `{"city":"Kyoto"}`),
					c.Finish("tool_calls"), c.Usage(20, 9), harness.EndMark)
				return
			}
			message := `{"role":"assistant","reasoning_content":"Two of them.","content":"Let me see.","tool_calls":[` + strings.Join(calls, ",") + `]}`
			harness.Document(http.StatusOK, c.Completion(message, "tool_calls", harness.UsageOf(20, 9)))(c)
			return
		}
		said := gjson.Get(c.Body, `messages.#(role=="assistant")`)
		if said.Get("content").Str != "Let me see." || said.Get("reasoning_content").Str != "Two of them." || said.Get("tool_calls.#").Int() != 2 ||
			strings.Count(c.Body, toolResult) != 2 || strings.Count(c.Body, "Let me see.") != 1 {
			t.Errorf("the model does not get back what it has said: %s", c.Body)
		}
		harness.Says(30, 4, "It is ", "warm.")(c)
	}
}
