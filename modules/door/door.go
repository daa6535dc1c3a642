// Package door lets clients of other APIs in. The gateway's own language is
// OpenAI's chat completions. A door turns a request of its API into one of these,
// and the answer back. Doors know neither Caddy nor HTTP.
package door

import (
	"encoding/json"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Door is one API.
type Door interface {
	// API is the API's name, by which providers know it.
	API() provider.API

	// Open reads a request's body: one JSON object without duplicate names. Errors
	// are *provider.Error, about a member of this body.
	Open(body []byte) (Call, error)

	// Unsealed returns the body of a request for a provider that speaks this API, which
	// understands nothing that Seal has made: in its place stands what such a provider has
	// said of it, or nothing, which dropped names. ok is false if the provider would refuse
	// that: the request has to be translated.
	Unsealed(body []byte) (open []byte, dropped []string, ok bool)

	// Ping is the event that keeps a silent stream alive.
	Ping() []byte
}

// Call is one request of a door, and what its answer needs to know of it.
type Call interface {
	Door

	// Completion returns the chat completions request. What that has no place
	// for is in extension members: those that providers put into chat
	// completions, too, such as thinking_blocks and cache_control.
	Completion() []byte

	// Dropped lists the members of the body that no provider behind chat
	// completions could be given.
	Dropped() []string

	// Refusal returns why only a provider that speaks this API can be given the
	// request; nil if any can. It is a *provider.Error, about a member of the body.
	Refusal() error

	// Stream returns a writer for a streamed answer.
	Stream() Stream

	// Document turns a chat completion into the API's document.
	Document(completion []byte) []byte

	// Said returns a member of an assistant's message of chat completions that holds what
	// a document of this API says, and its value; no value if the message says as much.
	Said(document []byte) (member string, value json.RawMessage)

	// Origins says what the messages of Completion were made of, and which ones it is
	// without.
	Origins() Origins

	// Whole returns the body of the request with what was said before, as messages of chat
	// completions, in front of what it says itself, and without what it needs a store for.
	// system is a prompt for a request that has none, or empty. dropped names what is left
	// out of the messages, and ok is false if one has no form in this API.
	Whole(system string, before []json.RawMessage) (body []byte, dropped []string, ok bool)

	// Assembler returns what makes a document of a streamed answer.
	Assembler() Assembler
}

// The members of Said and Origins, by which the APIs tell the messages that they have made.
const (
	MemberItems    = "response_items"    // of OpenAI's Responses
	MemberBlocks   = "content_blocks"    // of Anthropic's Messages, in an answer
	MemberMessages = "original_messages" // of Anthropic's Messages, in a request
)

// Members are all of these.
var Members = [...]string{MemberItems, MemberBlocks, MemberMessages}

// MembersOf returns those of an API.
func MembersOf(api provider.API) []string {
	if api == provider.APIResponses {
		return Members[:1]
	}
	return Members[1:]
}

// Assembler makes a document of the events of an answer that passes as it came. A budget
// may have to end the answer, which can be done only while it is a stream.
type Assembler interface {
	// Add adds whole events.
	Add(events []byte)

	// Ended reports whether the end of the answer was among them.
	Ended() bool

	// Document returns the document. An answer without its end gets that of one which
	// has reached its limit of tokens, and the usage.
	Document(usage provider.Usage) []byte
}

// Kept is a call whose answer is kept, to be asked for by its id.
type Kept interface {
	Call

	// Keep gives the answer its id, without what all ids of its kind begin with, and
	// the time when it began.
	Keep(id string, begun time.Time)

	// Begun returns the document of an answer that has only begun.
	Begun() []byte

	// Opening returns the two parts of the system prompt with which Completion begins:
	// what is for this answer alone, and what belongs to the conversation.
	Opening() (alone, said string)
}

// Repeater is a call whose answer repeats members of its request.
type Repeater interface {
	Call

	// Without has the answer not repeat members that the provider was not given, or not
	// as they were. names are the client's, as of Named.
	Without(names []string)
}

// Stream turns a streamed chat completion into the API's events. Its methods append
// events to b. After End or Fail there are no more.
type Stream interface {
	// Chunk appends what a chunk adds. A chunk with Native is passed as it came;
	// the answer may go on with others.
	Chunk(b []byte, c *provider.Chunk) []byte

	// End appends the end of a complete answer. usage counts all of it.
	End(b []byte, usage provider.Usage) []byte

	// Fail appends the end of an answer that has failed.
	Fail(b []byte, f Failure) []byte
}

// StoredFile stands in a chat completion in place of a file that only a provider with the
// client's API may have.
const StoredFile = "(a stored file)"

// Failure is why an answer breaks off.
type Failure struct {
	Type    string // in the API's own words
	Code    string // of the contract
	Message string
	TraceID string
}
