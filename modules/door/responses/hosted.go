package responses

import (
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// openHosted is the call of a tool that the server runs, or knows, which is not over.
type openHosted struct {
	at  int
	raw json.RawMessage // as it began
}

// breaks is how a call of each kind is written that breaks off, so that the server takes it
// when it comes back: with one of the states that the kind has, and with the members that it
// needs and may have only at its end. Others are left out, such as an image that is not there.
var breaks = map[string]struct {
	status string
	needs  map[string]string
}{
	"web_search_call":       {statusFailed, map[string]string{"action": `{"type":"search","query":""}`}},
	"file_search_call":      {statusIncomplete, map[string]string{"queries": "[]"}},
	"code_interpreter_call": {statusIncomplete, map[string]string{"code": "null", "outputs": "null"}},
	"mcp_call":              {statusIncomplete, map[string]string{"arguments": `""`}},
	"computer_call":         {statusIncomplete, map[string]string{"pending_safety_checks": "[]"}},
	"local_shell_call":      {statusIncomplete, nil},
	"shell_call":            {statusIncomplete, nil},
	"apply_patch_call":      {statusInProgress, nil},
}

// followHosted opens a call.
func (s *stream) followHosted(at int, v gjson.Result) {
	if _, known := breaks[v.Get("type").Str]; known {
		s.hosted = append(s.hosted, openHosted{at, json.RawMessage(v.Get("@ugly").Raw)})
	}
}

// closeHosted notes that the call at a place is over.
func (s *stream) closeHosted(at int) {
	s.hosted = slices.DeleteFunc(s.hosted, func(h openHosted) bool { return h.at == at })
}

// endHosted appends the end of the open calls.
func (s *stream) endHosted(b []byte) []byte {
	for _, h := range s.hosted {
		how := breaks[gjson.GetBytes(h.raw, "type").Str]
		broken, err := sjson.SetBytes(h.raw, "status", how.status)
		for name, v := range how.needs {
			if err == nil && !gjson.GetBytes(broken, name).Exists() {
				broken, err = sjson.SetRawBytes(broken, name, []byte(v))
			}
		}
		if err != nil {
			continue
		}
		s.output[h.at] = broken
		b = s.send(b, itemDone, event{OutputIndex: &h.at, Item: json.RawMessage(broken)})
	}
	s.hosted = nil
	return b
}

// itemDone is the event that ends an item.
const itemDone = "response.output_item.done"
