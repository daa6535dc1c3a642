package gemini

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// maxBatch is how many texts Gemini accepts in one call.
const maxBatch = 100

type embedRequests struct {
	Requests []embedRequest `json:"requests"`
}

type embedRequest struct {
	Model      string  `json:"model"`
	Content    content `json:"content"`
	Dimensions *int64  `json:"outputDimensionality,omitempty"`
}

type embedAnswer struct {
	Embeddings []struct {
		Values []float32 `json:"values"`
	} `json:"embeddings"`
	Usage json.RawMessage `json:"usageMetadata"`
}

// Embed makes as many calls of batchEmbedContents as the input needs, one after
// the other. Vectors come as Gemini makes them: they have length 1 only in a
// model's full dimensions.
func (g *Gemini) Embed(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	e, err := dialect.ParseEmbeddings(req, "dimensions")
	if err != nil {
		return nil, err
	}
	if strings.Contains(g.Base(), "/publishers/") {
		return nil, provider.Unsupported("model", "this provider does not support Vertex AI's API for embeddings")
	}
	usage := new(provider.Usage)
	var vectors [][]float32
	for texts := range slices.Chunk(e.Input, maxBatch) {
		more, u, err := g.embed(ctx, req, texts, e.Dimensions)
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, more...)
		if u == nil {
			usage = nil
		}
		if usage != nil {
			usage.Input += u.Input
		}
	}
	if usage == nil {
		usage = e.EstimateUsage()
	}
	return dialect.EmbeddingList(modelID(req.Model), vectors, e.Base64, usage), nil
}

// embed makes one call. The usage is nil if Google counted nothing.
func (g *Gemini) embed(ctx context.Context, req *provider.Request, texts []string, dimensions *int64) ([][]float32, *provider.Usage, error) {
	var body embedRequests
	for _, t := range texts {
		body.Requests = append(body.Requests, embedRequest{
			Model:      "models/" + modelID(req.Model),
			Content:    content{Parts: []part{{Text: t}}},
			Dimensions: dimensions,
		})
	}
	resp, err := g.call(ctx, req, "batchEmbedContents", body, false)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	data, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return nil, nil, err
	}
	if _, _, _, ok := provider.ErrorOf(data); ok {
		return nil, nil, provider.NewError(0, data)
	}
	var a embedAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, nil, provider.BadAnswer(fmt.Errorf("reading embeddings: %w", err))
	}
	if len(a.Embeddings) != len(texts) {
		return nil, nil, provider.BadAnswer(fmt.Errorf("got %d embeddings for %d texts", len(a.Embeddings), len(texts)))
	}
	vectors := make([][]float32, len(texts))
	for i, v := range a.Embeddings {
		if len(v.Values) == 0 {
			return nil, nil, provider.BadAnswer(fmt.Errorf("embedding %d is empty", i))
		}
		vectors[i] = v.Values
	}
	return vectors, usageOf(gjson.ParseBytes(a.Usage)), nil
}
