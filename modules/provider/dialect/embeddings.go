package dialect

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// maxInput is how many texts OpenAI accepts in one request.
const maxInput = 2048

// Embeddings is a parsed embeddings request.
type Embeddings struct {
	Input      []string // 1 to 2048 texts, none of them empty
	Dimensions *int64   // the length of a vector, nil for the model's default
	Base64     bool     // the client wants vectors as base64
}

// ParseEmbeddings parses an embeddings request. supported names the members of
// the body that the adapter carries over beside the input. All others are
// dropped, and noted in the request, except dimensions: those are refused,
// because vectors of another length are useless. Errors are *provider.Error.
func ParseEmbeddings(req *provider.Request, supported ...string) (*Embeddings, error) {
	root := gjson.ParseBytes(req.Body)
	e := new(Embeddings)
	var err error
	root.ForEach(func(k, v gjson.Result) bool {
		switch name := k.Str; {
		case name == "model" || name == "input" || v.Type == gjson.Null:
		case name == "encoding_format":
			e.Base64, err = parseEncoding(v)
		case name == "dimensions" && !slices.Contains(supported, name):
			err = provider.Unsupported(name, "this provider's vectors have a fixed length")
		case name == "dimensions":
			e.Dimensions, err = parseDimensions(v)
		case !slices.Contains(supported, name):
			req.Drop(name)
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	e.Input, err = parseInput(root.Get("input"))
	return e, err
}

func parseEncoding(v gjson.Result) (bool, error) {
	switch v.Str {
	case "float":
		return false, nil
	case "base64":
		return true, nil
	}
	return false, provider.Invalid("encoding_format", "want float or base64")
}

func parseDimensions(v gjson.Result) (*int64, error) {
	if v.Type != gjson.Number || v.Num < 1 || v.Num > math.MaxInt32 || v.Num != math.Trunc(v.Num) {
		return nil, provider.Invalid("dimensions", "want a whole number from 1")
	}
	return new(v.Int()), nil
}

func parseInput(v gjson.Result) ([]string, error) {
	const want = "want a text or a list of texts, none of them empty"
	list := []gjson.Result{v}
	if v.IsArray() {
		list = v.Array()
	}
	switch {
	case len(list) == 0:
		return nil, provider.Invalid("input", want)
	case len(list) > maxInput:
		return nil, provider.Invalid("input", fmt.Sprintf("want at most %d texts", maxInput))
	}
	texts := make([]string, len(list))
	for i, t := range list {
		param := "input"
		if v.IsArray() {
			param = fmt.Sprintf("input.%d", i)
		}
		switch {
		case v.IsArray() && (t.Type == gjson.Number || t.IsArray()):
			return nil, provider.Unsupported("input", "this provider accepts texts, not tokens")
		case t.Type != gjson.String || t.Str == "":
			return nil, provider.Invalid(param, want)
		}
		texts[i] = t.Str
	}
	return texts, nil
}

// EstimateUsage estimates the usage of a call whose tokens were not counted.
func (e *Embeddings) EstimateUsage() *provider.Usage {
	var bytes int
	for _, t := range e.Input {
		bytes += len(t)
	}
	return &provider.Usage{Input: provider.EstimateTokens(bytes), Estimated: true}
}

type embeddingList struct {
	Object string      `json:"object"`
	Data   []embedding `json:"data"`
	Model  string      `json:"model"`
	Usage  *inputUsage `json:"usage,omitempty"`
}

type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // []float32, or those as base64
}

type inputUsage struct {
	Prompt int64 `json:"prompt_tokens"`
	Total  int64 `json:"total_tokens"`
}

// EmbeddingList makes the answer to an embeddings request: one vector of finite
// numbers for each input, in order. asBase64 writes vectors as Packed does. u
// is nil if the tokens were not counted.
func EmbeddingList(model string, vectors [][]float32, asBase64 bool, u *provider.Usage) *provider.Completion {
	list := embeddingList{Object: "list", Data: make([]embedding, len(vectors)), Model: model}
	for i, v := range vectors {
		list.Data[i] = embedding{Object: "embedding", Index: i, Embedding: v}
		if asBase64 {
			list.Data[i].Embedding = Packed(v)
		}
	}
	if u != nil {
		list.Usage = &inputUsage{Prompt: u.Input, Total: u.Total()}
	}
	return &provider.Completion{Body: provider.Encode(list), Facts: provider.Facts{Model: model, Usage: u}}
}

// Packed returns a vector as OpenAI writes it in base64: its numbers as 32-bit
// floats, in little-endian order.
func Packed(vector []float32) string {
	b := make([]byte, 0, 4*len(vector))
	for _, f := range vector {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return base64.StdEncoding.EncodeToString(b)
}
