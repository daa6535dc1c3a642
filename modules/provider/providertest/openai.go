package providertest

import (
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// OpenAI returns OpenAI's dialect, which several providers share. The caller
// sets New, and Keys and paths if they differ.
func OpenAI() Dialect {
	return Dialect{
		Path:          "/chat/completions",
		StreamPath:    "/chat/completions",
		EmbedPath:     "/embeddings",
		Has:           HasReasoning | HasContentFilter | HasCachedCount | HasReasoningCount | HasCallIDs | HasInterleaving | HasModel | HasLines | HasEndMark | HasEitherWay,
		StreamMembers: `{"stream":true,"stream_options":{"include_usage":true}}`,
		Whole:         openAIWhole,
		Events:        openAIEvents,
		ContentType:   "text/event-stream",
		Malformed:     []byte("data: {\"choices\": [br\n\n"),
		Noise:         []byte("data: not JSON\n\n"),
		Ping:          []byte(": keep-alive\n\n"),
		Failure:       func(_ int, message string) []byte { return openAIError(message) },
		FailureEvent:  func(message string) []byte { return Event("", openAIError(message)) },
		TooLong: Refusal{http.StatusBadRequest,
			`{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`},
		Filtered: Refusal{http.StatusBadRequest,
			`{"error":{"message":"Your request was rejected.","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}`},
		Embeddings: openAIEmbeddings,
	}
}

func openAIError(message string) []byte {
	return JSON(Object{"error": Object{"message": message, "type": "server_error", "param": nil, "code": nil}})
}

func openAIAnswer(r Reply, object string, choices ...Object) Object {
	if choices == nil {
		choices = []Object{}
	}
	return Object{"id": r.ID, "object": object, "created": 1700000000, "model": r.Model, "system_fingerprint": "fp_1", "choices": choices}
}

func openAIUsage(r Reply) Object {
	u := r.Usage
	return Object{
		"prompt_tokens": u.Input, "completion_tokens": u.Output, "total_tokens": u.Total(),
		"prompt_tokens_details":     Object{"cached_tokens": u.Cached, "audio_tokens": 0},
		"completion_tokens_details": Object{"reasoning_tokens": u.Reasoning, "audio_tokens": 0},
	}
}

func openAIWhole(r Reply) []byte {
	message := Object{"role": "assistant", "content": r.Text(), "refusal": nil}
	if s := r.Reasoning(); s != "" {
		message["reasoning_content"] = s
	}
	var calls []Object
	for _, c := range r.Calls() {
		calls = append(calls, Object{"id": c.ID, "type": "function", "function": Object{"name": c.Name, "arguments": c.Arguments}})
	}
	if calls != nil {
		message["tool_calls"] = calls
		if r.Text() == "" {
			message["content"] = nil
		}
	}
	answer := openAIAnswer(r, "chat.completion", Object{"index": 0, "message": message, "logprobs": nil, "finish_reason": r.Finish})
	if r.Usage != nil {
		answer["usage"] = openAIUsage(r)
	}
	return JSON(answer)
}

func openAIEvents(r Reply) [][]byte {
	var events [][]byte
	say := func(delta Object, finish any) {
		events = append(events, Event("", JSON(openAIAnswer(r, "chat.completion.chunk", Object{"index": 0, "delta": delta, "finish_reason": finish}))))
	}
	say(Object{"role": "assistant", "content": ""}, nil)
	for _, p := range r.Blocks() {
		switch {
		case p.Call > 0 && p.Begins:
			say(Object{"tool_calls": []Object{{"index": p.Call - 1, "id": p.ID, "type": "function", "function": Object{"name": p.Name, "arguments": p.Arguments}}}}, nil)
		case p.Call > 0:
			say(Object{"tool_calls": []Object{{"index": p.Call - 1, "function": Object{"arguments": p.Arguments}}}}, nil)
		case p.Reasoning != "":
			say(Object{"reasoning_content": p.Reasoning}, nil)
		default:
			say(Object{"content": p.Text}, nil)
		}
	}
	say(Object{}, r.Finish)
	if r.Usage != nil {
		last := openAIAnswer(r, "chat.completion.chunk")
		last["usage"] = openAIUsage(r)
		events = append(events, Event("", JSON(last)))
	}
	return append(events, []byte("data: [DONE]\n\n"))
}

func openAIEmbeddings(asked []byte, vectors [][]float32, tokens int64) []byte {
	data := []Object{}
	for i, v := range vectors {
		entry := Object{"object": "embedding", "index": i, "embedding": v}
		if strings.HasPrefix(gjson.GetBytes(asked, "encoding_format").Str, "base64") {
			entry["embedding"] = packed(v)
		}
		data = append(data, entry)
	}
	return JSON(Object{"object": "list", "model": "model-that-answered", "data": data, "usage": Object{"prompt_tokens": tokens, "total_tokens": tokens}})
}
