package harness

import (
	"fmt"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// Responses is a server of OpenAI's Responses, as strict as OpenAI's own, that answers with a
// reply.
func Responses(r providertest.Reply) Script {
	return func(c *Call) {
		body := []byte(c.Body)
		switch refused := providertest.RefuseResponse(body); {
		case refused != nil:
			Document(refused.Status, fmt.Sprintf(`{"error":{"message":%q}}`, refused.Message))(c)
		case c.Streams():
			for _, event := range providertest.ResponseEvents(body, r) {
				c.Send(string(event))
			}
		default:
			Document(http.StatusOK, string(providertest.WholeResponse(body, r)))(c)
		}
	}
}
