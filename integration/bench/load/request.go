package load

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Request is a request as it goes over the wire.
type Request struct {
	wire    []byte
	session int // where the session's id stands; 0 where there is no session
	words   int // how many the answer has to have
	end     string
}

// noSession stands where each request has an id of its own.
const noSession = "00000000-0000-0000-0000-000000000000"

// question is what the user says: as long as a line of a chat.
const question = "Tell me in a few words how a reverse proxy passes on a stream of events, and what it costs."

// NewCompletion asks for words from a model by OpenAI's API.
func NewCompletion(addr, model string, words int, stream bool) *Request {
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":%q}]}`, model, stream, question)
	end := `[DONE]`
	if !stream {
		end = `}`
	}
	return newRequest(addr, "/v1/chat/completions", body, words, end)
}

// NewTurn asks for words by POST /chat. Each time it begins a session.
func NewTurn(addr, model string, words int, stream bool) *Request {
	body := fmt.Sprintf(`{"sessionId":%q,"message":%q,"modelId":%q,"stream":%t}`, noSession, question, model, stream)
	end := `"finishReason":"stop"`
	if !stream {
		end = `}`
	}
	return newRequest(addr, "/chat", body, words, end)
}

func newRequest(addr, path, body string, words int, end string) *Request {
	wire := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nX-Tenant-Id: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, addr, len(body), body)
	return &Request{
		wire:    []byte(wire),
		session: max(0, strings.Index(wire, noSession)),
		words:   words,
		end:     end,
	}
}

// clone is for another connection: renew must not write into its bytes.
func (r *Request) clone() *Request {
	c := *r
	c.wire = bytes.Clone(r.wire)
	return &c
}

// renew puts a new session's id in.
func (r *Request) renew() {
	if r.session > 0 {
		copy(r.wire[r.session:], uuid.NewString())
	}
}

// check refuses an answer that is not the whole one.
func (r *Request) check(got answer, tail []byte) error {
	if got.words != r.words || !bytes.Contains(tail, []byte(r.end)) {
		return fmt.Errorf("answer with %d of %d words ends with %q", got.words, r.words, tail)
	}
	return nil
}
