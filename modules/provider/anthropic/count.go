package anthropic

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// CountTokens asks the API how many tokens a request has.
func (a *Anthropic) CountTokens(ctx context.Context, preq *provider.Request) (int64, error) {
	if err := refuse(preq, preq.Native.Body); err != nil {
		return 0, err
	}
	body, err := splice.Model(a.mended(preq, unmarked(preq.Native.Body)), preq.Model)
	if err != nil {
		return 0, fmt.Errorf("editing the request: %w", err)
	}
	req, err := a.request(ctx, preq, a.path+"/count_tokens", body, false)
	if err != nil {
		return 0, err
	}
	resp, err := a.Do(req)
	if err != nil {
		return 0, a.blameOrigin(err, preq, body)
	}
	defer resp.Body.Close()
	answer, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return 0, err
	}
	n := gjson.GetBytes(answer, "input_tokens")
	if !gjson.ValidBytes(answer) || n.Type != gjson.Number || n.Num < 0 {
		return 0, provider.BadAnswer(errors.New("the answer has no input_tokens"))
	}
	return n.Int(), nil
}

// Interface guard
var _ provider.Counter = (*Anthropic)(nil)
