package anthropic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// CountTokens asks the API how many tokens a request has.
func (a *Anthropic) CountTokens(ctx context.Context, preq *provider.Request) (int64, error) {
	body, err := counted(preq)
	if err != nil {
		return 0, err
	}
	req, err := a.request(ctx, preq, a.path+"/count_tokens", body, false)
	if err != nil {
		return 0, err
	}
	resp, err := a.Do(req)
	if err != nil {
		return 0, err
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

// counted returns the request to count tokens for.
func counted(preq *provider.Request) ([]byte, error) {
	if preq.Native == nil {
		return translatedCount(preq)
	}
	if err := refuseStored(preq.Native.Body); err != nil {
		return nil, err
	}
	body, err := sjson.SetBytes(preq.Native.Body, "model", preq.Model)
	if err != nil {
		return nil, fmt.Errorf("editing the request: %w", err)
	}
	return body, nil
}

// translatedCount returns the same for a chat completions request. The API refuses what
// has no tokens, such as max_tokens.
func translatedCount(preq *provider.Request) ([]byte, error) {
	all, _, err := translate(preq, false)
	if err != nil {
		return nil, err
	}
	count := make(map[string]json.RawMessage)
	root := gjson.ParseBytes(all)
	for _, name := range [...]string{"model", "system", "messages", "tools", "tool_choice", "thinking", "output_config"} {
		if v := root.Get(name); v.Exists() {
			count[name] = json.RawMessage(v.Raw)
		}
	}
	return provider.Encode(count), nil
}

// Interface guard
var _ provider.Counter = (*Anthropic)(nil)
