package harness

import (
	"net/http"
	"strings"
)

// Remember starts a completion with a session.
func (c *Client) Remember(session string, body any, header ...string) *Pending {
	c.T.Helper()
	return c.Start(c.Request(http.MethodPost, CompletionsPath, body, append([]string{"X-Session-Id", session}, header...)...))
}

// MessagesBody returns a request with messages and more members.
func MessagesBody(messages string, more ...string) string {
	return `{"model":"fast","messages":[` + messages + `]` + strings.Join(more, "") + `}`
}

// UserSays returns a request with one user message.
func UserSays(text string, more ...string) string {
	return MessagesBody(`{"role":"user","content":`+Quote(text)+`}`, more...)
}

// Streamed is the member that asks MessagesBody for a stream.
const Streamed = `,"stream":true`

// Whole waits for the answer and reads it to its end, as an OpenAI client does.
func (a *Pending) Whole() Completion {
	a.t.Helper()
	return ReadCompletion(a.t, a.Answer())
}

// Turn asks for a completion in a session and answers it with text.
func (u *Upstream) Turn(cl *Client, session, body, text string) Completion {
	u.t.Helper()
	a := cl.Remember(session, body)
	u.Call().Answer(text)
	return a.Whole()
}
