package openai

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

const embedPath = "/embeddings"

// Embed makes a call of a server's embeddings API.
func Embed(ctx context.Context, s Server, preq *provider.Request) (*provider.Completion, error) {
	body, err := setModel(preq)
	if err != nil {
		return nil, fmt.Errorf("editing the request: %w", err)
	}
	req, err := s.NewRequest(ctx, preq, embedPath, body, false)
	if err != nil {
		return nil, err
	}
	resp, err := s.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return nil, err
	}
	if upstream.KindOf(answer) != upstream.KindJSON {
		return nil, upstream.BadAnswer(resp, "no JSON")
	}
	return embeddings(answer)
}

// embeddings checks a list of embeddings.
func embeddings(body []byte) (*provider.Completion, error) {
	f, ok := provider.ParseCompletion(body)
	if !ok || !isList(gjson.GetBytes(body, "data")) {
		if _, _, _, failed := provider.ErrorOf(body); failed {
			return nil, provider.NewError(0, body)
		}
		return nil, &provider.Error{
			Reason: provider.ReasonBadAnswer,
			Status: http.StatusOK,
			Err:    errors.New("the answer is no list of embeddings"),
		}
	}
	return &provider.Completion{Body: body, Facts: f}, nil
}

// isList says whether there is at least one embedding in data, and nothing
// else: numbers, or those as base64.
func isList(data gjson.Result) bool {
	if !data.IsArray() {
		return false
	}
	n := 0
	all := true
	data.ForEach(func(_, e gjson.Result) bool {
		v := e.Get("embedding")
		n++
		all = v.IsArray() || v.Type == gjson.String
		return all
	})
	return all && n > 0
}
