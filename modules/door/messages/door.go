// Package messages is the door for clients of Anthropic's Messages API.
package messages

import (
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Door serves POST /v1/messages.
type Door struct{}

// API implements door.Door.
func (Door) API() provider.API { return provider.APIMessages }

// Ping implements door.Door.
func (Door) Ping() []byte { return ping }

var ping = []byte("event: ping\ndata: {\"type\": \"ping\"}\n\n")

// call is one request.
type call struct {
	Door

	body       []byte
	completion []byte
	messages   []message // of completion
	dropped    []string
	refusal    error
}

func (c *call) Completion() []byte { return c.completion }

func (c *call) Dropped() []string { return c.dropped }

func (c *call) Refusal() error { return c.refusal }

func (c *call) Stream() door.Stream {
	return &stream{estimate: provider.EstimateTokens(len(c.completion))}
}

// Interface guards
var _ door.Door = Door{}
