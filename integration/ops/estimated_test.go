package ops

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestEstimatesAreMarked has a provider that counts nothing, and one that counts: only the
// estimates are marked, in every API and in the access log.
func TestEstimatesAreMarked(t *testing.T) {
	const (
		messages  = `"max_tokens":9,"messages":[{"role":"user","content":"hi"}]`
		uncounted = `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}`
	)
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.GatewayTenants, meteredSite(up)+"\tlog\n")
	for name, tc := range map[string]struct {
		path, body, usage string // where a stream has it
		session           bool
	}{
		"chat-completions":            {harness.CompletionsPath, messages + `,"stream_options":{"include_usage":true}`, "usage", false},
		"chat-completions-in-session": {harness.CompletionsPath, messages + `,"stream_options":{"include_usage":true}`, "usage", true},
		"messages":                    {"/v1/messages", messages, "usage", false},
		"messages-in-session":         {"/v1/messages", messages, "usage", true},
		"responses":                   {"/v1/responses", `"input":"hi","store":false`, "response.usage", false},
		"responses-kept":              {"/v1/responses", `"input":"hi"`, "response.usage", false},
	} {
		for _, stream := range []bool{false, true} {
			for _, counted := range []bool{false, true} {
				traceID := fmt.Sprintf("%s-%v-%v", name, stream, counted)
				t.Run(traceID, func(t *testing.T) {
					switch {
					case stream && counted:
						up.Plays(harness.Sends(harness.Role, harness.Content("Hello"), harness.Finished, harness.Counted, harness.EndMark))
					case stream:
						up.Plays(harness.Sends(harness.Role, harness.Content("Hello"), harness.Finished, harness.EndMark))
					case counted:
						up.Plays(harness.Document(http.StatusOK, harness.WholeAnswer))
					default:
						up.Plays(harness.Document(http.StatusOK, uncounted))
					}
					header := []string{"X-Trace-Id", traceID}
					if tc.session {
						header = append(header, "X-Session-Id", harness.NewSession())
					}
					cl := harness.NewClient(c, "globex", "ann")
					answer := harness.ReadAll(t, cl.Do(http.MethodPost, tc.path, fmt.Sprintf(`{"model":"fast","stream":%v,%s}`, stream, tc.body), header...))
					usage := gjson.Get(answer, "usage")
					if stream {
						usage = lastUsage(answer, tc.usage)
					}
					if mark := usage.Get("estimated"); !usage.IsObject() || mark.Bool() == counted || mark.Exists() == counted {
						t.Errorf("the usage is %s in\n%s", usage.Raw, answer)
					}
					mark, there := c.AccessLog(traceID)["tokens_estimated"]
					if marked, _ := mark.(bool); marked == counted || there == counted {
						t.Errorf("the access log has tokens_estimated %v", mark)
					}
					if id := gjson.Get(answer, "id").Str; name == "responses-kept" && !stream {
						kept := harness.ReadAll(t, cl.Do(http.MethodGet, "/v1/responses/"+id, nil))
						if gjson.Get(kept, "usage.estimated").Bool() == counted {
							t.Errorf("kept as %s", kept)
						}
					}
				})
			}
		}
	}
}

// lastUsage returns the usage of the last event that has one.
func lastUsage(events, path string) (last gjson.Result) {
	for line := range strings.Lines(events) {
		data, _ := strings.CutPrefix(line, "data: ")
		if u := gjson.Get(data, path); u.IsObject() {
			last = u
		}
	}
	return last
}
