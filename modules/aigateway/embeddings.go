package aigateway

import (
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// embeddings serves POST /v1/embeddings.
func (h *Handler) embeddings(x *chat.Exchange) error {
	body, err := x.ReadBody(h.MaxBody, time.Duration(h.ReadTimeout))
	if err != nil {
		return err
	}
	req, err := parseEmbeddings(body)
	if err != nil {
		return err
	}
	return h.answer(x, req)
}

func parseEmbeddings(body []byte) (*request, error) {
	input := gjson.GetBytes(body, "input")
	switch {
	case input.Type == gjson.String && input.Str != "":
	case input.IsArray() && len(input.Array()) > 0:
	default:
		return nil, apierror.InvalidRequest("input", "required, a text or a list that is not empty")
	}
	var err error
	gjson.ParseBytes(body).ForEach(func(name, v gjson.Result) bool {
		err = checkParam(embeddingParams, name.Str, v)
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	req := &request{body: body, operation: operationEmbeddings, inputTokens: provider.EstimateTokens(len(input.Raw))}
	req.model, err = modelName(gjson.GetBytes(body, "model"))
	return req, err
}

// embed calls the provider for embeddings.
func (a *attempt) embed() (*provider.Completion, error) {
	e, ok := a.provider().(provider.Embedder)
	if !ok {
		return nil, provider.Unsupported("model", "its provider has no embeddings")
	}
	return e.Embed(a.ctx, a.preq)
}
