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

// MessagesBody is a request with messages, and what follows them.
func MessagesBody(messages string, more ...string) string {
	return `{"model":"fast","messages":[` + messages + `]` + strings.Join(more, "") + `}`
}

// UserSays is a request with one message of the user's.
func UserSays(text string, more ...string) string {
	return MessagesBody(`{"role":"user","content":`+Quote(text)+`}`, more...)
}

// Streamed is the member that asks MessagesBody for a stream.
const Streamed = `,"stream":true`

// Whole reads an answer that has begun to its end, as an OpenAI client does.
func (a *Pending) Whole() Completion {
	a.t.Helper()
	return ReadCompletion(a.t, a.Answer())
}

// Turn has a completion asked and answered.
func (u *Upstream) Turn(cl *Client, session, body, text string) Completion {
	u.t.Helper()
	a := cl.Remember(session, body)
	u.Call().Answer(text)
	return a.Whole()
}
