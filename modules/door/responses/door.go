// Package responses is the door for clients of OpenAI's Responses API.
package responses

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Door serves POST /v1/responses.
type Door struct {
	// Stored says that answers may be kept, and that requests may refer to earlier ones.
	Stored bool
}

// API implements door.Door.
func (Door) API() provider.API { return provider.APIResponses }

// Ping implements door.Door. The API has no event for it: a comment does.
func (Door) Ping() []byte { return nil }

// Open implements door.Door.
func (d Door) Open(body []byte) (door.Call, error) { return open(body, d.Stored) }

// call is one request.
type call struct {
	Door

	body       []byte
	completion []byte
	refusal    error // as of door.Call
	dropped    provider.Dropped
	tools      tools

	alone, said string // as of Opening

	messages []*message // of completion
	sent     []sent     // the items that they were made of

	id         string // of the response, without its prefix
	created    int64
	echo       echo // what the response repeats of the request
	background bool
	sealed     bool // the client takes reasoning in encrypted_content

	logprobs bool // the client wants log probabilities

	// completes says that the client gets a chat completion, which has calls of custom
	// tools, too.
	completes bool
}

func newCall() *call {
	return &call{id: strings.ReplaceAll(uuid.NewString(), "-", ""), created: time.Now().Unix()}
}

func (c *call) Completion() []byte { return c.completion }

// Refusal implements door.Call.
func (c *call) Refusal() error { return c.refusal }

// refuse notes why only a provider that has Responses can be given the request.
func (c *call) refuse(param, why string) {
	if c.refusal == nil {
		c.refusal = provider.Unsupported(param, why)
	}
}

func (c *call) Dropped() []string { return c.dropped }

func (c *call) Stream() door.Stream { return newStream(c) }

// Keep implements door.Kept.
func (c *call) Keep(id string, begun time.Time) {
	c.id, c.created, c.echo.Store = id, begun.Unix(), true
}

// Opening implements door.Kept.
func (c *call) Opening() (alone, said string) { return c.alone, c.said }

// Begun implements door.Kept.
func (c *call) Begun() []byte { return provider.Encode(c.response(c.modelOf(""))) }

// Interface guards
var (
	_ door.Door     = Door{}
	_ door.Kept     = (*call)(nil)
	_ door.Repeater = (*call)(nil)
)
