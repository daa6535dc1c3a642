package aigateway

import (
	"maps"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// splitUsage removes the usage from a chunk, and returns both. Providers are
// always asked for it and may put it into any chunk, but a client gets it once,
// in the last chunk, and only if it asked. usage is nil if the chunk has none.
func splitUsage(raw []byte) (rest, usage []byte) {
	u := gjson.GetBytes(raw, "usage")
	if !u.Exists() {
		return raw, nil
	}
	rest, err := sjson.DeleteBytes(raw, "usage")
	if err != nil {
		return raw, nil
	}
	if u.Type == gjson.Null {
		return rest, nil
	}
	return rest, []byte(u.Raw)
}

// usageChunk returns the last chunk of a stream, which carries the usage. usage
// is the provider's own JSON, or nil for our count. last gives id, model and the
// like.
func (c *call) usageChunk(last, usage []byte) []byte {
	if usage == nil {
		usage = c.used().Member()
	}
	chunk := chunkLike(last, `[]`)
	chunk, _ = sjson.SetRawBytes(chunk, "usage", usage)
	return chunk
}

// finishLength is the finish reason of an answer that reached its maximum
// length.
const finishLength = "length"

// lengthChunk returns a chunk that ends all unfinished choices with "length". If
// no choice has begun, it begins the first one.
func (w *chunkWriter) lengthChunk() []byte {
	type ending struct {
		Index        int64             `json:"index"`
		Delta        map[string]string `json:"delta"`
		FinishReason string            `json:"finish_reason"`
	}
	list := []ending{}
	for _, index := range slices.Sorted(maps.Keys(w.choices)) {
		if !w.choices[index] {
			list = append(list, ending{index, map[string]string{}, finishLength})
		}
	}
	if len(w.choices) == 0 {
		list = append(list, ending{0, map[string]string{"role": "assistant", "content": ""}, finishLength})
	}
	return chunkLike(w.last, string(provider.Encode(list)))
}

// chunkLike returns a chunk with these choices and the id, model and the like of
// last.
func chunkLike(last []byte, choices string) []byte {
	chunk := []byte(`{"object":"chat.completion.chunk","choices":` + choices + `}`)
	for _, name := range []string{"id", "created", "model", "system_fingerprint", "service_tier"} {
		if v := gjson.GetBytes(last, name); v.Exists() {
			chunk, _ = sjson.SetRawBytes(chunk, name, []byte(v.Raw))
		}
	}
	return chunk
}

// withUsage adds an estimate to a document whose provider counted nothing, or
// nothing that makes sense, since OpenAI's documents always have a usage.
func (c *call) withUsage(body []byte) []byte {
	used := c.used()
	if !used.Estimated && gjson.GetBytes(body, "usage").IsObject() {
		return body
	}
	usage := used.Member()
	if c.req.operation == operationEmbeddings {
		usage = provider.Encode(embeddingsUsage{used.Input, used.Total(), used.Estimated})
	}
	with, err := sjson.SetRawBytes(body, "usage", usage)
	if err != nil {
		return body
	}
	return with
}

type embeddingsUsage struct {
	PromptTokens int64 `json:"prompt_tokens"`
	TotalTokens  int64 `json:"total_tokens"`
	Estimated    bool  `json:"estimated,omitempty"`
}
