package gateway

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// callsLast is a server as strict as OpenAI with names and ids, that calls the last tool.
func callsLast(c *harness.Call) {
	refuse := func(param string) {
		harness.Document(http.StatusBadRequest, fmt.Sprintf(`{"error":{"message":"Invalid '%s'","type":"invalid_request_error","param":%[1]q,"code":"invalid_value"}}`, param))(c)
	}
	root := gjson.Parse(c.Body)
	for _, path := range []string{"tools.#.function.name", "messages.#.tool_calls.#.function.name|@flatten", "tool_choice.function.name|@values"} {
		for _, name := range root.Get(path).Array() {
			if !toolName.MatchString(name.Str) {
				refuse(path)
				return
			}
		}
	}
	for _, path := range []string{"messages.#.tool_call_id", "messages.#.tool_calls.#.id|@flatten"} {
		for _, id := range root.Get(path).Array() {
			if len(id.Str) > 40 {
				refuse(path)
				return
			}
		}
	}
	name := root.Get("tools|@reverse|0.function.name").Str
	call := `{"index":0,"id":"call_1","type":"function","function":{"name":"` + name + `","arguments":"{}"}}`
	if c.Streams() {
		c.Send(c.Role(), `data: {"id":"`+c.ID+`","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"tool_calls":[`+call+`]},"finish_reason":null}]}`+"\n\n", c.Finish("tool_calls"), harness.EndMark)
		return
	}
	harness.Document(http.StatusOK, `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[`+call+`]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)(c)
}

// TestToolNamesOfOtherAPIs has clients of other APIs call their tools what OpenAI does not
// allow, and their calls too.
func TestToolNamesOfOtherAPIs(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, callsLast)
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up)), "globex", "ann")
	long := "mcp__a_server_with_a_really_long_name__and_a_tool_whose_name_is_long_as_well"
	id := "toolu_" + strings.Repeat("a", 60)
	for _, name := range []string{long, "files.read", "plain"} {
		for _, stream := range []bool{false, true} {
			for path, body := range map[string]string{
				"/v1/messages": `"max_tokens":9,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"` + id + `","name":"` + name + `","input":{}}]},
					{"role":"user","content":[{"type":"tool_result","tool_use_id":"` + id + `","content":"r"}]}],"tools":[{"name":"` + long + `2","input_schema":{"type":"object"}},{"name":"` + name + `","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"` + name + `"}`,
				"/v1/responses": `"input":[{"role":"user","content":"hi"},{"type":"function_call","call_id":"` + id + `","name":"` + name + `","arguments":"{}"},{"type":"function_call_output","call_id":"` + id + `","output":"r"}],
					"tools":[{"type":"function","name":"` + long + `2","parameters":{"type":"object"}},{"type":"function","name":"` + name + `","parameters":{"type":"object"}}]`,
			} {
				resp := cl.Do(http.MethodPost, path, fmt.Sprintf(`{"model":"fast","stream":%v,%s}`, stream, body))
				if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || !strings.Contains(got, `"name":"`+name+`"`) {
					t.Errorf("%s, stream %v: %d %s, sent %s", path, stream, resp.StatusCode, got, up.Last().Body)
				}
				last := gjson.Parse(up.Last().Body)
				if used, declared := last.Get("messages.1.tool_calls.0.function.name").Str, last.Get("tools.1.function.name").Str; used != declared {
					t.Errorf("%s: called %q and declared as %q", path, used, declared)
				}
				if called, answered := last.Get("messages.1.tool_calls.0.id").Str, last.Get("messages.2.tool_call_id").Str; called != answered || called == "" {
					t.Errorf("%s: called by %q and answered for %q", path, called, answered)
				}
			}
		}
	}
}
