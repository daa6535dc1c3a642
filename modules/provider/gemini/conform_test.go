package gemini

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
		Column:     "gemini",
		New:        func(t testing.TB, u upstream.Upstream) provider.Provider { return newGemini(t, u) },
		Model:      "gemini-2.5-flash",
		Path:       "/models/{model}:generateContent",
		StreamPath: "/models/{model}:streamGenerateContent?alt=sse",
		EmbedPath:  "/models/{model}:batchEmbedContents",
		Keys:       providertest.KeyIn("X-Goog-Api-Key", ""),
		Has: providertest.HasReasoning | providertest.HasContentFilter | providertest.HasCachedCount | providertest.HasReasoningCount |
			providertest.HasCallIDs | providertest.HasModel | providertest.HasLines | providertest.HasEitherWay,

		Plain:         `{"contents":[` + userSays + `]}`,
		StreamMembers: `{}`,
		Bodies:        bodies,
		Continued:     `{"contents":[` + userSays + `,{"role":"model","parts":[{"text":"Once upon"}]}]}`,

		Read:         read,
		Whole:        func(r providertest.Reply) []byte { return document(r, r.Parts, r.Finish) },
		Events:       documents,
		ContentType:  "text/event-stream",
		Malformed:    []byte("data: {\"candidates\": [{\"con\n\n"),
		Noise:        []byte("data: not JSON\n\n"),
		Ping:         providertest.Event("", []byte(`{"usageMetadata":{"trafficType":"ON_DEMAND"}}`)),
		Failure:      failure,
		FailureEvent: func(message string) []byte { return providertest.Event("", failure(503, message)) },
		TooLong: providertest.Refusal{Status: 400, Body: `{"error":{"code":400,"status":"INVALID_ARGUMENT",
			"message":"The input token count (1200021) exceeds the maximum number of tokens allowed (1048576)."}}`},
		Filtered: providertest.Refusal{Status: 200, Body: `{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":7},"modelVersion":"m"}`},
		Embeddings: func(_ []byte, vectors [][]float32, tokens int64) []byte {
			list := []object{}
			for _, v := range vectors {
				list = append(list, object{"values": v})
			}
			return providertest.JSON(object{"embeddings": list, "usageMetadata": object{"promptTokenCount": tokens}})
		},
	})
}

const (
	userSays = `{"role":"user","parts":[{"text":"hi"}]}`
	tools    = `"tools":[{"functionDeclarations":[` + weather + `]}]`
	weather  = `{"name":"weather","description":"tells the weather","parametersJsonSchema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}`
	past     = userSays + `,{"role":"model","parts":[
		{"functionCall":{"id":"call_1","name":"weather","args":{"city":"Bonn"}}},
		{"functionCall":{"id":"call_2","name":"weather","args":{"city":"Köln"}}}]},
		{"role":"user","parts":[
		{"functionResponse":{"id":"call_1","name":"weather","response":{"result":"sun"}}},
		{"functionResponse":{"id":"call_2","name":"weather","response":{"result":"rain"}}}`
)

var bodies = map[string]string{
	"system and developer": `{"systemInstruction":{"parts":[{"text":"be brief"},{"text":"be kind"}]}}`,
	"turns":                `{"contents":[` + userSays + `,{"role":"model","parts":[{"text":"Grüße,\n\"you\" 🌍"}]},{"role":"user","parts":[{"text":"<more>"}]}]}`,
	"text parts":           `{"contents":[{"role":"user","parts":[{"text":"one"},{"text":"two"}]}]}`,
	"image":                `{"contents":[{"role":"user","parts":[{"text":"look"},{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}}]}]}`,
	"file":                 `{"contents":[{"role":"user","parts":[{"text":"read"},{"inlineData":{"mimeType":"application/pdf","data":"JVBERi0="}}]}]}`,
	"audio part":           `{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"audio/wav","data":"UklGRg=="}}]}]}`,
	"refusal in the past":  `{"contents":[` + userSays + `,{"role":"model","parts":[{"text":"I will not"}]},` + userSays + `]}`,

	"tools":                           `{"tools":[{"functionDeclarations":[` + weather + `,{"name":"now"}]}]}`,
	"parameters of several types":     `{"tools":[{"functionDeclarations":[{"name":"now","parametersJsonSchema":{"type":"object","properties":{"a":{"type":["string","null"]}}}}]}]}`,
	"combined parameters":             `{"tools":[{"functionDeclarations":[{"name":"now","parametersJsonSchema":{"anyOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}],"type":"object"}}]}]}`,
	"tool_choice auto":                `{` + tools + `,"toolConfig":{"functionCallingConfig":{"mode":"AUTO"}}}`,
	"tool_choice none":                `{` + tools + `,"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}}`,
	"tool_choice required":            `{` + tools + `,"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}`,
	"tool_choice function":            `{` + tools + `,"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["weather"]}}}`,
	"calls and results":               `{` + tools + `,"contents":[` + past + `,{"text":"so?"}]}]}`,
	"calls and results without tools": `{"contents":[` + past + `]}]}`,

	"max_tokens":            `{"generationConfig":{"maxOutputTokens":77}}`,
	"max_completion_tokens": `{"generationConfig":{"maxOutputTokens":77}}`,
	"temperature":           `{"generationConfig":{"temperature":0.25}}`,
	"temperature of 0":      `{"generationConfig":{"temperature":0}}`,
	"temperature of 2":      `{"generationConfig":{"temperature":2}}`,
	"top_p":                 `{"generationConfig":{"topP":0.5}}`,
	"stop":                  `{"generationConfig":{"stopSequences":["END"]}}`,
	"stop list":             `{"generationConfig":{"stopSequences":["END","FIN"]}}`,
	"seed":                  `{"generationConfig":{"seed":7}}`,
	"seed of 0":             `{"generationConfig":{"seed":0}}`,
	"frequency_penalty":     `{"generationConfig":{"frequencyPenalty":0.5}}`,
	"presence_penalty":      `{"generationConfig":{"presencePenalty":-0.5}}`,
	"reasoning_effort":      `{"generationConfig":{"thinkingConfig":{"includeThoughts":true,"thinkingBudget":24576}}}`,
	"no reasoning_effort":   `{"generationConfig":{"thinkingConfig":{"thinkingBudget":0}}}`,
	"text":                  `{}`,
	"JSON":                  `{"generationConfig":{"responseMimeType":"application/json"}}`,
	"JSON by a schema": `{"generationConfig":{"responseMimeType":"application/json",
		"responseJsonSchema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}}}`,
}

func failure(status int, message string) []byte {
	return providertest.JSON(object{"error": object{"code": status, "message": message, "status": http.StatusText(status)}})
}

var finishReasons = map[string]string{"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}

// document is one document of an answer: all of it, or an event of its stream.
// Tool calls come whole.
func document(r providertest.Reply, said []providertest.Part, finish string) []byte {
	parts := []object{}
	for _, p := range said {
		switch {
		case p.Reasoning != "":
			parts = append(parts, object{"text": p.Reasoning, "thought": true})
		case p.Call == 0:
			parts = append(parts, object{"text": p.Text})
		case p.ID != "":
			call := r.Calls()[p.Call-1]
			parts = append(parts, object{"functionCall": object{"id": p.ID, "name": p.Name, "args": json.RawMessage(call.Arguments)}})
		}
	}
	candidate := object{"index": 0, "content": object{"role": "model", "parts": parts}}
	doc := object{"candidates": []object{candidate}, "modelVersion": r.Model, "responseId": r.ID}
	if finish != "" {
		candidate["finishReason"] = finishReasons[finish]
	}
	if u := r.Usage; u != nil && finish != "" {
		doc["usageMetadata"] = object{
			"promptTokenCount": u.Input, "cachedContentTokenCount": u.Cached, "totalTokenCount": u.Total(),
			"candidatesTokenCount": u.Output - u.Reasoning, "thoughtsTokenCount": u.Reasoning,
		}
	}
	return providertest.JSON(doc)
}

func documents(r providertest.Reply) [][]byte {
	var events [][]byte
	for _, p := range r.Parts {
		events = append(events, providertest.Event("", document(r, []providertest.Part{p}, "")))
	}
	return append(events, providertest.Event("", document(r, nil, r.Finish)))
}
