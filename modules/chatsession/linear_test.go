package chatsession

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// TestManyCalls pairs the calls of one message with their results, which are in the session
// or among the sent messages. There are so many that the test would not end if each result
// were looked for among all calls.
func TestManyCalls(t *testing.T) {
	const many = 100_000
	wire := func(format string, args ...any) *store.Message {
		m, err := fromWire(gjson.Parse(fmt.Sprintf(format, args...)))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	var calls []string
	var results []*store.Message
	for i := range many {
		calls = append(calls, fmt.Sprintf(`{"id":"call_%06d","type":"function","function":{"name":"f","arguments":"{}"}}`, i))
		results = append(results, wire(`{"role":"tool","tool_call_id":"call_%06d","content":"ok"}`, i))
	}
	call := wire(`{"role":"assistant","content":null,"tool_calls":[%s]}`, strings.Join(calls, ","))
	for name, tc := range map[string]struct {
		past, sent []*store.Message
		kept       int
	}{
		"in_the_session":           {append([]*store.Message{call}, results...), nil, 1 + many},
		"among_the_sent":           {[]*store.Message{call}, results, 1},
		"half_of_them_in_each":     {append([]*store.Message{call}, results[:many/2]...), results[many/2:], 1 + many/2},
		"results_of_calls_unknown": {append([]*store.Message{wire(`{"role":"assistant","content":"x","tool_calls":[{"id":"c"}]}`)}, results...), nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			list := groups(tc.past, tc.sent)
			if len(list) != 1 || len(list[0].msgs) != tc.kept {
				t.Fatalf("there are %d groups, the first of %d messages, want %d", len(list), len(list[0].msgs), tc.kept)
			}
		})
	}
}
