package chat

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestEventNumbers follows responses of servers that number their events in ways of their
// own, or not at all: all events of the answer come, numbered from 0 without gaps.
func TestEventNumbers(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1))
	reply := providertest.Reply{Model: "up-fast", Finish: "stop", Parts: []providertest.Part{
		{Reasoning: "hm"}, {Text: `"sequence_number":3, `}, {Text: "Hel"}, {Text: "lo"}, {Call: 1, ID: "call_1", Name: "f", Arguments: `{"sequence_number":4}`},
	}}
	for name, number := range map[string]func(int) string{
		"none":               harness.Unnumbered,
		"from_1":             func(n int) string { return fmt.Sprintf(`"sequence_number":%d,`, n+1) },
		"from_7":             func(n int) string { return fmt.Sprintf(`"sequence_number": %d,`, n+7) },
		"always_0":           func(int) string { return `"sequence_number":0,` },
		"backwards":          func(n int) string { return fmt.Sprintf(`"sequence_number":%d,`, -n) },
		"null":               func(int) string { return `"sequence_number":null,` },
		"each_item_from_0":   func(n int) string { return fmt.Sprintf(`"sequence_number":%d,`, n%4) },
		"some_are_left_out":  func(n int) string { return fmt.Sprintf(`"sequence_number":%d,`, 2*n) },
		"in_a_string":        func(n int) string { return fmt.Sprintf(`"sequence_number":"%d",`, n) },
		"as_OpenAI":          func(n int) string { return fmt.Sprintf(`"sequence_number":%d,`, n) },
		"larger_than_number": func(int) string { return `"sequence_number":12345678901234567890,` },
	} {
		t.Run(name, func(t *testing.T) {
			a := asks{t, harness.NewClient(c, "acme", "ann")}
			up.Plays(harness.ResponsesNumbered(reply, number))
			ask := func(more string) string {
				return harness.ReadAll(t, a.cl.Do(http.MethodPost, "/v1/responses", `{"model":"fast","input":"hi","tools":[{"type":"function","name":"f"}],"stream":true`+more+`}`))
			}
			want := providertest.ResponseEvents([]byte(`{"input":"hi"}`), reply)
			for _, more := range []string{"", `,"background":true`} {
				stream := ask(more)
				events := strings.SplitAfter(strings.TrimSpace(stream)+"\n\n", "\n\n")
				events = events[:len(events)-1]
				if len(events) != len(want) {
					t.Fatalf("%d events came of %d:\n%s", len(events), len(want), stream)
				}
				for n, event := range events {
					typ, data, _ := strings.Cut(event, "\ndata: ")
					if v := gjson.Parse(data); v.Get("sequence_number").Raw != fmt.Sprint(n) || !strings.HasPrefix(string(want[n]), typ+"\n") || strings.Count(data, `"sequence_number":`) > 2 {
						t.Errorf("event %d is\n%swant\n%s", n, event, want[n])
					}
				}
				_, data, _ := strings.Cut(stream, "data: ")
				id := gjson.Get(data, "response.id").Str
				for after := -1; after < len(events)-1; after++ {
					path := fmt.Sprintf("/v1/responses/%s?stream=true", id)
					if after >= 0 {
						path += fmt.Sprint("&starting_after=", after)
					}
					got := strings.SplitAfter(harness.ReadAll(t, a.cl.Do(http.MethodGet, path, nil)), "\n\n")
					if rest := events[after+1:]; len(got) != len(rest)+1 || strings.Join(got[:len(got)-2], "") != strings.Join(rest[:len(rest)-1], "") || !strings.HasPrefix(got[len(got)-2], "event: response.completed\n") {
						t.Errorf("behind %d comes\n%s\nwant\n%s", after, got, rest)
					}
				}
			}
			plain := ask(`,"store":false`)
			if came := strings.Join(harness.EventsNumbered([]byte(up.Last().Body), reply, number), ""); plain != came {
				t.Errorf("where nothing is kept\n%s\nbecomes\n%s", came, plain)
			}
		})
	}
}
