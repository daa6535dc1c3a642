package ollama

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
		Column:     "ollama",
		New:        func(t testing.TB, u upstream.Upstream) provider.Provider { return newOllama(t, u) },
		Path:       chatPath,
		StreamPath: chatPath,
		EmbedPath:  embedPath,
		Has:        providertest.HasReasoning | providertest.HasCallIDs | providertest.HasModel | providertest.HasLines | providertest.HasEndMark | providertest.HasEitherWay,

		Plain:         `{"model":"some-model","stream":false,"messages":[` + userSays + `]}`,
		StreamMembers: `{"stream":true}`,
		Bodies:        bodies,
		Continued:     `{"messages":[` + userSays + `,{"role":"assistant","content":"Once upon"}]}`,

		Read:         read,
		Whole:        func(r providertest.Reply) []byte { return line(r, r.Parts, true) },
		Events:       linesOf,
		ContentType:  "application/x-ndjson",
		Malformed:    []byte("{\"message\": {\"con\n"),
		Noise:        []byte("not JSON\n"),
		Ping:         []byte("{\"status\":\"loading\"}\n"),
		Failure:      func(_ int, message string) []byte { return providertest.JSON(object{"error": message}) },
		FailureEvent: func(message string) []byte { return append(providertest.JSON(object{"error": message}), '\n') },
		TooLong:      providertest.Refusal{Status: http.StatusBadRequest, Body: `{"error":"the input length exceeds the context length"}`},
		Embeddings: func(_ []byte, vectors [][]float32, tokens int64) []byte {
			if vectors == nil {
				vectors = [][]float32{}
			}
			return providertest.JSON(object{"model": "m", "embeddings": vectors, "prompt_eval_count": tokens})
		},
	})
}

const (
	userSays   = `{"role":"user","content":"hi"}`
	weather    = `{"type":"function","function":{"name":"weather","description":"tells the weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}`
	calledBoth = `{"role":"assistant","content":"","tool_calls":[
		{"id":"call_1","function":{"name":"weather","arguments":{"city":"Bonn"}}},
		{"id":"call_2","function":{"name":"weather","arguments":{"city":"Köln"}}}]},
		{"role":"tool","tool_call_id":"call_1","tool_name":"weather","content":"sun"},
		{"role":"tool","tool_call_id":"call_2","tool_name":"weather","content":"rain"}`
)

var bodies = map[string]string{
	"system and developer": `{"messages":[{"role":"system","content":"be brief\n\nbe kind"},` + userSays + `]}`,
	"turns":                `{"messages":[` + userSays + `,{"role":"assistant","content":"Grüße,\n\"you\" 🌍"},{"role":"user","content":"<more>"}]}`,
	"text parts":           `{"messages":[{"role":"user","content":"one\n\ntwo"}]}`,
	"image":                `{"messages":[{"role":"user","content":"look","images":["iVBORw0KGgo="]}]}`,
	"refusal in the past":  `{"messages":[` + userSays + `,{"role":"assistant","content":"I will not"},` + userSays + `]}`,

	"tools":                           `{"tools":[` + weather + `,{"type":"function","function":{"name":"now"}}]}`,
	"parameters of several types":     `{"tools":[{"type":"function","function":{"name":"now","parameters":{"type":"object","properties":{"a":{"type":["string","null"]}}}}}]}`,
	"combined parameters":             `{"tools":[{"type":"function","function":{"name":"now","parameters":{"anyOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}],"type":"object"}}}]}`,
	"tool_choice auto":                `{"tools":[` + weather + `]}`,
	"tool_choice none":                `{}`,
	"calls and results":               `{"tools":[` + weather + `],"messages":[` + userSays + `,` + calledBoth + `,{"role":"user","content":"so?"}]}`,
	"calls and results without tools": `{"messages":[` + userSays + `,` + calledBoth + `]}`,

	"max_tokens":            `{"options":{"num_predict":77}}`,
	"max_completion_tokens": `{"options":{"num_predict":77}}`,
	"temperature":           `{"options":{"temperature":0.25}}`,
	"temperature of 0":      `{"options":{"temperature":0}}`,
	"temperature of 2":      `{"options":{"temperature":2}}`,
	"top_p":                 `{"options":{"top_p":0.5}}`,
	"stop":                  `{"options":{"stop":["END"]}}`,
	"stop list":             `{"options":{"stop":["END","FIN"]}}`,
	"seed":                  `{"options":{"seed":7}}`,
	"seed of 0":             `{"options":{"seed":0}}`,
	"large seed":            `{"options":{"seed":9007199254740993}}`,
	"frequency_penalty":     `{"options":{"frequency_penalty":0.5}}`,
	"presence_penalty":      `{"options":{"presence_penalty":-0.5}}`,
	"reasoning_effort":      `{"think":"high"}`,
	"no reasoning_effort":   `{"think":false}`,
	"text":                  `{}`,
	"JSON":                  `{"format":"json"}`,
	"JSON by a schema":      `{"format":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}}`,
}

// line is one document: a whole answer, or a line of its stream. Tool calls
// come whole, and without a reason of their own.
func line(r providertest.Reply, said []providertest.Part, last bool) []byte {
	message := object{"role": "assistant"}
	part := providertest.Reply{Parts: said}
	message["content"], message["thinking"] = part.Text(), part.Reasoning()
	var calls []object
	for _, p := range said {
		if p.ID != "" {
			arguments := json.RawMessage(r.Calls()[p.Call-1].Arguments)
			calls = append(calls, object{"id": p.ID, "function": object{"index": p.Call - 1, "name": p.Name, "arguments": arguments}})
		}
	}
	if calls != nil {
		message["tool_calls"] = calls
	}
	doc := object{"model": r.Model, "created_at": "2026-01-02T03:04:05Z", "message": message, "done": last}
	if last {
		doc["done_reason"] = "stop"
		if r.Finish == "length" {
			doc["done_reason"] = "length"
		}
		if u := r.Usage; u != nil {
			doc["prompt_eval_count"], doc["eval_count"] = u.Input, u.Output
		}
	}
	return providertest.JSON(doc)
}

func linesOf(r providertest.Reply) [][]byte {
	var events [][]byte
	for _, p := range r.Parts {
		events = append(events, append(line(r, []providertest.Part{p}, false), '\n'))
	}
	return append(events, append(line(r, nil, true), '\n'))
}
