package responses

import (
	"encoding/json"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
)

// Unsealed implements door.Door. What is sealed is the reasoning of providers without this
// API, which is of no use to those that have it.
func (Door) Unsealed(body []byte) (open []byte, dropped []string, ok bool) {
	var list []json.RawMessage
	gjson.GetBytes(body, "input").ForEach(func(_, item gjson.Result) bool {
		if item.Get("type").Str != typeReasoning || !door.IsSealed(item.Get("encrypted_content").Str) {
			list = append(list, json.RawMessage(item.Raw))
		}
		return true
	})
	open, err := sjson.SetRawBytes(body, "input", door.List(list))
	return open, []string{"input." + typeReasoning}, err == nil && len(list) > 0 && !door.Sealed(open)
}
