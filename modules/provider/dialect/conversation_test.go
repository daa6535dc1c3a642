package dialect

import (
	"errors"
	"slices"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestParse(t *testing.T) {
	t.Run("takes_a_conversation_apart", func(t *testing.T) {
		req := &provider.Request{Body: []byte(`{"model":"m","max_tokens":7,"stop":"x","temperature":0.5,"seed":3,"logit_bias":{"1":2},
			"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":{"type":"function","function":{"name":"f"}},
			"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}},
			"messages":[{"role":"system","content":"be"},{"role":"developer","content":[{"type":"text","text":"kind"}]},
			{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},
			{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
			{"role":"tool","tool_call_id":"c1","content":"42"}]}`)}
		c, err := Parse(req, Rules{Members: []string{"tools", "tool_choice", "temperature", "stop", "response_format"}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(req.Dropped, []string{"seed", "logit_bias"}) {
			t.Errorf("dropped %q", req.Dropped)
		}
		if !slices.Equal(c.System, []string{"be", "kind"}) || len(c.Messages) != 3 || *c.MaxTokens != 7 || *c.Temperature != 0.5 || c.Seed != nil || !slices.Equal(c.Stop, []string{"x"}) {
			t.Errorf("got %+v", c)
		}
		image := c.Messages[0].Parts[1]
		if image.Kind != PartImage || image.MediaType != "image/png" || image.Data != "AAAA" {
			t.Errorf("image is %+v", image)
		}
		if call := c.Messages[1].ToolCalls[0]; call.ID != "c1" || string(call.Arguments) != `{"a":1}` {
			t.Errorf("tool call is %+v", call)
		}
		if c.Messages[2].ToolID != "c1" || c.Messages[2].Text() != "42" || c.ToolChoice != "function" || c.ToolName != "f" || !c.Format.Strict {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("what_only_one_provider_knows_is_kept_as_it_came", func(t *testing.T) {
		c, err := Parse(&provider.Request{Body: []byte(`{"tools":[{"type":"function","function":{"name":"f"},"x":1}],"messages":[
			{"role":"system","content":"be","x":2},{"role":"user","content":[{"type":"text","text":"hi","x":3}]},
			{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"ok"}]}]}`)}, Rules{Members: []string{"tools"}})
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range []gjson.Result{c.Tools[0].Raw, c.SystemMessages[0].Raw, c.Messages[0].Parts[0].Raw} {
			if v.Get("x").Int() != int64(i+1) {
				t.Errorf("%d: %s", i, v.Raw)
			}
		}
		// Another provider's thinking is not text.
		if m := c.Messages[1]; len(m.Parts) != 1 || m.Text() != "ok" || m.Raw.Get("content.0.signature").Str != "s" {
			t.Errorf("got %+v", m)
		}
	})
	for _, tc := range []struct {
		name, body, param string
		reason            provider.Reason
	}{
		{"several_choices", `{"messages":[],"n":2}`, "n", provider.ReasonUnsupported},
		{"log_probabilities", `{"messages":[],"logprobs":true}`, "logprobs", provider.ReasonUnsupported},
		{"spoken_answer", `{"messages":[],"modalities":["text","audio"]}`, "modalities", provider.ReasonUnsupported},
		{"tools_of_a_provider_without", `{"messages":[],"tools":[{"type":"function"}]}`, "tools", provider.ReasonUnsupported},
		{"unknown_role", `{"messages":[{"role":"robot"}]}`, "messages.0.role", provider.ReasonInvalid},
		{"content_of_another_type", `{"messages":[{"role":"user","content":7}]}`, "messages.0.content", provider.ReasonInvalid},
		{"image_of_another_scheme", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]}]}`, "messages.0.content.0.image_url.url", provider.ReasonInvalid},
		{"part_of_a_number", `{"messages":[],"max_tokens":1.5}`, "max_tokens", provider.ReasonInvalid},
		{"number_out_of_all_bounds", `{"messages":[],"max_tokens":1e300}`, "max_tokens", provider.ReasonInvalid},
		{"text_for_a_number", `{"messages":[],"max_tokens":"x"}`, "max_tokens", provider.ReasonInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(&provider.Request{Body: []byte(tc.body)}, Rules{})
			e, ok := errors.AsType[*provider.Error](err)
			if !ok || e.Param != tc.param || e.Reason != tc.reason {
				t.Errorf("got %v, want reason %d of %s", err, tc.reason, tc.param)
			}
		})
	}
	t.Run("whole_numbers_keep_their_digits", func(t *testing.T) {
		c, err := Parse(&provider.Request{Body: []byte(`{"messages":[],"seed":9007199254740993,"max_tokens":7.0}`)}, Rules{Members: []string{"seed"}})
		if err != nil || *c.Seed != 9007199254740993 || *c.MaxTokens != 7 {
			t.Errorf("got %+v, %v", c, err)
		}
	})
	t.Run("tools_that_are_no_list", func(t *testing.T) {
		_, err := Parse(&provider.Request{Body: []byte(`{"messages":[],"tools":"x"}`)}, Rules{Members: []string{"tools"}})
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Param != "tools" || e.Reason != provider.ReasonInvalid {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what_happens_anyway_is_not_dropped", func(t *testing.T) {
		req := &provider.Request{Body: []byte(`{"messages":[],"n":1,"logprobs":false,"tool_choice":"auto","parallel_tool_calls":true,"response_format":{"type":"text"},"seed":null}`)}
		if _, err := Parse(req, Rules{}); err != nil || len(req.Dropped) > 0 {
			t.Errorf("dropped %q, %v", req.Dropped, err)
		}
	})
}
