package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/respjson"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/shared"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// runOpenAIGo runs OpenAI's Go client through the cases.
func runOpenAIGo(t *testing.T, _ string, cases []clientCase) []sight {
	does := map[string]func(*goClient, *sight) error{
		"chat":    (*goClient).chat,
		"stream":  (*goClient).stream,
		"counted": (*goClient).counted,
		"tools":   (*goClient).tools,
		"abort":   (*goClient).abort,
		"again":   (*goClient).again,
		"patient": (*goClient).again,
		"models":  (*goClient).models,
		"embed":   (*goClient).embed,
	}
	seen := make([]sight, len(cases))
	for i, c := range cases {
		g := &goClient{ctx: t.Context(), c: c, client: openai.NewClient(goOptions(c)...)}
		seen[i].Name = c.Name
		if err := does[c.Do](g, &seen[i]); err != nil {
			seen[i].Error = goError(err)
		}
	}
	return seen
}

func goOptions(c clientCase) []option.RequestOption {
	options := []option.RequestOption{
		option.WithBaseURL(c.BaseURL),
		option.WithAPIKey(c.Key),
		option.WithHeader("X-User-Id", c.User),
		option.WithMaxRetries(c.Retries),
	}
	if c.Keyed {
		options = append(options, option.WithHeader("Idempotency-Key", c.Name))
	}
	return options
}

// goError describes an error of the client.
func goError(err error) *sightError {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return &sightError{
			Class:      "*openai.Error",
			Status:     e.StatusCode,
			Code:       e.Code,
			Message:    e.Message,
			RetryAfter: e.Response.Header.Get("Retry-After"),
		}
	}
	if e, ok := errors.AsType[*ssestream.StreamError](err); ok {
		return &sightError{
			Class:   "*ssestream.StreamError",
			Code:    gjson.GetBytes(e.Event.Data, "error.code").Str,
			Message: e.Message,
		}
	}
	return &sightError{Class: fmt.Sprintf("%T", err), Message: err.Error()}
}

// goClient does one case.
type goClient struct {
	ctx    context.Context
	c      clientCase
	client openai.Client
}

func (g *goClient) params() openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:    g.c.Model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("What is the weather like?")},
	}
	for _, name := range g.c.Tools {
		p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name:       name,
			Parameters: shared.FunctionParameters{"type": "object"},
		}))
	}
	return p
}

func (g *goClient) chat(s *sight) error {
	answer, err := g.client.Chat.Completions.New(g.ctx, g.params())
	if err != nil {
		return err
	}
	s.take(answer)
	s.Reasoning = extraText(answer.Choices[0].Message.JSON.ExtraFields)
	return nil
}

// take takes what an answer says.
func (s *sight) take(answer *openai.ChatCompletion) {
	choice := answer.Choices[0]
	s.Text, s.Refusal, s.Finish = choice.Message.Content, choice.Message.Refusal, choice.FinishReason
	s.ToolCalls = nil
	for _, call := range choice.Message.ToolCalls {
		s.ToolCalls = append(s.ToolCalls, providertest.ToolCall{ID: call.ID, Name: call.Function.Name, Arguments: call.Function.Arguments})
	}
	s.Usage = goUsage(answer.Usage)
}

func goUsage(u openai.CompletionUsage) *sightUsage {
	if u.TotalTokens == 0 {
		return nil
	}
	return &sightUsage{
		Input:     u.PromptTokens,
		Output:    u.CompletionTokens,
		Total:     u.TotalTokens,
		Cached:    u.PromptTokensDetails.CachedTokens,
		Reasoning: u.CompletionTokensDetails.ReasoningTokens,
	}
}

// extraText returns the reasoning, for which the client has no field.
func extraText(fields map[string]respjson.Field) string {
	for _, name := range []string{"reasoning_content", "reasoning"} {
		var text string
		if json.Unmarshal([]byte(fields[name].Raw()), &text) == nil && text != "" {
			return text
		}
	}
	return ""
}

// stream reads chunk by chunk.
func (g *goClient) stream(s *sight) error {
	stream := g.client.Chat.Completions.NewStreaming(g.ctx, g.params())
	defer stream.Close()
	for stream.Next() {
		chunk := stream.Current()
		if u := goUsage(chunk.Usage); u != nil {
			s.Usage = u
		}
		for _, choice := range chunk.Choices {
			s.Text += choice.Delta.Content
			s.Refusal += choice.Delta.Refusal
			s.Reasoning += extraText(choice.Delta.JSON.ExtraFields)
			s.addCalls(choice.Delta.ToolCalls)
			if choice.FinishReason != "" {
				s.Finish = choice.FinishReason
			}
		}
	}
	return stream.Err()
}

func (s *sight) addCalls(deltas []openai.ChatCompletionChunkChoiceDeltaToolCall) {
	for _, d := range deltas {
		for int64(len(s.ToolCalls)) <= d.Index {
			s.ToolCalls = append(s.ToolCalls, providertest.ToolCall{})
		}
		call := &s.ToolCalls[d.Index]
		if d.ID != "" {
			call.ID = d.ID
		}
		call.Name += d.Function.Name
		call.Arguments += d.Function.Arguments
	}
}

// counted has the client's accumulator assemble the answer.
func (g *goClient) counted(s *sight) error {
	_, err := g.accumulate(g.params(), s)
	return err
}

func (g *goClient) accumulate(p openai.ChatCompletionNewParams, s *sight) (*openai.ChatCompletion, error) {
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := g.client.Chat.Completions.NewStreaming(g.ctx, p)
	defer stream.Close()
	var whole openai.ChatCompletionAccumulator
	for stream.Next() {
		chunk := stream.Current()
		if !whole.AddChunk(chunk) {
			return nil, fmt.Errorf("the accumulator refuses %s", chunk.RawJSON())
		}
		if len(chunk.Choices) > 0 {
			s.Text += chunk.Choices[0].Delta.Content
			s.Reasoning += extraText(chunk.Choices[0].Delta.JSON.ExtraFields)
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	s.take(&whole.ChatCompletion)
	return &whole.ChatCompletion, nil
}

func (g *goClient) tools(s *sight) error {
	p := g.params()
	first, err := g.accumulate(p, s)
	if err != nil {
		return err
	}
	calls := s.ToolCalls
	p.Messages = append(p.Messages, first.Choices[0].Message.ToParam())
	for _, call := range calls {
		p.Messages = append(p.Messages, openai.ToolMessage(toolResult, call.ID))
		s.Ran++
	}
	s.Text, s.Reasoning = "", ""
	_, err = g.accumulate(p, s)
	s.ToolCalls = calls
	return err
}

func (g *goClient) abort(s *sight) error {
	stream := g.client.Chat.Completions.NewStreaming(g.ctx, g.params())
	defer stream.Close()
	for s.Text+s.Reasoning == "" && stream.Next() {
		if chunk := stream.Current(); len(chunk.Choices) > 0 {
			s.Text += chunk.Choices[0].Delta.Content
			s.Reasoning += extraText(chunk.Choices[0].Delta.JSON.ExtraFields)
		}
	}
	return stream.Err()
}

func (g *goClient) again(s *sight) error {
	if _, err := g.client.Chat.Completions.New(g.ctx, g.params()); err != nil {
		return errors.New("the first request: " + err.Error())
	}
	return g.chat(s)
}

func (g *goClient) models(s *sight) error {
	pages := g.client.Models.ListAutoPaging(g.ctx)
	for pages.Next() {
		s.Models = append(s.Models, pages.Current().ID)
	}
	return pages.Err()
}

func (g *goClient) embed(s *sight) error {
	answer, err := g.client.Embeddings.New(g.ctx, openai.EmbeddingNewParams{
		Model: g.c.Model,
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: g.c.Input},
	})
	if err != nil {
		return err
	}
	for _, e := range answer.Data {
		s.Vectors = append(s.Vectors, e.Embedding)
	}
	s.Usage = &sightUsage{Input: answer.Usage.PromptTokens, Total: answer.Usage.TotalTokens}
	return nil
}
