package bedrock

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
	clearEnv(t)
	providertest.Conform(t, providertest.Dialect{
		Column: "bedrock",
		New: func(t testing.TB, u upstream.Upstream) provider.Provider {
			return providertest.Provisioned(t, &Bedrock{Upstream: u, Region: "us-east-1"})
		},
		Model:      "us.anthropic.claude-haiku-4-5-20251001-v1:0",
		Path:       "/model/{model}/converse",
		StreamPath: "/model/{model}/converse-stream",
		Has: providertest.HasReasoning | providertest.HasContentFilter | providertest.HasCachedCount |
			providertest.HasCallIDs | providertest.HasInterleaving | providertest.HasEndMark,

		Plain:         `{"messages":[` + userSays + `]}`,
		StreamMembers: `{}`,
		Bodies:        bodies,
		Continued:     `{"messages":[` + userSays + `,{"role":"assistant","content":[{"text":"Once upon"}]}]}`,

		Read:        read,
		Whole:       wholeReply,
		Events:      func(r providertest.Reply) [][]byte { return replyEvents(t, r) },
		ContentType: "application/vnd.amazon.eventstream",
		Malformed:   encoded(t, event("contentBlockDelta", `{"contentBlockIndex":0,"del`)),
		Ping:        encoded(t, event("somethingNew", `{"p":"abc"}`)),
		Failure:     func(_ int, message string) []byte { return providertest.JSON(object{"message": message}) },
		FailureEvent: func(message string) []byte {
			return encoded(t, exception("serviceUnavailableException", string(providertest.JSON(object{"message": message}))))
		},
		TooLong:  providertest.Refusal{Status: http.StatusBadRequest, Body: `{"message":"The model returned the following errors: Input is too long for requested model."}`},
		Filtered: providertest.Refusal{Status: http.StatusBadRequest, Body: `{"message":"This request has been blocked by our content filters."}`},
	})
}

const (
	userSays = `{"role":"user","content":[{"text":"hi"}]}`
	weather  = `{"toolSpec":{"name":"weather","description":"tells the weather","inputSchema":{"json":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}}`
	offered  = `"toolConfig":{"tools":[` + weather + `]`
	past     = userSays + `,{"role":"assistant","content":[
		{"toolUse":{"toolUseId":"call_1","name":"weather","input":{"city":"Bonn"}}},
		{"toolUse":{"toolUseId":"call_2","name":"weather","input":{"city":"Köln"}}}]},
		{"role":"user","content":[
		{"toolResult":{"toolUseId":"call_1","content":[{"text":"sun"}]}},
		{"toolResult":{"toolUseId":"call_2","content":[{"text":"rain"}]}}`
)

var bodies = map[string]string{
	"system and developer": `{"system":[{"text":"be brief"},{"text":"be kind"}]}`,
	"turns":                `{"messages":[` + userSays + `,{"role":"assistant","content":[{"text":"Grüße,\n\"you\" 🌍"}]},{"role":"user","content":[{"text":"<more>"}]}]}`,
	"text parts":           `{"messages":[{"role":"user","content":[{"text":"one"},{"text":"two"}]}]}`,
	"image":                `{"messages":[{"role":"user","content":[{"text":"look"},{"image":{"format":"png","source":{"bytes":"iVBORw0KGgo="}}}]}]}`,
	"file":                 `{"messages":[{"role":"user","content":[{"text":"read"},{"document":{"format":"pdf","name":"document","source":{"bytes":"JVBERi0="}}}]}]}`,
	"named file":           `{"messages":[{"role":"user","content":[{"text":"read"},{"document":{"format":"pdf","name":"a","source":{"bytes":"JVBERi0="}}}]}]}`,
	"refusal in the past":  `{"messages":[` + userSays + `,{"role":"assistant","content":[{"text":"I will not"}]},` + userSays + `]}`,

	"tools": `{"toolConfig":{"tools":[` + weather + `,{"toolSpec":{"name":"now","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}`,
	"strict tool": `{"toolConfig":{"tools":[{"toolSpec":{"name":"now","strict":true,
		"inputSchema":{"json":{"type":"object","properties":{},"required":[],"additionalProperties":false}}}}]}}`,
	"parameters of several types": `{"toolConfig":{"tools":[{"toolSpec":{"name":"now","inputSchema":{"json":{"type":"object","properties":{"a":{"type":["string","null"]}}}}}}]}}`,
	"tool_choice auto":            `{` + offered + `,"toolChoice":{"auto":{}}}}`,
	"tool_choice none":            `{}`,
	"tool_choice required":        `{` + offered + `,"toolChoice":{"any":{}}}}`,
	"tool_choice function":        `{` + offered + `,"toolChoice":{"tool":{"name":"weather"}}}}`,
	"calls and results":           `{` + offered + `},"messages":[` + past + `,{"text":"so?"}]}]}`,
	"calls and results without tools": `{"toolConfig":{"tools":[{"toolSpec":{"name":"weather","inputSchema":{"json":{"type":"object","properties":{}}}}}]},
		"messages":[` + past + `]}]}`,

	"max_tokens":            `{"inferenceConfig":{"maxTokens":77}}`,
	"max_completion_tokens": `{"inferenceConfig":{"maxTokens":77}}`,
	"temperature":           `{"inferenceConfig":{"temperature":0.25}}`,
	"temperature of 0":      `{"inferenceConfig":{"temperature":0}}`,
	"top_p":                 `{"inferenceConfig":{"topP":0.5}}`,
	"stop":                  `{"inferenceConfig":{"stopSequences":["END"]}}`,
	"stop list":             `{"inferenceConfig":{"stopSequences":["END","FIN"]}}`,
	"reasoning_effort": `{"inferenceConfig":{"maxTokens":24576},
		"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":16384}}}`,
	"no reasoning_effort": `{}`,
	"text":                `{}`,
	"JSON by a schema": `{"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"name":"answer",
		"schema":"{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}},\"required\":[\"n\"],\"additionalProperties\":false}"}}}}}`,
}

var stopReasons = map[string]string{"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}

func usageIn(u *provider.Usage) object {
	return object{
		"inputTokens": u.Input - u.Cached, "cacheReadInputTokens": u.Cached, "cacheWriteInputTokens": 0,
		"outputTokens": u.Output, "totalTokens": u.Total(),
	}
}

func wholeReply(r providertest.Reply) []byte {
	content := []object{}
	if s := r.Reasoning(); s != "" {
		content = append(content, object{"reasoningContent": object{"reasoningText": object{"text": s, "signature": "c2ln"}}})
	}
	if s := r.Text(); s != "" {
		content = append(content, object{"text": s})
	}
	for _, c := range r.Calls() {
		content = append(content, object{"toolUse": object{"toolUseId": c.ID, "name": c.Name, "input": json.RawMessage(c.Arguments)}})
	}
	doc := object{
		"output":  object{"message": object{"role": "assistant", "content": content}},
		"metrics": object{"latencyMs": 391}, "stopReason": stopReasons[r.Finish],
	}
	if r.Usage != nil {
		doc["usage"] = usageIn(r.Usage)
	}
	return providertest.JSON(doc)
}

func replyEvents(t testing.TB, r providertest.Reply) [][]byte {
	var events [][]byte
	say := func(typ string, o object) {
		o["p"] = "abcdef" // padding
		events = append(events, encoded(t, event(typ, string(providertest.JSON(o)))))
	}
	say("messageStart", object{"role": "assistant"})
	for _, p := range r.Blocks() {
		delta := object{"text": p.Text}
		switch {
		case p.Reasoning != "":
			delta = object{"reasoningContent": object{"text": p.Reasoning}}
		case p.Call > 0:
			delta = object{"toolUse": object{"input": p.Arguments}}
			if p.Arguments == "{}" {
				delta = object{"toolUse": object{"input": ""}} // how Claude calls without arguments
			}
		}
		if p.Begins && p.Call > 0 {
			say("contentBlockStart", object{"contentBlockIndex": p.Block, "start": object{"toolUse": object{"toolUseId": p.ID, "name": p.Name}}})
		}
		say("contentBlockDelta", object{"contentBlockIndex": p.Block, "delta": delta})
		if p.Ends {
			say("contentBlockStop", object{"contentBlockIndex": p.Block})
		}
	}
	say("messageStop", object{"stopReason": stopReasons[r.Finish]})
	if r.Usage != nil {
		say("metadata", object{"metrics": object{"latencyMs": 391}, "usage": usageIn(r.Usage)})
	}
	return events
}
