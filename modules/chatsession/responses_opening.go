package chatsession

import (
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// opening is the system prompt with which the request of a response begins: instructions
// for this answer alone, and what is said in the conversation, as the developer's.
type opening struct {
	alone, said string
}

// opened returns the body of a response with messages inserted. The instructions stay at
// its beginning, where the conversation's own join them as they did in its first request;
// what is said now comes behind the conversation.
func (c *sentCompletion) opened(msgs []*store.Message) []byte {
	messages := gjson.GetBytes(c.body, "messages")
	begin := messages.Index + 1
	lead := c.opening.alone
	if msgs[0].Role == roleSystem {
		if lead != "" {
			lead += "\n\n"
		}
		lead += msgs[0].Content
		msgs = msgs[1:]
	}
	body := append(make([]byte, 0, len(c.body)+len(lead)), c.body[:begin]...)
	if lead != "" {
		body = append(appendWire(body, newMessage(roleSystem, lead)), ',')
	}
	for _, m := range msgs {
		body = append(appendWire(body, m), ',')
	}
	if c.opening.said != "" {
		body = append(appendWire(body, newMessage(roleSystem, c.opening.said)), ',')
	}
	if !c.between {
		body = body[:len(body)-1] // the last comma
	}
	return append(body, c.body[c.insert:]...)
}
