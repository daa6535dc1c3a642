package chatsession

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// conversation makes messages of their wire form. u, s, a and t are short for a
// user's, a system's, an assistant's and a tool's: "u:hi", "a:hello+c1,c2" with tool
// calls, "t:result-c1".
func conversation(t *testing.T, short string) []*store.Message {
	t.Helper()
	var msgs []*store.Message
	for s := range strings.FieldsSeq(short) {
		role, text, _ := strings.Cut(s, ":")
		raw := ""
		switch role {
		case "u":
			raw = fmt.Sprintf(`{"role":"user","content":%q}`, text)
		case "s":
			raw = fmt.Sprintf(`{"role":"system","content":%q}`, text)
		case "a":
			text, calls, ok := strings.Cut(text, "+")
			if !ok {
				raw = fmt.Sprintf(`{"role":"assistant","content":%q}`, text)
				break
			}
			var list []string
			for id := range strings.SplitSeq(calls, ",") {
				list = append(list, fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":"f","arguments":"{}"}}`, id))
			}
			raw = fmt.Sprintf(`{"role":"assistant","content":%q,"tool_calls":[%s]}`, text, strings.Join(list, ","))
		case "t":
			text, id, _ := strings.Cut(text, "-")
			raw = fmt.Sprintf(`{"role":"tool","tool_call_id":%q,"content":%q}`, id, text)
		}
		if role == "w" {
			msgs = append(msgs, wordless(text))
			continue
		}
		m, err := fromWire(gjson.Parse(raw))
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}

// wordless returns an answer that is only the calls with these ids.
func wordless(ids string) *store.Message {
	blocks := `{"type":"thinking","thinking":"hm","signature":"c2ln"}`
	for id := range strings.SplitSeq(ids, ",") {
		if id != "" {
			blocks += fmt.Sprintf(`,{"type":"server_tool_use","id":%q,"name":"web_search","input":{}}`, id)
		}
	}
	m := newMessage(roleAssistant, "")
	m.Raw = fmt.Appendf(nil, `{"role":"assistant","content":"","content_blocks":[%s]}`, blocks)
	return m
}

// inShort is the other way round.
func inShort(msgs []*store.Message) string {
	var list []string
	for _, m := range msgs {
		wire := gjson.ParseBytes(appendWire(nil, m))
		s := wire.Get("role").Str[:1] + ":" + wire.Get("content").Str
		if ids := slices.Sorted(maps.Keys(callIDs(m))); len(ids) > 0 {
			s += "+" + strings.Join(ids, ",")
		}
		if id := resultOf(m); id != "" {
			s += "-" + id
		}
		list = append(list, s)
	}
	return strings.Join(list, " ")
}

func TestRemembered(t *testing.T) {
	// a plain message of eight bytes is estimated at two tokens
	for _, tc := range []struct {
		name, past, sent string
		messages, tokens int
		bytes            int64
		want             string
	}{
		{"all", "u:1 a:2 u:3 a:4", "u:5", 50, 8000, 1e6, "u:1 a:2 u:3 a:4"},
		{"the_newest_by_number", "u:1 a:2 u:3 a:4", "u:5", 3, 8000, 1e6, "a:2 u:3 a:4"},
		{"the_newest_by_tokens", "u:11111111 a:22222222 u:33333333", "u:5", 50, 5, 1e6, "a:22222222 u:33333333"},
		{"the_newest_by_bytes", "u:1 a:2 u:3", "u:5", 50, 8000, 40, "u:3"},
		{"a_message_is_never_split", "u:11111111", "u:5", 50, 1, 1e6, ""},
		{"none_by_number", "u:1 a:2", "u:5", 0, 8000, 1e6, ""},
		{"none_by_tokens", "u:1 a:2", "u:5", 50, 0, 1e6, ""},
		{"nothing_empty", "u:1 a: u:2", "u:5", 50, 8000, 1e6, "u:1 u:2"},

		{"calls_with_their_results", "u:1 a:+c1,c2 t:r1-c1 t:r2-c2 a:2", "u:5", 50, 8000, 1e6, "u:1 a:+c1,c2 t:r1-c1 t:r2-c2 a:2"},
		{"calls_are_never_cut_from_results", "u:1 a:+c1,c2 t:r1-c1 t:r2-c2 a:2", "u:5", 3, 8000, 1e6, "a:2"},
		{"calls_without_results_are_dropped", "u:1 a:+c1", "u:5", 50, 8000, 1e6, "u:1"},
		{"but_not_what_was_said_with_them", "u:1 a:wait+c1", "u:5", 50, 8000, 1e6, "u:1 a:wait"},
		{"nor_the_calls_that_have_one", "u:1 a:+c1,c2 t:r2-c2", "u:5", 50, 8000, 1e6, "u:1 a:+c2 t:r2-c2"},
		{"results_without_calls_are_dropped", "t:r1-c1 a:2", "u:5", 50, 8000, 1e6, "a:2"},
		{"results_of_other_calls_are_dropped", "u:1 a:+c1 t:r9-c9 t:r1-c1", "u:5", 50, 8000, 1e6, "u:1 a:+c1 t:r1-c1"},
		{"one_result_a_call", "u:1 a:+c1 t:r1-c1 t:again-c1", "u:5", 50, 8000, 1e6, "u:1 a:+c1 t:r1-c1"},
		{"calls_whose_results_are_sent", "u:1 a:+c1,c2", "t:r1-c1 t:r2-c2", 50, 8000, 1e6, "u:1 a:+c1,c2"},
		{"beyond_every_limit", "u:1 a:+c1", "t:r1-c1", 0, 0, 0, "a:+c1"},
		{"with_stored_ones", "u:1 a:+c1,c2 t:r1-c1", "t:r2-c2", 1, 8000, 1e6, "u:1 a:+c1,c2 t:r1-c1"},
		{"a_sent_result_wins_over_a_stored_one", "u:1 a:+c1 t:old-c1", "t:new-c1", 50, 8000, 1e6, "u:1 a:+c1"},
		{"only_the_last_calls_can_be_answered", "u:1 a:+c1 u:2", "t:r1-c1", 50, 8000, 1e6, "u:1 u:2"},
		{"tools_are_not_cut_from_their_question", "u:0 a:1 u:1 a:+c1 t:r1-c1 a:+c2", "t:r2-c2", 2, 2, 1e6, "u:1 a:+c1 t:r1-c1 a:+c2"},
		{"unless_it_is_too_large", "u:1 a:+c1 t:r1-c1 a:+c2", "t:r2-c2", 2, 2, 10, "a:+c2"},
		{"or_answered", "u:1 a:+c1 t:r1-c1 a:2", "u:5", 1, 8000, 1e6, "a:2"},
		{"a_result_of_nothing_changes_nothing", "u:1 a:2", "t:r1-c1", 50, 8000, 1e6, "u:1 a:2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			msgs, _ := contextLimits{tc.messages, tc.tokens}.remembered(conversation(t, tc.past), conversation(t, tc.sent), tc.bytes)
			if got := inShort(msgs); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWire(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		text     string
		raw      bool
		tokens   int
	}{
		{"plain", `{"role":"user","content":"a <b> \u00e9"}`, "a <b> \u00e9", false, 2},
		{"empty", `{"role":"user","content":""}`, "", false, 0},
		{"named", `{"role":"user","name":"ann","content":"hi"}`, "hi", true, 1},
		{"parts", `{"role":"user","content":[{"type":"text","text":"look: "},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}`, "look: ", true, 1002},
		{"spaces", `{ "role" : "user",  "content" : [ {"type":"text","text":"a  b"} ] }`, "a  b", true, 1},
		{"calls", `{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":\"<\"}"}}]}`, "", true, 21},
		{"thoughts", `{"role":"assistant","content":"ab","reasoning":"1234567890","reasoning_content":"12345678901234"}`, "ab", true, 5},
		{"result", `{"role":"tool","tool_call_id":"c1","content":"42"}`, "42", true, 1},
		{"no_content", `{"role":"assistant","refusal":"no"}`, "", true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := fromWire(gjson.Parse(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if m.Content != tc.text || (m.Raw != nil) != tc.raw || m.TokenCount != tc.tokens {
				t.Errorf("stored as %+v", m)
			}
			if got := string(appendWire(nil, m)); !sameJSON(t, got, tc.in) {
				t.Errorf("came back as %s", got)
			}
		})
	}
}

// TestRememberedWithoutLead cuts a conversation in front of a system message, which is not
// its prompt.
func TestRememberedWithoutLead(t *testing.T) {
	for _, tc := range []struct {
		name, past string
		limits     contextLimits
		want       string
	}{
		{"cut", "u:1 s:x a:1 u:2 s:y a:2", contextLimits{5, 8000}, "a:1 u:2 s:y a:2"},
		{"the_conversations_own", "s:x u:1 a:1", contextLimits{5, 8000}, "s:x u:1 a:1"},
		{"all_that_is_left", "s:x u:1 a:1", wholeContext, "s:x u:1 a:1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			past := conversation(t, tc.past)
			for i, m := range past {
				m.Seq = uint64(i) + 1
			}
			if tc.limits == wholeContext {
				past[0].Seq = 7 // the store has pruned what was before
			}
			msgs, _ := tc.limits.remembered(past, nil, 1e6)
			if got := inShort(msgs); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
