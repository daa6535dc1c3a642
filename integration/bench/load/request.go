package load

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/integration/bench/replay"
)

// Request is a request as sent over the wire.
type Request struct {
	Addr  string // of the server
	Model string
	Words int // how many the answer must have
	Chat  bool

	// API is replay.Messages or replay.Responses; empty for chat completions. Keep has
	// the response kept.
	API  string
	Keep bool

	// Stream asks for a stream instead of a document.
	Stream bool

	// Sessions is how many sessions the turns of a chat cycle through. With 0,
	// each turn begins a new one.
	Sessions int64
	// Tenants is how many tenants the requests cycle through.
	Tenants int64

	wire    []byte
	session []byte // parts of wire; empty if not in it
	tenant  []byte
}

const (
	// question is as long as a typical chat message.
	question = "Tell me in a few words how a reverse proxy passes on a stream of events, and what it costs."

	// SessionID has the same length for every number.
	SessionID = "00000000-0000-4000-8000-%012d"

	// TenantID has too.
	TenantID = "t%06d"
)

// clone returns a copy for one connection, ready to be written.
func (r *Request) clone() *Request {
	c := *r
	path, body := "/v1/chat/completions", fmt.Sprintf(
		`{"model":%q,"stream":%t,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":%q}]}`,
		r.Model, r.Stream, question)
	session, tenant := fmt.Sprintf(SessionID, 0), fmt.Sprintf(TenantID, 0)
	switch r.API {
	case replay.Messages:
		path, body = "/v1/messages", fmt.Sprintf(
			`{"model":%q,"stream":%t,"max_tokens":1000,"system":"You are a helpful assistant.","messages":[{"role":"user","content":%q}]}`,
			r.Model, r.Stream, question)
	case replay.Responses:
		path, body = "/v1/responses", fmt.Sprintf(
			`{"model":%q,"stream":%t,"store":%t,"instructions":"You are a helpful assistant.","input":[{"role":"user","content":%q}]}`,
			r.Model, r.Stream, r.Keep, question)
	}
	if r.Chat {
		path, body = "/chat", fmt.Sprintf(
			`{"sessionId":%q,"message":%q,"modelId":%q,"stream":%t}`,
			session, question, r.Model, r.Stream)
	}
	c.wire = fmt.Appendf(nil,
		"POST %s HTTP/1.1\r\nHost: %s\r\nX-Tenant-Id: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, r.Addr, tenant, len(body), body)
	c.session, c.tenant = find(c.wire, session), find(c.wire, tenant)
	return &c
}

// find returns the part of wire that equals what, or nil.
func find(wire []byte, what string) []byte {
	at := bytes.Index(wire, []byte(what))
	if at < 0 {
		return nil
	}
	return wire[at : at+len(what)]
}

// number turns the request into request n, with its session and tenant.
func (r *Request) number(n int64) {
	if r.Tenants > 1 {
		copy(r.tenant, fmt.Sprintf(TenantID, n%r.Tenants))
	}
	switch {
	case !r.Chat:
	case r.Sessions > 0:
		copy(r.session, fmt.Sprintf(SessionID, n%r.Sessions))
	default:
		copy(r.session, uuid.NewString())
	}
}

// check returns an error if the answer is not complete.
func (r *Request) check(got answer, tail []byte) error {
	end := "}"
	switch {
	case r.Stream && r.Chat:
		end = `"finishReason":"stop"`
	case r.Stream && r.API == replay.Messages:
		end = "message_stop"
	case r.Stream && r.API == replay.Responses:
		return r.checkWords(got, tail, "}")
	case r.Stream:
		end = "[DONE]"
	}
	return r.checkWords(got, tail, end)
}

func (r *Request) checkWords(got answer, tail []byte, end string) error {
	if got.words != r.Words || !bytes.Contains(tail, []byte(end)) {
		return fmt.Errorf("answer with %d of %d words ends with %q", got.words, r.Words, tail)
	}
	return nil
}

// most is how many words are counted at most; 0 for all. A response ends with all of its
// text again.
func (r *Request) most() int {
	if r.API == replay.Responses {
		return r.Words
	}
	return 0
}
