package aigateway

import (
	"context"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// embeddings serves POST /v1/embeddings.
func (h *Handler) embeddings(x *exchange) error {
	body, err := chat.ReadBody(x.r, h.MaxBody)
	if err != nil {
		return err
	}
	req, err := parseEmbeddings(body)
	if err != nil {
		return err
	}
	return h.call(x, req, (*call).embed)
}

func parseEmbeddings(body []byte) (*request, error) {
	input := gjson.GetBytes(body, "input")
	switch {
	case input.Type == gjson.String && input.Str != "":
	case input.IsArray() && len(input.Array()) > 0:
	default:
		return nil, apierror.InvalidRequest("input", "required, a text or a list of at least one")
	}
	req := &request{body: body, operation: operationEmbeddings, inputTokens: provider.EstimateTokens(len(input.Raw))}
	var err error
	req.model, err = modelOf(body)
	return req, err
}

// embed makes a call for embeddings. Failures of a provider are met as those
// of any other call.
func (c *call) embed() error {
	return c.document(func(a *attempt) (*provider.Completion, error) {
		return a.complete(func(ctx context.Context, p provider.Provider) (*provider.Completion, error) {
			e, ok := p.(provider.Embedder)
			if !ok {
				return nil, provider.Unsupported("model", "its provider has no embeddings")
			}
			return e.Embed(ctx, a.preq)
		})
	}, func(body []byte) []byte { return body })
}
