package gateway

import (
	"net/http"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestToolsBesideEffort has a coding agent at a model that takes tools in chat completions only
// without reasoning, and reasons if it is not told otherwise.
func TestToolsBesideEffort(t *testing.T) {
	t.Parallel()
	for _, offer := range toolOffers {
		t.Run(offer, func(t *testing.T) { toolsBesideEffort(t, offer) })
	}
}

// toolOffers are what OpenAI offers to do about it.
var toolOffers = []string{
	"To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
	"Please use /v1/responses instead.",
}

// refusesTools refuses tools beside reasoning in chat completions.
func refusesTools(offer string, otherwise harness.Script) harness.Script {
	return func(c *harness.Call) {
		if c.Get("messages").Exists() && c.Get("tools").Exists() && c.Get("reasoning_effort").Str != "none" {
			harness.Document(http.StatusBadRequest, `{"error":{"message":"Function tools with reasoning_effort are not supported for gpt-5.5 in /v1/chat/completions. `+offer+`","type":"invalid_request_error","param":"reasoning_effort","code":null}}`)(c)
			return
		}
		otherwise(c)
	}
}

// toolsBesideEffort has a provider without Responses, where the model does not reason.
func toolsBesideEffort(t *testing.T, offer string) {
	up := harness.NewUpstream(t, refusesTools(offer, harness.Echoes))
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up)), "globex", "ann")
	const (
		said     = `{"model":"fast","max_tokens":99,"messages":[{"role":"user","content":"hi"}]`
		tools    = `,"tools":[{"name":"f","input_schema":{"type":"object"}}]`
		thinking = `,"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}`
	)
	for _, tc := range []struct {
		path, body, sent, dropped string
		calls                     int
	}{
		{"/v1/messages", said + tools + thinking + `}`, "none", "output_config.effort", 2},
		{"/v1/messages", said + tools + thinking + `,"stream":true}`, "none", "output_config.effort", 1},
		{"/v1/messages", said + tools + `}`, "none", "", 1},
		{"/v1/messages", said + thinking + `}`, "high", "", 1},
		{"/v1/responses", `{"model":"fast","input":"hi","tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],"reasoning":{"effort":"low"}}`, "none", "reasoning.effort", 1},
	} {
		before := up.Count()
		resp := cl.Do(http.MethodPost, tc.path, tc.body)
		got := harness.ReadAll(t, resp)
		last := up.Last()
		if resp.StatusCode != http.StatusOK || up.Count()-before != tc.calls || last.Get("reasoning_effort").Str != tc.sent || resp.Header.Get("X-Ai-Dropped") != tc.dropped {
			t.Errorf("%s: %d after %d calls, dropped %q, sent %s: %s", tc.body, resp.StatusCode, up.Count()-before, resp.Header.Get("X-Ai-Dropped"), last.Body, got)
		}
	}
	// a client of chat completions gets the refusal
	resp := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"fast","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"reasoning_effort":"high"}`)
	if e := gjson.Parse(harness.ReadAll(t, resp)); resp.StatusCode != http.StatusBadRequest || e.Get("error.param").Str != "reasoning_effort" {
		t.Errorf("%d %s", resp.StatusCode, e.Raw)
	}
}
