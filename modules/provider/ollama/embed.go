package ollama

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// embedRequest is the body of a call to /api/embed. Truncate is false: a text
// that is too long is an error, instead of the vector of a shorter text.
type embedRequest struct {
	Model      string   `json:"model"`
	Input      []string `json:"input"`
	Dimensions *int64   `json:"dimensions,omitempty"`
	Truncate   bool     `json:"truncate"`
}

type embedAnswer struct {
	Model      string      `json:"model"`
	Embeddings [][]float32 `json:"embeddings"`
}

// Embed makes a call of the embeddings API.
func (o *Ollama) Embed(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	e, err := dialect.ParseEmbeddings(req, "dimensions")
	if err != nil {
		return nil, err
	}
	body, err := encode(embedRequest{Model: req.Model, Input: e.Input, Dimensions: e.Dimensions})
	if err != nil {
		return nil, err
	}
	resp, err := o.post(ctx, req, embedPath, body, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return nil, err
	}
	if _, _, _, failed := provider.ErrorOf(raw); failed {
		return nil, provider.NewError(0, raw)
	}
	a, err := readEmbeddings(raw, e)
	if err != nil {
		return nil, provider.BadAnswer(err)
	}
	if a.Model == "" {
		a.Model = req.Model
	}
	u := usageOf(gjson.ParseBytes(raw))
	if u == nil {
		u = e.EstimateUsage()
	}
	return dialect.EmbeddingList(a.Model, a.Embeddings, e.Base64, u), nil
}

// readEmbeddings checks that each text has a vector of the requested length.
// Old versions ignore dimensions.
func readEmbeddings(raw []byte, e *dialect.Embeddings) (*embedAnswer, error) {
	a := new(embedAnswer)
	if err := json.Unmarshal(raw, a); err != nil {
		return nil, fmt.Errorf("the answer is not a list of embeddings: %w", err)
	}
	if len(a.Embeddings) != len(e.Input) {
		return nil, fmt.Errorf("the answer has %d embeddings for %d texts", len(a.Embeddings), len(e.Input))
	}
	for _, v := range a.Embeddings {
		if len(v) == 0 || e.Dimensions != nil && int64(len(v)) != *e.Dimensions {
			return nil, fmt.Errorf("an embedding has %d numbers", len(v))
		}
	}
	return a, nil
}
