package anthropic

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestForeignThinking goes on with a conversation that another server has begun, whose
// thinking this one refuses.
func TestForeignThinking(t *testing.T) {
	const (
		user    = `{"role":"user","content":"hi"}`
		own     = `{"role":"assistant", "content":[{"type":"thinking","thinking":"hm","signature":"own"},{"type":"text","text":"a"}]}`
		foreign = `{"role":"assistant", "content":[{"type":"thinking","thinking":"hm","signature":"foreign"},{"type":"text","text":"b"}]}`
		sealed  = `{"role":"assistant", "content":[{"type":"redacted_thinking","data":"foreign"},{"type":"text","text":"b"}]}`
		alone   = `{"role":"assistant", "content":[{"type":"thinking","thinking":"hm","signature":"foreign"}]}`
		text    = `{"role":"assistant", "content":[{"type":"text","text":"b"}]}`
		ownText = `{"role":"assistant", "content":[{"type":"text","text":"a"}]}`
	)
	for name, tc := range map[string]struct {
		messages, want []string
		dropped        string
	}{
		"its own":           {[]string{user, own, user}, []string{user, own, user}, "[]"},
		"beside its own":    {[]string{user, own, user, foreign, user}, []string{user, own, user, text, user}, "[messages.content.thinking]"},
		"sealed":            {[]string{user, sealed, user}, []string{user, text, user}, "[messages.content.redacted_thinking]"},
		"nothing else":      {[]string{user, alone, user}, []string{user, user}, "[messages.content.thinking]"},
		"in three messages": {[]string{user, foreign, user, foreign, user, foreign, own, user}, []string{user, text, user, text, user, text, own, user}, "[messages.content.thinking]"},
		"in many messages":  {[]string{user, foreign, user, foreign, user, foreign, user, foreign, own, user}, []string{user, text, user, text, user, text, user, text, ownText, user}, "[messages.content.thinking]"},
	} {
		t.Run(name, func(t *testing.T) {
			last := ""
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				if last = string(body); !strings.Contains(last, `"foreign"`) {
					fmt.Fprint(w, `{"type":"message","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}`)
					return
				}
				what := "`signature` in `thinking`"
				if strings.Contains(last, `"data"`) {
					what = "`data` in `redacted_thinking`"
				}
				before, _, _ := strings.Cut(last, `"foreign"`)
				at := strings.Count(before, `"role"`) - 1
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"type":"error","error":{"type":"invalid_request_error","message":"messages.%d.content.0: Invalid %s block"}}`, at, what)
			}))
			t.Cleanup(server.Close)
			body := func(messages []string) string {
				return `{"model":"m", "max_tokens":9,"messages":[` + strings.Join(messages, ",") + `], "x":1}`
			}
			preq := &provider.Request{Model: "m", Native: &provider.Native{API: provider.APIMessages, Body: []byte(body(tc.messages))}}
			if _, err := newProvider(t, server.URL).Complete(t.Context(), preq); err != nil {
				t.Fatal(err)
			}
			if want := body(tc.want); last != want {
				t.Errorf("sent\n%s\nwant\n%s", last, want)
			}
			if got := fmt.Sprint(preq.Dropped); got != tc.dropped {
				t.Errorf("dropped %s, want %s", got, tc.dropped)
			}
		})
	}
}

// TestForeignWords reads why Anthropic refuses a request that goes as it came.
func TestForeignWords(t *testing.T) {
	for message, foreign := range map[string]bool{
		"messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block": true,
		"messages: text content blocks must contain non-whitespace text":                                       true,
		"messages: text content blocks must be non-empty":                                                      true,
		"messages.1: all messages must have non-empty content except for the optional final assistant message": true,
		"messages.3.content.1: `tool_use` ids must be unique":                                                  true,
		"messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'":                     true,
		"tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'":                            false,
		"max_tokens: Field required":                                                                           false,
		"messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1":        false,
		"`temperature` may only be set to 1 when thinking is enabled":                                          false,
		"messages.0.content.0.text.cache_control: cache_control cannot be set for empty text blocks":           false,
		"`max_tokens` must be greater than `thinking.budget_tokens`":                                           false,
		"messages.1.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1":                false,
		"thinking.enabled.budget_tokens: Input should be greater than or equal to 1024":                        false,
		"messages: first message must use the \"user\" role":                                                   false,
		"messages.1.content.0: Invalid `signature` in `thinking` block":                                        true,
	} {
		preq := &provider.Request{Native: new(provider.Native)}
		body := fmt.Appendf(nil, `{"type":"error","error":{"type":"invalid_request_error","message":%q}}`, message)
		err := blameOrigin(provider.NewError(http.StatusBadRequest, body), preq)
		e, _ := errors.AsType[*provider.Error](err)
		if foreign != (e.Added == provider.AsItCame) {
			t.Errorf("%s: %q", message, e.Added)
		}
	}
}
