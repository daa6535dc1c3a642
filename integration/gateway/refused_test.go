package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// picky answers as OpenAI does a model that reasons with some efforts.
func picky(c *harness.Call) {
	effort := c.Get("reasoning_effort").Str
	switch effort {
	case "", "low", "medium", "high":
		harness.Echoes(c)
	default:
		harness.Document(http.StatusBadRequest, fmt.Sprintf(`{"error":{"message":"Unsupported value: 'reasoning_effort' does not support '%s' with this model. Supported values are: 'low', 'medium', and 'high'.","type":"invalid_request_error","param":"reasoning_effort","code":"unsupported_value"}}`, effort))(c)
	}
}

// TestRefusedEffort has a client ask for an effort that the model does not have: it gets the
// nearest one, and the next client gets the effort that it asks for.
func TestRefusedEffort(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, picky)
	for name, site := range map[string]string{"alone": harness.GatewaySite(up), "kept": up.Sessions("")} {
		t.Run(name, func(t *testing.T) {
			cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, site), "globex", "ann")
			for i, tc := range []struct{ asked, sent, dropped string }{
				{"high", "high", ""}, {"xhigh", "high", "reasoning.effort"}, {"high", "high", ""}, {"minimal", "low", "reasoning.effort"}, {"low", "low", ""},
			} {
				for _, stream := range []bool{false, true} {
					resp := cl.Do(http.MethodPost, "/v1/responses", fmt.Sprintf(`{"model":"fast","input":"%d","stream":%v,"reasoning":{"effort":%q}}`, i, stream, tc.asked))
					got := harness.ReadAll(t, resp)
					if stream {
						_, got, _ = strings.Cut(got, "event: response.completed\ndata: ")
						got = gjson.Get(got, "response").Raw
					}
					if sent := up.Last().Get("reasoning_effort").Str; resp.StatusCode != http.StatusOK || sent != tc.sent || !strings.HasPrefix(resp.Header.Get("X-Ai-Dropped"), tc.dropped) {
						t.Errorf("%s: %d, sent %q, dropped %q: %s", tc.asked, resp.StatusCode, sent, resp.Header.Get("X-Ai-Dropped"), got)
					}
					want := tc.asked
					if tc.dropped != "" {
						want = ""
					}
					if claimed := gjson.Get(got, "reasoning.effort"); claimed.Str != want {
						t.Errorf("%s: the response claims %s", tc.asked, claimed.Raw)
					}
				}
			}
			resp := cl.Do(http.MethodPost, "/v1/messages", `{"model":"fast","max_tokens":9,"thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"},"messages":[{"role":"user","content":"hi"}]}`)
			if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || up.Last().Get("reasoning_effort").Str != "high" {
				t.Errorf("%d %s, sent %s", resp.StatusCode, got, up.Last().Body)
			}
		})
	}
}

// reasons answers as OpenAI does for a model that reasons.
func reasons(c *harness.Call) {
	for _, name := range []string{"stop", "top_p", "top_k", "parallel_tool_calls"} {
		if c.Get(name).Exists() {
			harness.Document(http.StatusBadRequest, fmt.Sprintf(`{"error":{"message":"Unsupported parameter: '%s' is not supported with this model.","type":"invalid_request_error","param":%[1]q,"code":"unsupported_parameter"}}`, name))(c)
			return
		}
	}
	if v := c.Get("temperature"); v.Exists() && v.Num != 1 {
		harness.Document(http.StatusBadRequest, fmt.Sprintf(`{"error":{"message":"Unsupported value: 'temperature' does not support %s with this model. Only the default (1) value is supported.","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}`, v.Raw))(c)
		return
	}
	harness.Echoes(c)
}

// TestRefusedMembers has clients of other APIs send what a model that reasons does not take.
// A client of chat completions gets the refusal.
func TestRefusedMembers(t *testing.T) {
	t.Parallel()
	const messages = `"messages":[{"role":"user","content":"hi"}]`
	for name, tc := range map[string]struct {
		path, body, dropped string
		calls               int
	}{
		"Messages":  {"/v1/messages", `"max_tokens":9,` + messages + `,"stop_sequences":["X"],"temperature":0.5,"top_p":0.9,"top_k":4`, "stop_sequences, temperature, top_p, top_k", 5},
		"Responses": {"/v1/responses", `"input":"hi","temperature":0.5,"top_p":0.9,"parallel_tool_calls":false,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]`, "temperature, top_p, parallel_tool_calls", 4},
		"editors":   {harness.CompletionsPath, `"input":"hi","temperature":0.5`, "temperature", 2},
		"default":   {"/v1/messages", `"max_tokens":9,` + messages + `,"temperature":1`, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := harness.NewUpstream(t, reasons)
			cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up)), "globex", "ann")
			for i, calls := range []int{tc.calls, 1} {
				before := up.Count()
				resp := cl.Do(http.MethodPost, tc.path, `{"model":"fast",`+tc.body+`}`)
				got := harness.ReadAll(t, resp)
				if resp.StatusCode != http.StatusOK || up.Count()-before != calls || resp.Header.Get("X-Ai-Dropped") != tc.dropped {
					t.Errorf("request %d: %d after %d calls, dropped %q: %s", i, resp.StatusCode, up.Count()-before, resp.Header.Get("X-Ai-Dropped"), got)
				}
			}
			for _, sent := range []string{`"stop":["X"]`, `"temperature":0.5`} {
				resp := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"fast",`+messages+`,`+sent+`}`)
				if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(got, "nsupported") {
					t.Errorf("%s: %d %s", sent, resp.StatusCode, got)
				}
			}
		})
	}
}

// TestRefusedLimit has Claude Code ask a model for more tokens than it can answer with.
func TestRefusedLimit(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, func(c *harness.Call) {
		switch limit := c.Get("max_tokens").Int(); {
		case limit > 16384:
			harness.Document(http.StatusBadRequest, fmt.Sprintf(`{"error":{"message":"max_tokens is too large: %d. This model supports at most 16384 completion tokens, whereas you provided %[1]d.","type":"invalid_request_error","param":"max_tokens","code":"invalid_value"}}`, limit))(c)
		case limit == 16384:
			c.Send(c.Role(), c.Text("so"), c.Finish("length"), harness.EndMark)
		default:
			harness.Echoes(c)
		}
	})
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up)), "globex", "ann")
	for i, tc := range []struct {
		limit, calls  int
		sent, dropped string
		stops         string
	}{{32000, 2, "16384", "max_tokens", "max_tokens"}, {64000, 1, "16384", "max_tokens", "max_tokens"}, {100, 1, "100", "", "end_turn"}} {
		before := up.Count()
		resp := cl.Do(http.MethodPost, "/v1/messages", fmt.Sprintf(`{"model":"fast","max_tokens":%d,"stream":true,"messages":[{"role":"user","content":"hi"}]}`, tc.limit))
		got := harness.ReadAll(t, resp)
		if up.Count()-before != tc.calls || up.Last().Get("max_tokens").Raw != tc.sent || resp.Header.Get("X-Ai-Dropped") != tc.dropped || !strings.Contains(got, `"stop_reason":"`+tc.stops+`"`) {
			t.Errorf("request %d: %d calls, sent %s, dropped %q:\n%s", i, up.Count()-before, up.Last().Body, resp.Header.Get("X-Ai-Dropped"), got)
		}
	}
	resp := cl.Do(http.MethodPost, "/v1/responses", `{"model":"fast","input":"hi","max_output_tokens":32000,"stream":true}`)
	if got := harness.ReadAll(t, resp); up.Last().Get("max_tokens").Raw != "16384" || resp.Header.Get("X-Ai-Dropped") != "max_output_tokens" || !strings.Contains(got, `"incomplete_details":{"reason":"max_output_tokens"}`) || strings.Contains(got, "32000") {
		t.Errorf("a response, after %s:\n%s", up.Last().Body, got)
	}
	resp = cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"fast","messages":[{"role":"user","content":"hi"}],"max_tokens":32000}`)
	if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a client of chat completions got %d %s", resp.StatusCode, got)
	}
}
