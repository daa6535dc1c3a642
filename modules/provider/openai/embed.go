package openai

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

const embedPath = "/embeddings"

// Embed makes a call of a server's embeddings API.
func Embed(ctx context.Context, s Server, preq *provider.Request) (*provider.Completion, error) {
	body, err := splice.Model(preq.Body, preq.Model)
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
		return nil, upstream.BadAnswer(resp, "not JSON")
	}
	c, err := embeddings(answer)
	if err != nil || gjson.GetBytes(preq.Body, "encoding_format").Str != "base64" {
		return c, err
	}
	if c.Body, err = packVectors(c.Body); err != nil {
		return nil, fmt.Errorf("encoding the vectors: %w", err)
	}
	return c, nil
}

// packVectors returns embeddings with their vectors in base64, even if the server
// sent numbers. OpenAI's clients always ask for base64, and decode whatever comes
// as such.
func packVectors(body []byte) ([]byte, error) {
	data := []byte{'['}
	for i, d := range gjson.GetBytes(body, "data").Array() {
		if i > 0 {
			data = append(data, ',')
		}
		item := []byte(d.Raw)
		if v := d.Get("embedding"); v.IsArray() {
			var vector []float32
			v.ForEach(func(_, n gjson.Result) bool {
				vector = append(vector, float32(n.Num))
				return true
			})
			var err error
			if item, err = sjson.SetBytes(item, "embedding", dialect.Packed(vector)); err != nil {
				return nil, err
			}
		}
		data = append(data, item...)
	}
	return sjson.SetRawBytes(body, "data", append(data, ']'))
}

// embeddings checks a list of embeddings, and returns it.
func embeddings(body []byte) (*provider.Completion, error) {
	f, ok := provider.ParseCompletion(body)
	if !ok || !isList(gjson.GetBytes(body, "data")) {
		if _, _, _, failed := provider.ErrorOf(body); failed {
			return nil, provider.NewError(0, body)
		}
		return nil, provider.BadAnswer(errors.New("the answer is not a list of embeddings"))
	}
	return &provider.Completion{Body: body, Facts: f}, nil
}

// isList reports whether data is a list of at least one embedding, each a list of
// numbers or a base64 string.
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
