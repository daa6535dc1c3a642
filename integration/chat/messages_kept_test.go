package chat

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// messagesSite is chat_session in front of a server of Anthropic's API.
func messagesSite(up *harness.Upstream) string {
	return `
	tenant_resolve
	chat_session
	ai_gateway {
		provider anthropic {
			base_url ` + up.Origin() + `
			api_key k
		}
		model fast {
			to anthropic/claude-up
		}
		retries 0
		circuit_breaker off
	}
`
}

// messagesSession asks in a session of a user, and wants an answer.
type messagesSession struct {
	asks
	session string
}

func (s messagesSession) ask(messages string) gjson.Result {
	s.t.Helper()
	resp := s.cl.Do(http.MethodPost, "/v1/messages", `{"model":"fast","max_tokens":100,"messages":[`+messages+`]}`, "X-Session-Id", s.session)
	got := gjson.Parse(harness.ReadAll(s.t, resp))
	if resp.StatusCode != http.StatusOK {
		s.t.Errorf("%d %s", resp.StatusCode, got)
	}
	return got
}

const cited = `{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"the text"},"title":"T","context":"C","citations":{"enabled":true}},{"type":"text","text":"What is it?"}]}`

// TestMessagesKept keeps the blocks of the client's own as they came, for the server that
// knows them.
func TestMessagesKept(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, messagesSite(up))
	start := func(t *testing.T) messagesSession {
		up.Plays(harness.Messages("end_turn", `[{"type":"text","text":"It is."}]`))
		s := messagesSession{asks{t, harness.NewClient(c, "acme", "ann")}, harness.NewSession()}
		s.ask(cited)
		return s
	}

	t.Run("in each turn", func(t *testing.T) {
		s := start(t)
		for turn := range 3 {
			s.ask(fmt.Sprintf(`{"role":"user","content":"more %d"}`, turn))
			if got := gjson.Get(up.Last().Body, "messages.0").Raw; got != cited {
				t.Errorf("turn %d: the document goes as %s", turn, got)
			}
		}
	})
	t.Run("a conversation that is sent as a whole", func(t *testing.T) {
		s := start(t)
		talk := cited
		for turn := range 3 {
			talk += fmt.Sprintf(`,{"role":"assistant","content":[{"type":"text","text":"It is."}]},{"role":"user","content":[{"type":"search_result","source":"s","title":"%d","content":[{"type":"text","text":"found"}]}]}`, turn)
			s.ask(talk)
			if got := gjson.Get(up.Last().Body, "messages").Raw; got != "["+talk+"]" {
				t.Errorf("turn %d: the server is asked\n%s\nwant\n%s", turn, got, talk)
			}
		}
		s.ask(`{"role":"user","content":"end"}`)
		if got := gjson.Get(up.Last().Body, "messages").Raw; !strings.HasPrefix(got, "["+talk+",") {
			t.Errorf("the server is asked\n%s\nwant\n%s", got, talk)
		}
		if n := len(s.cl.History(s.session)); n != 10 {
			t.Errorf("the session has %d messages", n)
		}
	})
	t.Run("not for another user", func(t *testing.T) {
		s := start(t)
		other := messagesSession{asks{t, harness.NewClient(c, "acme", "bob")}, s.session}
		other.ask(`{"role":"user","content":"hi"}`)
		if strings.Contains(up.Last().Body, "the text") {
			t.Errorf("another user's server is asked %s", up.Last().Body)
		}
	})
	t.Run("not what was refused", func(t *testing.T) {
		s := start(t)
		up.Plays(harness.Document(http.StatusBadRequest, `{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`))
		s.cl.Do(http.MethodPost, "/v1/messages", `{"model":"fast","max_tokens":100,"messages":[{"role":"user","content":[{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"bad"}]}]}]}`, "X-Session-Id", s.session)
		up.Plays(harness.Messages("end_turn", `[{"type":"text","text":"It is."}]`))
		s.ask(`{"role":"user","content":"more"}`)
		if body := up.Last().Body; strings.Contains(body, "bad") || gjson.Get(body, "messages.#").Int() != 3 {
			t.Errorf("the server is asked %s", body)
		}
	})
	t.Run("with more than what has failed", func(t *testing.T) {
		s := start(t)
		up.Plays(harness.Messages("tool_use", `[{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]`))
		s.ask(`{"role":"user","content":"look"}`)
		const result = `{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"found"}]}]}`
		up.Plays(harness.Refuses(http.StatusInternalServerError, "x"))
		harness.ReadAll(t, s.cl.Do(http.MethodPost, "/v1/messages", `{"model":"fast","max_tokens":100,"messages":[{"role":"user","content":[`+result+`]}]}`, "X-Session-Id", s.session))
		up.Plays(harness.Messages("end_turn", `[{"type":"text","text":"It is."}]`))
		s.ask(`{"role":"user","content":[` + result + `,{"type":"text","text":"and that?"}]}`)
		s.ask(`{"role":"user","content":"more"}`)
		if body := up.Last().Body; strings.Count(body, result) != 1 || strings.Count(body, "and that?") != 1 {
			t.Errorf("the server is asked %s", body)
		}
	})
	t.Run("not what was deleted", func(t *testing.T) {
		s := start(t)
		s.cl.Do(http.MethodDelete, "/chat/"+s.session, nil)
		s.ask(`{"role":"user","content":"more"}`)
		if body := up.Last().Body; gjson.Get(body, "messages.#").Int() != 1 {
			t.Errorf("the server is asked %s", body)
		}
	})
	t.Run("marks for the prompt cache, in chat completions", func(t *testing.T) {
		s := messagesSession{asks{t, harness.NewClient(c, "acme", "ann")}, harness.NewSession()}
		for turn := range 7 {
			s.cl.Do(http.MethodPost, harness.CompletionsPath, fmt.Sprintf(`{"model":"fast","messages":[{"role":"user","content":[{"type":"text","text":"more %d","cache_control":{"type":"ephemeral"}}]}]}`, turn), "X-Session-Id", s.session)
			body := up.Last().Body
			if n := strings.Count(body, "cache_control"); n != min(turn+1, 4) || !gjson.Get(body, fmt.Sprintf("messages.%d.content.0.cache_control", 2*turn)).Exists() {
				t.Errorf("turn %d: %d marks in %s", turn, n, body)
			}
		}
	})
	t.Run("marks for the prompt cache", func(t *testing.T) {
		s := start(t)
		for turn := range 7 {
			s.ask(fmt.Sprintf(`{"role":"user","content":[{"type":"text","text":"more %d","cache_control":{"type":"ephemeral"}}]}`, turn))
			body := up.Last().Body
			if n := strings.Count(body, "cache_control"); n != min(turn+1, 4) || !gjson.Get(body, fmt.Sprintf("messages.%d.content.0.cache_control", 2+2*turn)).Exists() {
				t.Errorf("turn %d: %d marks in %s", turn, n, body)
			}
		}
	})
}
