package load

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"
)

// Request is a request as it goes over the wire.
type Request struct {
	Addr  string // of the server
	Model string
	Words int // how many the answer has to have
	Chat  bool
	// Stream asks for a stream, else for a document.
	Stream bool

	// Sessions is between how many sessions the turns of a chat take turns.
	// Without it each begins one.
	Sessions int64
	// Tenants is between how many tenants requests take turns.
	Tenants int64

	wire    []byte
	session []byte // where they stand in wire; empty where it has none
	tenant  []byte
}

const (
	// question is what the user says: as long as a line of a chat.
	question = "Tell me in a few words how a reverse proxy passes on a stream of events, and what it costs."

	// sessionID is of one length, whatever the number.
	sessionID = "00000000-0000-4000-8000-%012d"

	// TenantID is too.
	TenantID = "t%06d"
)

// clone is the request for one connection, ready to be written.
func (r *Request) clone() *Request {
	c := *r
	path, body := "/v1/chat/completions", fmt.Sprintf(
		`{"model":%q,"stream":%t,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":%q}]}`,
		r.Model, r.Stream, question)
	session, tenant := fmt.Sprintf(sessionID, 0), fmt.Sprintf(TenantID, 0)
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

// find returns the part of wire that holds what, or nothing.
func find(wire []byte, what string) []byte {
	at := bytes.Index(wire, []byte(what))
	if at < 0 {
		return nil
	}
	return wire[at : at+len(what)]
}

// number makes it the request of that number: of its session and tenant.
func (r *Request) number(n int64) {
	if r.Tenants > 1 {
		copy(r.tenant, fmt.Sprintf(TenantID, n%r.Tenants))
	}
	switch {
	case !r.Chat:
	case r.Sessions > 0:
		copy(r.session, fmt.Sprintf(sessionID, n%r.Sessions))
	default:
		copy(r.session, uuid.NewString())
	}
}

// check refuses an answer that is not the whole one.
func (r *Request) check(got answer, tail []byte) error {
	end := "}"
	switch {
	case r.Stream && r.Chat:
		end = `"finishReason":"stop"`
	case r.Stream:
		end = "[DONE]"
	}
	if got.words != r.Words || !bytes.Contains(tail, []byte(end)) {
		return fmt.Errorf("answer with %d of %d words ends with %q", got.words, r.Words, tail)
	}
	return nil
}
