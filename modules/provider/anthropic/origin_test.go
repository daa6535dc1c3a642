package anthropic

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
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
		ownCall = `{"role":"assistant", "content":[{"type":"thinking","thinking":"hm","signature":"own"},{"type":"tool_use","id":"t","name":"f","input":{}}]}`
		result  = `{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}`
	)
	var many []string
	for i := range 12 {
		many = append(many, user, strings.Replace(foreign, `"foreign"`, fmt.Sprintf(`"foreign-%d"`, i), 1))
	}
	for name, tc := range map[string]struct {
		messages, want []string
		dropped        string
	}{
		"its own":           {[]string{user, own, user}, []string{user, own, user}, "[]"},
		"beside its own":    {[]string{user, own, user, foreign, user}, []string{user, own, user, text, user}, "[messages.content.thinking]"},
		"sealed":            {[]string{user, sealed, user}, []string{user, text, user}, "[messages.content.redacted_thinking]"},
		"nothing else":      {[]string{user, alone, user}, []string{user, user}, "[messages.content.thinking]"},
		"in three messages": {[]string{user, foreign, user, foreign, user, foreign, own, user}, []string{user, text, user, text, user, text, own, user}, "[messages.content.thinking]"},
		"in a tool's loop":  {[]string{user, foreign, user, ownCall, result}, []string{user, text, user, ownCall, result}, "[messages.content.thinking]"},
		"in many messages":  {slices.Concat(many, []string{own, user, ownCall, result}), slices.Concat(slices.Repeat([]string{user, text}, 12), []string{ownText, user, ownCall, result}), "[messages.content.thinking]"},
	} {
		t.Run(name, func(t *testing.T) {
			last := ""
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				if last = string(body); !strings.Contains(last, `"foreign`) {
					fmt.Fprint(w, `{"type":"message","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}`)
					return
				}
				what := "`signature` in `thinking`"
				if strings.Contains(last, `"data"`) {
					what = "`data` in `redacted_thinking`"
				}
				before, _, _ := strings.Cut(last, `"foreign`)
				at := strings.Count(before, `"role"`) - 1
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"type":"error","error":{"type":"invalid_request_error","message":"messages.%d.content.0: Invalid %s block"}}`, at, what)
			}))
			t.Cleanup(server.Close)
			body := func(messages []string) string {
				return `{"model":"m", "max_tokens":9,"messages":[` + strings.Join(messages, ",") + `], "x":1}`
			}
			preq := &provider.Request{Model: "m", Native: &provider.Native{API: provider.APIMessages, Body: []byte(body(tc.messages))}}
			p := newProvider(t, server.URL)
			complete(t, p, preq)
			if want := body(tc.want); last != want {
				t.Errorf("sent\n%s\nwant\n%s", last, want)
			}
			if got := fmt.Sprint(preq.Dropped); got != tc.dropped {
				t.Errorf("dropped %s, want %s", got, tc.dropped)
			}
			preq.Omit = nil
			if n := complete(t, p, preq); n > 1 && len(tc.messages) < 2*maxNamed {
				t.Errorf("once more it took %d calls", n)
			}
		})
	}
}

// complete makes a call as the gateway does, which makes it again where something can be left
// out, and returns how many it took.
func complete(t *testing.T, p provider.Provider, preq *provider.Request) int {
	t.Helper()
	for n := 1; ; n++ {
		preq.Dropped = nil
		_, err := p.Complete(t.Context(), preq)
		if err == nil {
			return n
		}
		e, ok := errors.AsType[*provider.Error](err)
		if !ok || e.Added == "" || !e.Passing || slices.Contains(preq.Omit, e.Added) {
			t.Fatal(err)
		}
		preq.Omit = append(preq.Omit, e.Added)
	}
}

// TestMended sends what Anthropic refuses of what other servers say.
func TestMended(t *testing.T) {
	const (
		user   = `{"role":"user","content":"hi"}`
		result = `{"role":"user", "content":[{"type":"tool_result","tool_use_id":"c","content":"x"}]}`
		blank  = "messages: text content blocks must contain non-whitespace text"
		ids    = "messages.3.content.0: `tool_use` ids must be unique"
		id     = "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
		found  = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`"
	)
	call := func(id string) string { return `{"type":"tool_use","id":"` + id + `","name":"f", "input":{}}` }
	said := func(blocks ...string) string {
		return `{"role":"assistant","content":[` + strings.Join(blocks, ",") + `]}`
	}
	returned := func(ids ...string) string {
		for i, id := range ids {
			ids[i] = `{"type":"tool_result","tool_use_id":"` + id + `","content":"x"}`
		}
		return `{"role":"user","content":[` + strings.Join(ids, ",") + `]}`
	}
	for name, tc := range map[string]struct {
		refusal, more  string
		messages, want []string
		wantMore       string
		dropped        string
	}{
		"blank text":         {blank, "", []string{user, said(`{"type":"text","text":"\n "}`, call("c")), result}, []string{user, said(call("c")), result}, "", "[]"},
		"nothing but blank":  {blank, "", []string{user, `{"role":"assistant","content":" "}`, user}, []string{user, user}, "", "[]"},
		"blank results":      {blank, "", []string{user, said(call("c")), `{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":""},{"type":"text","text":"x"}]}]}`}, []string{user, said(call("c")), `{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"x"}]}]}`}, "", "[]"},
		"one id in turns":    {ids, "", []string{user, said(call("c")), returned("c"), said(call("c")), returned("c")}, []string{user, said(call("c")), returned("c"), said(call("c_2")), returned("c_2")}, "", "[]"},
		"one id in one turn": {ids, "", []string{user, said(call("c"), call("c")), returned("c", "c")}, []string{user, said(call("c"), call("c_2")), returned("c", "c_2")}, "", "[]"},
		"other letters":      {id, "", []string{user, said(call("f.a:0")), returned("f.a:0")}, []string{user, said(call("f_a_0")), returned("f_a_0")}, "", "[]"},
		"without thinking":   {found, `,"thinking":{"type":"enabled","budget_tokens":2000},"context_management":{"edits":[{"type":"clear_thinking_20251015"}]}`, []string{user, said(call("c")), result}, []string{user, said(call("c")), result}, `,"thinking":{"type":"disabled"},"context_management":null`, "[thinking context_management]"},
	} {
		t.Run(name, func(t *testing.T) {
			last, calls := "", 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				if last, calls = string(body), calls+1; calls > 1 {
					fmt.Fprint(w, `{"type":"message","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}`)
					return
				}
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"type":"error","error":{"type":"invalid_request_error","message":%q}}`, tc.refusal)
			}))
			t.Cleanup(server.Close)
			body := func(messages []string, more string) string {
				return `{"model":"m", "max_tokens":9000,"messages":[` + strings.Join(messages, ",") + `]` + more + `, "x":1}`
			}
			preq := &provider.Request{Model: "m", Native: &provider.Native{API: provider.APIMessages, Body: []byte(body(tc.messages, tc.more))}}
			complete(t, newProvider(t, server.URL), preq)
			if want := body(tc.want, tc.wantMore); last != want {
				t.Errorf("sent\n%s\nwant\n%s", last, want)
			}
			if got := fmt.Sprint(preq.Dropped); got != tc.dropped {
				t.Errorf("dropped %s, want %s", got, tc.dropped)
			}
		})
	}
}

// TestRefusals tells what can be mended from what the client has to mend.
func TestRefusals(t *testing.T) {
	const body = `{"thinking":{"type":"enabled"},"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":" "},{"type":"tool_use","id":"a.b","name":"f","input":{}}]}]}`
	for message, added := range map[string]string{
		"messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block": askedThoughts,
		"messages: text content blocks must contain non-whitespace text":                                       blankTexts,
		"messages: text content blocks must be non-empty":                                                      blankTexts,
		"messages.1: all messages must have non-empty content except for the optional final assistant message": blankTexts,
		"messages.3.content.1: `tool_use` ids must be unique":                                                  ownCallIDs,
		"messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'":                     ownCallIDs,
		"messages.1.content.0: Invalid `signature` in `thinking` block":                                        earlierThoughts,
		"tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'":                            "",
		"max_tokens: Field required":                                                                           "",
		"messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1":        "",
		"`temperature` may only be set to 1 when thinking is enabled":                                          "",
		"messages.0.content.0.text.cache_control: cache_control cannot be set for empty text blocks":           "",
		"`max_tokens` must be greater than `thinking.budget_tokens`":                                           "",
		"messages.1.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1":                "",
		"thinking.enabled.budget_tokens: Input should be greater than or equal to 1024":                        "",
		"messages: first message must use the \"user\" role":                                                   "",
	} {
		raw := fmt.Appendf(nil, `{"type":"error","error":{"type":"invalid_request_error","message":%q}}`, message)
		a := Anthropic{foreign: new(foreignThinking)}
		err := a.blameOrigin(provider.NewError(http.StatusBadRequest, raw), new(provider.Request), []byte(body))
		if e, _ := errors.AsType[*provider.Error](err); e.Added != added || e.Passing != (added != "") {
			t.Errorf("%s: %q", message, e.Added)
		}
	}
}
