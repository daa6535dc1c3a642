package harness

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// Responses is a server of OpenAI's Responses, as strict as OpenAI's own, that answers with a
// reply.
func Responses(r providertest.Reply) Script { return ResponsesNumbered(r, nil) }

// ResponsesNumbered is the same, and writes the numbers of its events in a way of its own.
func ResponsesNumbered(r providertest.Reply, number func(n int) string) Script {
	return func(c *Call) {
		body := []byte(c.Body)
		switch refused := providertest.RefuseResponse(body); {
		case refused != nil:
			Document(refused.Status, fmt.Sprintf(`{"error":{"message":%q}}`, refused.Message))(c)
		case c.Streams():
			c.Send(EventsNumbered(body, r, number)...)
		default:
			Document(http.StatusOK, string(providertest.WholeResponse(body, r)))(c)
		}
	}
}

// EventsNumbered returns what such a server sends to answer a request. Not all servers
// number their events as OpenAI's do, which count from 0.
func EventsNumbered(body []byte, r providertest.Reply, number func(n int) string) []string {
	var events []string
	for n, event := range providertest.ResponseEvents(body, r) {
		if number != nil {
			event = bytes.Replace(event, fmt.Appendf(nil, `"sequence_number":%d,`, n), []byte(number(n)), 1)
		}
		events = append(events, string(event))
	}
	return events
}

// Unnumbered leaves the number of an event out.
func Unnumbered(int) string { return "" }
