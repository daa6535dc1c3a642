package openai

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// strictResponder is a server of Responses, as strict as OpenAI's, that answers with a
// reply and keeps what it was sent last.
func strictResponder(t *testing.T, reply providertest.Reply, last *string) *OpenAI {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*last = string(body)
		if refused := providertest.RefuseResponse(body); refused != nil {
			t.Errorf("the server refuses: %s\n%s", refused, body)
			http.Error(w, refused.String(), refused.Status)
			return
		}
		if !gjson.GetBytes(body, "stream").Bool() {
			w.Header().Set("Content-Type", "application/json")
			w.Write(providertest.WholeResponse(body, reply))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range providertest.ResponseEvents(body, reply) {
			w.Write(event)
		}
	}))
	t.Cleanup(srv.Close)
	return newResponder(t, srv.URL)
}

const (
	readTool  = `{"type":"function","function":{"name":"read.file","parameters":{"type":"object","properties":{}}}}`
	shellTool = `{"type":"custom","custom":{"name":"sh"}}`
)

// TestThroughResponses has an answer come back as a chat completion, whole and streamed, and
// its reasoning go back where it came.
func TestThroughResponses(t *testing.T) {
	reply := providertest.Reply{Model: "gpt-5.5-2026", Finish: "tool_calls", Usage: &provider.Usage{Input: 9, Output: 7, Cached: 4, Reasoning: 3}, Parts: []providertest.Part{
		{Reasoning: "first "}, {Reasoning: "thought"},
		{Text: "I "}, {Text: "look."},
		{Call: 1, ID: "call_1", Name: "read_file", Arguments: `{"a":`}, {Call: 1, Arguments: `1}`},
		{Reasoning: "second"},
		{Call: 2, ID: "call_2", Name: "sh", Arguments: "echo \"a\""},
	}}
	const asked = `"reasoning_effort":"high","tools":[` + readTool + `,` + shellTool + `]`
	var sent string
	o := strictResponder(t, reply, &sent)
	preq := func(messages string) *provider.Request {
		return throughRequest(`{"messages":[{"role":"user","content":"hi"}` + messages + `],` + asked + `}`)
	}
	check := func(t *testing.T, body []byte, f provider.Facts) {
		t.Helper()
		m := gjson.GetBytes(body, "choices.0.message")
		for path, want := range map[string]string{
			"content":                          "I look.",
			"tool_calls.0.id":                  "call_1",
			"tool_calls.0.function.name":       "read.file",
			"tool_calls.0.function.arguments":  `{"a":1}`,
			"tool_calls.1.type":                "custom",
			"tool_calls.1.custom.input":        `echo "a"`,
			"thinking_blocks.#":                "2",
			"thinking_blocks.0.item.id":        "rs_1_0",
			"thinking_blocks.1.calls":          "1",
			"thinking_blocks.1.item.summary.#": "1",
			"extra_content.reasoning.model":    "gpt-5.5",
		} {
			if got := m.Get(path).String(); got != want {
				t.Errorf("%s is %q, want %q", path, got, want)
			}
		}
		if got := m.Get("reasoning_content").Str; got != "first thoughtsecond" {
			t.Errorf("the reasoning is %q", got)
		}
		if f.FinishReason != "tool_calls" || f.Usage == nil || *f.Usage != *reply.Usage || f.Model != reply.Model {
			t.Errorf("the facts are %+v, usage %+v", f, f.Usage)
		}
		next := preq(`,` + m.Raw + `,{"role":"tool","tool_call_id":"call_1","content":"x"},{"role":"tool","tool_call_id":"call_2","content":"y"}`)
		if _, err := o.Complete(t.Context(), next); err != nil || next.Dropped != nil {
			t.Fatalf("%v, dropped %q", err, next.Dropped)
		}
		var items []string
		for _, item := range gjson.Get(sent, "input").Array() {
			items = append(items, item.Get("type").Str+" "+item.Get("id").Str+item.Get("call_id").Str+" "+item.Get("encrypted_content").Str)
		}
		want := []string{"  ", "reasoning rs_1_0 gAAAAB", "message  ", "function_call call_1 ", "reasoning rs_1_3 gAAAAB", "custom_tool_call call_2 ", "function_call_output call_1 ", "custom_tool_call_output call_2 "}
		if !slices.Equal(items, want) {
			t.Errorf("the next turn sends\n%q, want\n%q", items, want)
		}
		if got := gjson.Get(sent, "input.1.summary.0.text").Str; got != "first thought" {
			t.Errorf("its summary is %q", got)
		}
		other := preq(`,` + m.Raw + `,{"role":"tool","tool_call_id":"call_1","content":"x"},{"role":"tool","tool_call_id":"call_2","content":"y"}`)
		other.Model = "gpt-5.6"
		if _, err := o.Complete(t.Context(), other); err != nil || strings.Contains(sent, "gAAAAB") || !slices.Equal(other.Dropped, []string{"messages.reasoning_content", "messages.thinking_blocks"}) {
			t.Errorf("%v, another model is sent %s, dropped %q", err, sent, other.Dropped)
		}
	}
	t.Run("document", func(t *testing.T) {
		c, err := o.Complete(t.Context(), preq(""))
		if err != nil {
			t.Fatal(err)
		}
		c = author.Completion(c, "gpt-5.5")
		check(t, c.Body, c.Facts)
	})
	t.Run("stream", func(t *testing.T) {
		s, err := o.Stream(t.Context(), preq(""))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c, err := provider.Assemble(author.Stream(s, "gpt-5.5").Next, func(c *provider.Chunk) error {
			if !c.Content && c.FinishReason == "" && c.Usage == nil {
				t.Errorf("a chunk says nothing: %s", c.Raw)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		check(t, c.Body, c.Facts)
	})
}

// TestThroughResponsesCut tells a cut from an end.
func TestThroughResponsesCut(t *testing.T) {
	const events = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"m\"}}\n\n" +
		"data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"hi\"}\n\n"
	for name, tc := range map[string]struct {
		rest string
		want func(error) bool
	}{
		"cut": {"", func(err error) bool { return errors.Is(err, provider.ErrCut) }},
		"failed": {"data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"x\"}}}\n\n", func(err error) bool {
			e, ok := errors.AsType[*provider.Error](err)
			return ok && e.Reason == provider.ReasonUnavailable
		}},
	} {
		t.Run(name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(http.StatusOK, http.Header{"Content-Type": {"text/event-stream"}}, []byte(events+tc.rest), providertest.Whole)
			s, err := newResponder(t, replay.URL).Stream(t.Context(), throughRequest(`{"messages":[{"role":"user","content":"hi"}],"tools":[`+readTool+`]}`))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			text := ""
			for err == nil {
				var c *provider.Chunk
				if c, err = s.Next(); err == nil {
					text += c.Text
				}
			}
			if text != "hi" || !tc.want(err) {
				t.Errorf("%q, then %v", text, err)
			}
		})
	}
}

// TestRefusedThroughResponses has OpenAI refuse members, whose names are those of chat
// completions, and which are left out then.
func TestRefusedThroughResponses(t *testing.T) {
	const body = `{"messages":[{"role":"user","content":"hi"}],"tools":[` + readTool + `],"reasoning_effort":"xhigh","max_tokens":200000,"temperature":1,"verbosity":"low"}`
	refusal := func(message, param, code string) string {
		return fmt.Sprintf(`{"error":{"message":%q,"type":"invalid_request_error","param":%q,"code":%q}}`, message, param, code)
	}
	for name, tc := range map[string]struct {
		refusal, added, param string
		gone                  string // the path that is not sent again, or is another
		dropped               []string
	}{
		"a member":      {refusal("Unsupported parameter: 'temperature' is not supported with this model.", "temperature", ""), "temperature", "temperature", "temperature", []string{"temperature"}},
		"an effort":     {refusal("Unsupported value: 'xhigh' is not supported with the 'gpt-5.5' model. Supported values are: 'low', 'medium', and 'high'.", "reasoning.effort", "unsupported_value"), `reasoning_effort="high"`, "reasoning_effort", "reasoning.effort", []string{"reasoning_effort"}},
		"a limit":       {refusal("Invalid 'max_output_tokens': integer above maximum value. Expected a value <= 128000, but got 200000 instead.", "max_output_tokens", "integer_above_max_value"), "max_tokens=128000", "max_tokens", "max_output_tokens", []string{"max_tokens"}},
		"a verbosity":   {refusal("Unsupported value: 'low' is not supported with the 'gpt-5.5' model. Supported values are: 'medium'.", "text.verbosity", "unsupported_value"), "verbosity", "verbosity", "text.verbosity", []string{"verbosity"}},
		"summaries":     {refusal("Your organization must be verified to generate reasoning summaries. Please go to: https://platform.openai.com/settings/organization/general and click on Verify Organization.", "reasoning.summary", "unsupported_value"), "reasoning.summary", "reasoning_effort", "reasoning.summary", nil},
		"what was said": {refusal("Invalid 'input[3].content': empty.", "input[3].content", "invalid_value"), "", "messages", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(http.StatusBadRequest, nil, []byte(tc.refusal), providertest.Whole)
			o := newResponder(t, replay.URL)
			_, err := o.Complete(t.Context(), throughRequest(body))
			e, ok := errors.AsType[*provider.Error](err)
			if !ok || e.Added != tc.added || e.Param != tc.param {
				t.Fatalf("%v: added %q, param %q", err, e.Added, e.Param)
			}
			if tc.added == "" {
				return
			}
			_, bodies := replay.Requests()
			before := gjson.GetBytes(bodies[len(bodies)-1], tc.gone).Raw
			preq := throughRequest(body)
			preq.Omit = append(preq.Omit, e.Added)
			replay.Answer(http.StatusOK, nil, []byte(emptyResponse), providertest.Whole)
			if _, err := o.Complete(t.Context(), preq); err != nil {
				t.Fatal(err)
			}
			_, bodies = replay.Requests()
			if after := gjson.GetBytes(bodies[len(bodies)-1], tc.gone).Raw; before == "" || before == after || !slices.Equal(preq.Dropped, tc.dropped) {
				t.Errorf("%s was %s and is %s, dropped %q", tc.gone, before, after, preq.Dropped)
			}
		})
	}
}

// TestForeignThroughResponses has a server refuse reasoning that it has not sealed.
func TestForeignThroughResponses(t *testing.T) {
	var bodies []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		w.Header().Set("Content-Type", "application/json")
		if refused := providertest.RefuseResponse(body); refused != nil {
			w.WriteHeader(refused.Status)
			fmt.Fprintf(w, `{"error":{"message":%q,"type":"invalid_request_error","code":%q}}`, refused.Message, refused.Code)
			return
		}
		io.WriteString(w, emptyResponse)
	}))
	t.Cleanup(srv.Close)
	thought := func(n int, sealed string) string {
		return fmt.Sprintf(`{"role":"assistant","content":"so","thinking_blocks":[{"type":"reasoning","index":1,"item":{"type":"reasoning","id":"rs_%d","summary":[],"encrypted_content":%q}}],"extra_content":{"reasoning":{"model":"gpt-5.5"}}},{"role":"user","content":"and?"}`, n, sealed)
	}
	preq := throughRequest(`{"messages":[{"role":"user","content":"hi"},` + thought(1, "gAAAfromanotherkey==") + `,` + thought(2, "gAAAAB") + `],"tools":[` + readTool + `]}`)
	if _, err := newResponder(t, srv.URL).Complete(t.Context(), preq); err != nil {
		t.Fatal(err)
	}
	if last := bodies[len(bodies)-1]; len(bodies) != 2 || strings.Contains(last, "rs_1") || !strings.Contains(last, "rs_2") || !slices.Equal(preq.Dropped, []string{"messages.thinking_blocks"}) {
		t.Errorf("dropped %q after %d calls, the last with %s", preq.Dropped, len(bodies), last)
	}
}
