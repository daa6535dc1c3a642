package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestBegunElsewhere has Claude go on, by its own API, with what a server of OpenAI's type has
// said and Anthropic refuses.
func TestBegunElsewhere(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	said := func(content string, ids ...string) string {
		var calls []string
		for _, id := range ids {
			calls = append(calls, fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":"get","arguments":"{}"}}`, id))
		}
		return `{"id":"c","object":"chat.completion","model":"up","choices":[{"index":0,"message":{"role":"assistant","content":` + content + `,"tool_calls":[` + strings.Join(calls, ",") + `]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`
	}
	for name, tc := range map[string]struct {
		said    []string // by the other server
		more    string   // of the last request
		dropped string
	}{
		"without thinking":     {[]string{said(`null`, "call_1")}, `,"thinking":{"type":"enabled","budget_tokens":2000}`, "thinking"},
		"blank text":           {[]string{said(`"\n\n"`, "call_1")}, "", ""},
		"one id in two turns":  {[]string{said(`null`, "call_0"), said(`null`, "call_0")}, "", ""},
		"one id for two calls": {[]string{said(`null`, "call_0", "call_0")}, "", ""},
		"ids of other letters": {[]string{said(`null`, "functions.get:0", "functions.get:1")}, "", ""},
	} {
		for _, how := range []struct{ session, stream, chat bool }{{}, {stream: true}, {session: true}, {session: true, stream: true}, {session: true, chat: true}} {
			t.Run(fmt.Sprintf("%s %+v", name, how), func(t *testing.T) {
				var header []string
				if how.session {
					header = []string{"X-Session-Id", harness.NewSession()}
				}
				b := begun{t: t, cl: cl, header: header, messages: `{"role":"user","content":"go"}`}
				for _, answer := range tc.said {
					up.Plays(harness.Document(http.StatusOK, answer))
					if how.chat {
						b.chat()
					} else {
						b.ask()
					}
				}
				if how.chat {
					b.messages = b.results
				}
				up.Plays(harness.Messages("end_turn", `[{"type":"text","text":"done"}]`))
				resp := cl.Do(http.MethodPost, "/v1/messages", fmt.Sprintf(`{"model":"anthropic","max_tokens":5000,"stream":%v,"tools":[`+getTool+`],"messages":[%s]%s}`, how.stream, b.messages, tc.more), header...)
				if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || !strings.Contains(text, `"done"`) {
					t.Errorf("%d %s\nto %s", resp.StatusCode, text, up.Last().Body)
				}
				if got := resp.Header.Get("X-Ai-Dropped"); !strings.Contains(got, tc.dropped) {
					t.Errorf("X-Ai-Dropped is %q", got)
				}
				if !how.session {
					b.count(up, tc.more)
				}
			})
		}
	}
}

const getTool = `{"name":"get","input_schema":{"type":"object"}}`

// begun is a conversation with a model whose calls are all answered.
type begun struct {
	t        *testing.T
	cl       *harness.Client
	header   []string // names its session, if it has one
	messages string   // to send next
	results  string   // of the calls of a chat completion, in the words of Messages
}

// ask asks by Messages.
func (b *begun) ask() {
	b.t.Helper()
	resp := b.cl.Do(http.MethodPost, "/v1/messages", `{"model":"openai","max_tokens":100,"tools":[`+getTool+`],"messages":[`+b.messages+`]}`, b.header...)
	content := gjson.Get(harness.ReadAll(b.t, resp), "content")
	var results []string
	for _, block := range content.Array() {
		if block.Get("type").Str == "tool_use" {
			results = append(results, `{"type":"tool_result","tool_use_id":`+block.Get("id").Raw+`,"content":"sun"}`)
		}
	}
	next := `{"role":"user","content":[` + strings.Join(results, ",") + `]}`
	if b.header == nil {
		next = b.messages + `,{"role":"assistant","content":` + content.Raw + `},` + next
	}
	b.messages = next
}

// chat asks by chat completions.
func (b *begun) chat() {
	b.t.Helper()
	resp := b.cl.Do(http.MethodPost, "/v1/chat/completions", `{"model":"openai","tools":[{"type":"function","function":{"name":"get"}}],"messages":[`+b.messages+`]}`, b.header...)
	var results, blocks []string
	for _, id := range gjson.Get(harness.ReadAll(b.t, resp), "choices.0.message.tool_calls.#.id").Array() {
		results = append(results, `{"role":"tool","tool_call_id":`+id.Raw+`,"content":"sun"}`)
		blocks = append(blocks, `{"type":"tool_result","tool_use_id":`+id.Raw+`,"content":"sun"}`)
	}
	b.messages, b.results = strings.Join(results, ","), `{"role":"user","content":[`+strings.Join(blocks, ",")+`]}`
}

// count counts the tokens of the conversation.
func (b *begun) count(up *harness.Upstream, more string) {
	b.t.Helper()
	up.Plays(harness.Messages("end_turn", `[]`))
	resp := b.cl.Do(http.MethodPost, "/v1/messages/count_tokens", `{"model":"anthropic","tools":[`+getTool+`],"messages":[`+b.messages+`]`+more+`}`)
	if text := harness.ReadAll(b.t, resp); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Ai-Estimated") != "true" {
		b.t.Errorf("counting: %d %s", resp.StatusCode, text)
	}
}
