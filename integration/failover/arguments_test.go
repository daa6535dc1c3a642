package failover

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestBadArguments: servers that parse the arguments of earlier calls, as vLLM
// does, get a JSON object once they have refused what a cut answer left behind.
func TestBadArguments(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient + "\nretries 0\npassthrough"})
	const bad = `{"cmd": "cut off`
	body := func(model string, streams bool) string {
		b := `{"model":"` + model + `","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":` +
			string(provider.Encode(bad)) + `}}]},{"role":"tool","tool_call_id":"c","content":"no"}]`
		if streams {
			b += `,"stream":true`
		}
		return b + "}"
	}
	parses := func(refusal harness.Script) harness.Script {
		return func(c *harness.Call) {
			if !gjson.Valid(c.Get("messages.1.tool_calls.0.function.arguments").Str) {
				refusal(c)
				return
			}
			harness.Says(7, 3, "Hello")(c)
		}
	}
	for i, refusal := range []harness.Script{
		told(400, `"Unterminated string starting at: line 1 column 9 (char 8)"`, `,"type":"BadRequestError","param":null,"code":400`),
		harness.Document(422, `{"detail":"invalid function arguments"}`),
		harness.Document(500, `{"error":{"code":500,"message":"Failed to parse tool call arguments as JSON","type":"server_error"}}`),
	} {
		for _, streams := range []bool{true, false} {
			model := "one/" + strings.Repeat("m", i+1)
			if streams {
				model += "-stream"
			}
			one.Plays(parses(refusal))
			before := one.Count()
			for range 2 {
				a := s.try(t, body(model, streams))
				a.WantText(t, "Hello")
			}
			asked := one.Requests()[before:]
			if len(asked) != 3 {
				t.Fatalf("%s: %d calls, want 3: the second request knows what the target refuses", model, len(asked))
			}
			if got := asked[0].Get("messages.1.tool_calls.0.function.arguments").Str; got != bad {
				t.Errorf("the first call has the arguments %s, want them as they came", got)
			}
			for _, a := range asked[1:] {
				if a.Get("messages.1.tool_calls.0.function.arguments").Str != "{}" || !strings.Contains(a.Get("messages.1.content").Str, bad) {
					t.Errorf("the target got %s", a.Body)
				}
			}
		}
	}
	t.Run("another refusal is the client's", func(t *testing.T) {
		one.Plays(told(400, `"temperature is too hot"`, `,"type":"invalid_request_error","param":"temperature","code":null`))
		a := s.try(t, body("one/other", false))
		if a.Status != 400 || !strings.Contains(strings.Join(a.Frames, ""), "temperature is too hot") {
			t.Errorf("%d %v", a.Status, a.Frames)
		}
	})
}
