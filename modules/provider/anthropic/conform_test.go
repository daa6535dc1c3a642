package anthropic

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

type object = providertest.Object

func TestConform(t *testing.T) {
	providertest.Conform(t, providertest.Dialect{
		Column:     "anthropic",
		New:        func(t testing.TB, u upstream.Upstream) provider.Provider { return newAnthropic(t, u) },
		Model:      haiku,
		Path:       "/v1/messages",
		StreamPath: "/v1/messages",
		Keys:       providertest.KeyIn("X-Api-Key", ""),
		Headers:    http.Header{"Anthropic-Version": {"2023-06-01"}},
		Has: providertest.HasReasoning | providertest.HasContentFilter | providertest.HasCachedCount | providertest.HasReasoningCount |
			providertest.HasCallIDs | providertest.HasInterleaving | providertest.HasModel | providertest.HasLines | providertest.HasEndMark | providertest.HasEitherWay,

		Plain:         `{"model":"claude-haiku-4-5","max_tokens":64000,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`,
		StreamMembers: `{"stream":true}`,
		Bodies:        bodies,
		Continued:     `{"messages":[` + userSays + `,{"role":"assistant","content":[{"type":"text","text":"Once upon"}]}]}`,

		Read:         read,
		Whole:        wholeReply,
		Events:       replyEvents,
		ContentType:  "text/event-stream",
		Malformed:    []byte("event: content_block_delta\ndata: {\"type\": \"content_bl\n\n"),
		Noise:        []byte("data: not JSON\n\n"),
		Ping:         []byte("event: ping\ndata: {\"type\": \"ping\"}\n\n"),
		Failure:      failure,
		FailureEvent: func(message string) []byte { return providertest.Event("error", failure(529, message)) },
		TooLong:      providertest.Refusal{Status: 400, Body: `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 213462 tokens > 200000 maximum"}}`},
		Filtered:     providertest.Refusal{Status: 400, Body: `{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}`},
	})
}

const (
	userSays   = `{"role":"user","content":[{"type":"text","text":"hi"}]}`
	weather    = `{"name":"weather","description":"tells the weather","input_schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}`
	calledBoth = `{"role":"assistant","content":[
		{"type":"tool_use","id":"call_1","name":"weather","input":{"city":"Bonn"}},
		{"type":"tool_use","id":"call_2","name":"weather","input":{"city":"Köln"}}]}`
	bothResults = `{"type":"tool_result","tool_use_id":"call_1","content":[{"type":"text","text":"sun"}]},
		{"type":"tool_result","tool_use_id":"call_2","content":[{"type":"text","text":"rain"}]}`
)

var bodies = map[string]string{
	"system and developer": `{"system":[{"type":"text","text":"be brief"},{"type":"text","text":"be kind"}]}`,
	"turns": `{"messages":[` + userSays + `,
		{"role":"assistant","content":[{"type":"text","text":"Grüße,\n\"you\" 🌍"}]},{"role":"user","content":[{"type":"text","text":"<more>"}]}]}`,
	"text parts":          `{"messages":[{"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]}]}`,
	"image":               `{"messages":[{"role":"user","content":[{"type":"text","text":"look"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]}]}`,
	"image by URL":        `{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}]}]}`,
	"file":                `{"messages":[{"role":"user","content":[{"type":"text","text":"read"},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}}]}]}`,
	"named file":          `{"messages":[{"role":"user","content":[{"type":"text","text":"read"},{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}}]}]}`,
	"refusal in the past": `{"messages":[` + userSays + `,{"role":"assistant","content":[{"type":"text","text":"I will not"}]},` + userSays + `]}`,

	"tools":                       `{"tools":[` + weather + `,{"name":"now","input_schema":{"type":"object","properties":{}}}]}`,
	"strict tool":                 `{"tools":[{"name":"now","strict":true,"input_schema":{"type":"object","properties":{},"required":[],"additionalProperties":false}}]}`,
	"parameters of several types": `{"tools":[{"name":"now","input_schema":{"type":"object","properties":{"a":{"type":["string","null"]}}}}]}`,
	"tool_choice auto":            `{"tools":[` + weather + `],"tool_choice":{"type":"auto"}}`,
	"tool_choice none":            `{"tools":[` + weather + `],"tool_choice":{"type":"none"}}`,
	"tool_choice required":        `{"tools":[` + weather + `],"tool_choice":{"type":"any"}}`,
	"tool_choice function":        `{"tools":[` + weather + `],"tool_choice":{"type":"tool","name":"weather"}}`,
	"parallel_tool_calls":         `{"tools":[` + weather + `],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}`,
	"calls and results": `{"tools":[` + weather + `],"messages":[` + userSays + `,` + calledBoth + `,
		{"role":"user","content":[` + bothResults + `,{"type":"text","text":"so?"}]}]}`,
	"calls and results without tools": `{"tools":[{"name":"weather","input_schema":{"type":"object"}}],"tool_choice":{"type":"none"},
		"messages":[` + userSays + `,` + calledBoth + `,{"role":"user","content":[` + bothResults + `]}]}`,

	"max_tokens":            `{"max_tokens":77}`,
	"max_completion_tokens": `{"max_tokens":77}`,
	"temperature":           `{"temperature":0.25}`,
	"temperature of 0":      `{"temperature":0}`,
	"top_p":                 `{"top_p":0.5}`,
	"stop":                  `{"stop_sequences":["END"]}`,
	"stop list":             `{"stop_sequences":["END","FIN"]}`,
	"reasoning_effort":      `{"thinking":{"type":"enabled","budget_tokens":16384}}`,
	"no reasoning_effort":   `{}`,
	"text":                  `{}`,
	"JSON by a schema": `{"output_config":{"format":{"type":"json_schema",
		"schema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}}}}`,
	"user":              `{"metadata":{"user_id":"u-1"}}`,
	"safety_identifier": `{"metadata":{"user_id":"s-1"}}`,
}

func failure(status int, message string) []byte {
	typ := "api_error"
	if status == 529 || status == 503 {
		typ = "overloaded_error"
	}
	return providertest.JSON(object{"type": "error", "error": object{"type": typ, "message": message}, "request_id": "req_1"})
}

var stopReasons = map[string]string{"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

// usageOf counts like Anthropic: tokens read from the cache are not part of the
// input.
func usageOf(u *provider.Usage) object {
	return object{
		"input_tokens": u.Input - u.Cached, "cache_read_input_tokens": u.Cached, "cache_creation_input_tokens": 0,
		"output_tokens": u.Output, "output_tokens_details": object{"thinking_tokens": u.Reasoning},
	}
}

func wholeReply(r providertest.Reply) []byte {
	var content []object
	if s := r.Reasoning(); s != "" {
		content = append(content, object{"type": "thinking", "thinking": s, "signature": "c2ln"})
	}
	if s := r.Text(); s != "" {
		content = append(content, object{"type": "text", "text": s})
	}
	for _, c := range r.Calls() {
		content = append(content, object{"type": "tool_use", "id": c.ID, "name": c.Name, "input": json.RawMessage(c.Arguments)})
	}
	message := object{
		"id": r.ID, "type": "message", "role": "assistant", "model": r.Model, "content": content,
		"stop_reason": stopReasons[r.Finish], "stop_sequence": nil,
	}
	if r.Usage != nil {
		message["usage"] = usageOf(r.Usage)
	}
	return providertest.JSON(message)
}

func replyEvents(r providertest.Reply) [][]byte {
	var events [][]byte
	say := func(typ string, o object) {
		o["type"] = typ
		events = append(events, providertest.Event(typ, providertest.JSON(o)))
	}
	message := object{"id": r.ID, "type": "message", "role": "assistant", "model": r.Model, "content": []object{}, "stop_reason": nil}
	end := object{"delta": object{"stop_reason": stopReasons[r.Finish], "stop_sequence": nil}}
	if r.Usage != nil {
		begun := usageOf(r.Usage)
		begun["output_tokens"] = 1
		message["usage"], end["usage"] = begun, usageOf(r.Usage)
	}
	say("message_start", object{"message": message})
	for _, p := range r.Blocks() {
		block, delta := object{"type": "text", "text": ""}, object{"type": "text_delta", "text": p.Text}
		switch {
		case p.Reasoning != "":
			block = object{"type": "thinking", "thinking": "", "signature": ""}
			delta = object{"type": "thinking_delta", "thinking": p.Reasoning}
		case p.Call > 0:
			block = object{"type": "tool_use", "id": p.ID, "name": p.Name, "input": object{}}
			delta = object{"type": "input_json_delta", "partial_json": p.Arguments}
			if p.Arguments == "{}" {
				delta["partial_json"] = "" // how Anthropic calls without arguments
			}
		}
		if p.Begins {
			say("content_block_start", object{"index": p.Block, "content_block": block})
		}
		say("content_block_delta", object{"index": p.Block, "delta": delta})
		if p.Ends {
			say("content_block_stop", object{"index": p.Block})
		}
	}
	say("message_delta", end)
	say("message_stop", object{})
	return events
}
