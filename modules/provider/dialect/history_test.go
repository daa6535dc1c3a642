package dialect

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// strictest are rules that leave nothing out.
var strictest = Rules{
	Members: []string{"tools", "tool_choice", "stop"}, ToolName: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`),
	UserBegins: true, NoBlanks: true, Signed: true,
}

// told renders messages: u:text, a:text, call(id name arguments) and
// result(id name text).
func told(c *Conversation) string {
	var b strings.Builder
	for _, m := range c.Messages {
		text := m.Text()
		if m.Role == RoleTool {
			fmt.Fprintf(&b, "result(%s %s %s) ", m.ToolID, m.ToolName, text)
			continue
		}
		if text != "" {
			fmt.Fprintf(&b, "%c:%s ", m.Role[0], text)
		}
		for _, call := range m.ToolCalls {
			fmt.Fprintf(&b, "call(%s %s %s) ", call.ID, call.Name, call.Arguments)
		}
	}
	return strings.TrimSpace(b.String())
}

func callOf(id, name, arguments string) string {
	return fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":%q,"arguments":%s}}`, id, name, arguments)
}

func assistantCalls(calls ...string) string {
	return `{"role":"assistant","content":null,"tool_calls":[` + strings.Join(calls, ",") + `]}`
}

func resultOf(id, text string) string {
	return fmt.Sprintf(`{"role":"tool","tool_call_id":%q,"content":%q}`, id, text)
}

func TestHistory(t *testing.T) {
	const hi = `{"role":"user","content":"hi"}`
	long := strings.Repeat("x", 100)
	for _, tc := range []struct{ name, in, want string }{
		{"an id used in two turns", hi + "," + assistantCalls(callOf("call_0", "f", `"{}"`)) + "," + resultOf("call_0", "1") + "," + assistantCalls(callOf("call_0", "g", `"{}"`)) + "," + resultOf("call_0", "2"),
			"u:hi call(call_0 f {}) result(call_0 f 1) call(call_0_2 g {}) result(call_0_2 g 2)"},
		{"an id used twice in a turn", hi + "," + assistantCalls(callOf("c", "f", `"{}"`), callOf("c", "g", `"{}"`)) + "," + resultOf("c", "1") + "," + resultOf("c", "2"),
			"u:hi call(c f {}) call(c_2 g {}) result(c f 1) result(c_2 g 2)"},
		{"an id that another one is made of", hi + "," + assistantCalls(callOf("c", "f", `"{}"`), callOf("c_2", "f", `"{}"`), callOf("c", "f", `"{}"`)) + "," + resultOf("c_2", "x"),
			"u:hi call(c f {}) call(c_2 f {}) call(c_3 f {}) result(c_2 f x) result(c f (no result)) result(c_3 f (no result))"},
		{"ids of other forms", hi + "," + assistantCalls(callOf("functions.f:0", "f", `"{}"`), callOf("functions/f 0", "f", `"{}"`), callOf("", "f", `"{}"`), callOf(long, "f", `"{}"`)) + "," + resultOf("functions/f 0", "1") + "," + resultOf(long, "2"),
			"u:hi call(functions_f_0 f {}) call(functions_f_0_2 f {}) call(call f {}) call(" + long[:64] + " f {}) result(functions_f_0_2 f 1) result(" + long[:64] + " f 2) result(functions_f_0 f (no result)) result(call f (no result))"},
		{"a call without a result", hi + "," + assistantCalls(callOf("c", "f", `"{}"`)) + "," + hi, "u:hi call(c f {}) result(c f (no result)) u:hi"},
		{"a call at the end", hi + "," + assistantCalls(callOf("c", "f", `"{}"`)), "u:hi call(c f {}) result(c f (no result))"},
		{"a result without a call", hi + "," + resultOf("c", "42"), "u:hi u:(the result of an earlier tool call)\n42"},
		{"a result that comes too late", hi + "," + assistantCalls(callOf("c", "f", `"{}"`)) + `,{"role":"assistant","content":"wait"},` + hi + `,{"role":"assistant","content":"so"},` + resultOf("c", "42"),
			"u:hi call(c f {}) a:wait result(c f (no result)) u:hi a:so u:(the result of an earlier tool call)\n42"},
		{"two results of a call", hi + "," + assistantCalls(callOf("c", "f", `"{}"`)) + "," + resultOf("c", "4") + "," + resultOf("c", "2"), "u:hi call(c f {}) result(c f 4\n\n2)"},
		{"a result behind the next question", hi + "," + assistantCalls(callOf("c", "f", `"{}"`)) + "," + hi + "," + resultOf("c", "42"), "u:hi call(c f {}) result(c f 42) u:hi"},
		{"a result without text", hi + "," + assistantCalls(callOf("c", "f", `"{}"`)) + "," + resultOf("c", ""), "u:hi call(c f {}) result(c f )"},
		{"an empty message within a turn", hi + "," + assistantCalls(callOf("c", "f", `"{}"`)) + `,{"role":"user","content":" "},{"role":"assistant","content":""},` + resultOf("c", "42"), "u:hi call(c f {}) result(c f 42)"},
		{"a history that begins with a result", resultOf("c", "42") + `,{"role":"assistant","content":"so"}`, "u:(the result of an earlier tool call)\n42 a:so"},
		{"an assistant who begins", assistantCalls(callOf("c", "f", `"{}"`)) + "," + resultOf("c", "42"), "u:(earlier messages are left out) call(c f {}) result(c f 42)"},
		{"a system message alone", `{"role":"system","content":"be"},{"role":"developer","content":"brief"}`, "u:be u:brief"},
		{"system messages within the conversation", `{"role":"system","content":"be"},` + hi + `,{"role":"system","content":"kind"},{"role":"developer","content":" "},{"role":"assistant","content":"so"},{"role":"developer","content":"go on"}`,
			"u:hi u:<system-instruction>\nkind\n</system-instruction> a:so u:<system-instruction>\ngo on\n</system-instruction>"},
		{"a system message before a result", hi + "," + assistantCalls(callOf("c", "f", `"{}"`), callOf("d", "f", `"{}"`)) + `,{"role":"system","content":"be"},` + resultOf("c", "1") + `,{"role":"system","content":"kind"},` + resultOf("d", "2"),
			"u:hi call(c f {}) call(d f {}) result(c f 1) result(d f 2) u:<system-instruction>\nbe\n</system-instruction> u:<system-instruction>\nkind\n</system-instruction>"},
		{"an image among instructions", hi + `,{"role":"system","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"text","text":"be "},{"type":"text","text":"kind"}]}`,
			"u:hi u:<system-instruction>\nbe kind\n</system-instruction>"},
		{"blank texts", `{"role":"user","content":[{"type":"text","text":"\n"},{"type":"text","text":"hi"}]},{"role":"user","content":"\t"}`, "u:hi"},
		{"blanks at the end of an assistant's last words", hi + `,{"role":"assistant","content":"Well, \n"}`, "u:hi a:Well,"},

		{"arguments that were cut off", hi + "," + assistantCalls(callOf("c", "f", `"{\"cmd\": \"cut off"`)) + "," + resultOf("c", "42"),
			`u:hi a:(the arguments of the call of f are not a JSON object: {"cmd": "cut off) call(c f {}) result(c f 42)`},
		{"arguments that are a list", hi + "," + assistantCalls(callOf("c", "f", `"[1]"`)), `u:hi a:(the arguments of the call of f are not a JSON object: [1]) call(c f {}) result(c f (no result))`},
		{"arguments that are a number", hi + "," + assistantCalls(callOf("c", "f", `"7"`)), `u:hi a:(the arguments of the call of f are not a JSON object: 7) call(c f {}) result(c f (no result))`},
		{"arguments with half a character", hi + "," + assistantCalls(callOf("c", "f", `"{\"a\":\"\\ud83d\"}"`)), `u:hi a:(the arguments of the call of f are not a JSON object: {"a":"\ud83d"}) call(c f {}) result(c f (no result))`},
		{"arguments that are null", hi + "," + assistantCalls(callOf("c", "f", `"null"`), callOf("d", "f", `null`), callOf("e", "f", `""`), callOf("g", "f", `" "`)) + "," + resultOf("c", "") + "," + resultOf("d", "") + "," + resultOf("e", "") + "," + resultOf("g", ""),
			"u:hi call(c f {}) call(d f {}) call(e f {}) call(g f {}) result(c f ) result(d f ) result(e f ) result(g f )"},
		{"arguments that are an object already", hi + "," + assistantCalls(callOf("c", "f", `{"a":1}`)) + "," + resultOf("c", "42"), `u:hi call(c f {"a":1}) result(c f 42)`},

		{"a call without a name", hi + "," + assistantCalls(callOf("c", "", `"{\"a\":1}"`), callOf("d", "f", `"{}"`)) + "," + resultOf("c", "1") + "," + resultOf("d", "2"),
			"u:hi a:(a call of a tool without a name: {\"a\":1}) call(d f {}) result(d f 2) u:(the result of an earlier tool call)\n1"},
		{"a custom call", hi + "," + assistantCalls(`{"id":"c","type":"custom","custom":{"name":"sh","input":"ls \"x\""}}`) + "," + resultOf("c", "1"),
			`u:hi call(c sh {"input":"ls \"x\""}) result(c sh 1)`},

		{"names that are refused", hi + "," + assistantCalls(callOf("c", "7zip_extract", `"{}"`), callOf("d", "a.b", `"{}"`), callOf("e", "a/b", `"{}"`), callOf("g", "a_b", `"{}"`), callOf("h", long, `"{}"`)) +
			"," + resultOf("c", "") + "," + resultOf("d", "") + "," + resultOf("e", "") + "," + resultOf("g", "") + "," + resultOf("h", ""),
			"u:hi call(c _7zip_extract {}) call(d a_b_2 {}) call(e a_b_3 {}) call(g a_b {}) call(h " + long[:64] + " {}) result(c _7zip_extract ) result(d a_b_2 ) result(e a_b_3 ) result(g a_b ) result(h " + long[:64] + " )"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Parse(&provider.Request{Body: []byte(`{"messages":[` + tc.in + `]}`)}, strictest)
			if err != nil {
				t.Fatal(err)
			}
			if got := told(c); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
		})
	}
	t.Run("nothing to answer", func(t *testing.T) {
		_, err := Parse(&provider.Request{Body: []byte(`{"messages":[{"role":"system","content":" "},{"role":"user","content":""}]}`)}, strictest)
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonInvalid || e.Param != "messages" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a seam at a space", func(t *testing.T) {
		_, err := Parse(&provider.Request{Continue: "Once ", Body: []byte(`{"messages":[` + hi + `]}`)}, strictest)
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnsupported {
			t.Errorf("got %v", err)
		}
	})
}

func TestToolNamesAreToldBack(t *testing.T) {
	const body = `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"7zip.extract"}},{"type":"function","function":{"name":"now"}}],
		"tool_choice":{"type":"function","function":{"name":"7zip.extract"}}}`
	c, err := Parse(&provider.Request{Body: []byte(body)}, strictest)
	if err != nil {
		t.Fatal(err)
	}
	if c.Tools[0].Name != "_7zip_extract" || c.Tools[1].Name != "now" || c.ToolName != "_7zip_extract" {
		t.Errorf("tools %+v, choice %q", c.Tools, c.ToolName)
	}
	a := NewAnswer("", "m", c.Names)
	var whole Whole
	for _, o := range []Output{CallBegin(0, "a", "_7zip_extract"), CallBegin(1, "b", "now"), CallBegin(2, "c", "invented")} {
		whole.Add(o)
		if got := string(a.Chunk(o, "").Raw); strings.Contains(got, "_7zip_extract") {
			t.Errorf("the chunk has the made-up name: %s", got)
		}
	}
	var said struct {
		Choices []struct {
			Message struct {
				Calls []struct{ Function struct{ Name string } } `json:"tool_calls"`
			}
		}
	}
	if err := json.Unmarshal(a.Completion(&whole, "tool_calls", nil).Body, &said); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, call := range said.Choices[0].Message.Calls {
		names = append(names, call.Function.Name)
	}
	if !slices.Equal(names, []string{"7zip.extract", "now", "invented"}) {
		t.Errorf("the answer calls %q", names)
	}
}

func TestStop(t *testing.T) {
	for _, tc := range []struct {
		stop    string
		want    []string
		dropped []string
	}{
		{`["a",""," \n","b"]`, []string{"a", "b"}, []string{"stop"}},
		{`""`, nil, nil},
		{`[]`, nil, nil},
		{`null`, nil, nil},
	} {
		req := &provider.Request{Body: []byte(`{"messages":[{"role":"user","content":"hi"}],"stop":` + tc.stop + `}`)}
		c, err := Parse(req, strictest)
		if err != nil || !slices.Equal(c.Stop, tc.want) || !slices.Equal(req.Dropped, tc.dropped) {
			t.Errorf("%s: %+v, dropped %q, %v", tc.stop, c, req.Dropped, err)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	for in, want := range map[string]string{
		"data:image/jpg;base64,AAAA":               "image/jpeg AAAA",
		"data:IMAGE/JPG;base64,AAAA":               "image/jpeg AAAA",
		"DATA:image/png;name=a.png;BASE64,AAAA":    "image/png AAAA",
		"data:image/png;charset=utf-8;base64,AAAA": "image/png AAAA",
		"data:image/png;base64,AA\nAA":             "image/png AAAA",
		"data:image/png;base64,-_8":                "image/png +/8=",
		"data:image/png;base64,AA":                 "image/png AA==",
		"data:image/png;base64,AA==":               "image/png AA==",
		"HTTPS://example.com/a.png":                "https://example.com/a.png",
		"data:;base64,AAAA":                        "",
		"data:image/png;base64,":                   "",
		"data:image/png,AAAA":                      "",
		"https:example.com":                        "",
		"":                                         "",
	} {
		p, err := Part{Path: "p"}.from(in, "url")
		got := strings.TrimSpace(p.MediaType + " " + p.Data + p.URL)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
}

// TestLostReasoning: what does not go back to the model is named.
func TestLostReasoning(t *testing.T) {
	signed := `"thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"}]`
	fromBedrock := `"tool_calls":[{"id":"c","function":{"name":"f"},"extra_content":{"bedrock":{"reasoning":[{"reasoningText":{"text":"hm","signature":"s"}}]}}}]`
	fromGoogle := `"tool_calls":[{"id":"c","function":{"name":"f"},"extra_content":{"google":{"thought_signature":"s"}}}]`
	for _, tc := range []struct {
		name, members string
		rules         Rules
		thoughts      int
		dropped       []string
	}{
		{"signed", `"reasoning_content":"hm",` + signed, Rules{Signed: true}, 1, nil},
		{"signed at Bedrock", `"reasoning":"hm",` + fromBedrock, Rules{Signed: true}, 1, nil},
		{"not signed", `"reasoning_content":"hm"`, Rules{Signed: true}, 0, []string{"messages.reasoning_content"}},
		{"to a model that wants none", `"reasoning":"hm",` + signed, Rules{}, 1, []string{"messages.reasoning", "messages.thinking_blocks"}},
		{"readable", `"reasoning_content":"hm"`, Rules{Plain: true}, 0, nil},
		{"readable, but signed by another", `"reasoning_content":"hm",` + signed, Rules{Plain: true}, 1, []string{"messages.reasoning_content", "messages.thinking_blocks"}},
		{"in part not signed", `"thinking_blocks":[{"type":"thinking","thinking":"a","signature":"s"},{"type":"thinking","thinking":"b"}]`, Rules{Signed: true}, 1, []string{"messages.thinking_blocks"}},
		{"items of Responses", `"reasoning_content":"hm","thinking_blocks":[{"type":"reasoning","index":1,"item":{"type":"reasoning"}}]`, Rules{Plain: true, Signed: true}, 0, []string{"messages.reasoning_content", "messages.thinking_blocks"}},
		{"readable, with a call of Google's", `"reasoning":"hm",` + fromGoogle, Rules{Plain: true}, 0, []string{"messages.reasoning", "messages.tool_calls.extra_content"}},
		{"from Google to Google", fromGoogle, Rules{Google: true}, 0, nil},
		{"from Google to others", fromGoogle, Rules{Signed: true}, 0, []string{"messages.tool_calls.extra_content"}},
		{"from Bedrock to others", fromBedrock, Rules{Google: true}, 1, []string{"messages.tool_calls.extra_content"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &provider.Request{Body: []byte(`{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"so",` + tc.members + `}]}`)}
			c, err := Parse(req, tc.rules)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(c.Messages[1].Thoughts()); n != tc.thoughts || !slices.Equal(req.Dropped, tc.dropped) {
				t.Errorf("%d thoughts and dropped %q, want %d and %q", n, req.Dropped, tc.thoughts, tc.dropped)
			}
		})
	}
}
