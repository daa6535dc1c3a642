package clients

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// runAnthropicGo runs Anthropic's Go client through the cases.
func runAnthropicGo(t *testing.T, _ string, cases []clientCase) []sight {
	does := map[string]func(*anthropicGo, *sight) error{
		"chat":    (*anthropicGo).chat,
		"stream":  (*anthropicGo).stream,
		"counted": (*anthropicGo).counted,
		"tools":   (*anthropicGo).tools,
		"abort":   (*anthropicGo).abort,
		"again":   (*anthropicGo).again,
		"patient": (*anthropicGo).again,
		"models":  (*anthropicGo).models,
	}
	seen := make([]sight, len(cases))
	for i, c := range cases {
		g := newAnthropicGo(t, c)
		seen[i].Name = c.Name
		if err := does[c.Do](g, &seen[i]); err != nil {
			seen[i].Error = anthropicGoError(err)
		}
	}
	return seen
}

// anthropicGo does one case.
type anthropicGo struct {
	ctx    context.Context
	c      clientCase
	client anthropic.Client
}

func newAnthropicGo(t *testing.T, c clientCase) *anthropicGo {
	options := []option.RequestOption{
		option.WithoutEnvironmentDefaults(),
		option.WithBaseURL(strings.TrimSuffix(c.BaseURL, "/v1")),
		option.WithAPIKey(c.Key),
		option.WithHeader("X-User-Id", c.User),
		option.WithMaxRetries(c.Retries),
	}
	if c.Keyed {
		options = append(options, option.WithHeader("Idempotency-Key", c.Name))
	}
	return &anthropicGo{t.Context(), c, anthropic.NewClient(options...)}
}

// anthropicGoError describes an error of the client. One within a stream has the status
// of the stream.
func anthropicGoError(err error) *sightError {
	e, ok := errors.AsType[*anthropic.Error](err)
	if !ok {
		return &sightError{Class: fmt.Sprintf("%T", err), Message: err.Error()}
	}
	s := &sightError{Class: "*anthropic.Error", Status: e.StatusCode, Code: string(e.Type()), Message: gjson.Get(e.RawJSON(), "error.message").Str}
	s.RetryAfter = e.Response.Header.Get("Retry-After")
	if s.Status == http.StatusOK {
		s.Status = 0
	}
	return s
}

func (g *anthropicGo) params() anthropic.MessageNewParams {
	p := anthropic.MessageNewParams{
		Model:     g.c.Model,
		MaxTokens: 20000,
		Messages:  []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("What is the weather like?"))},
	}
	offered := make(map[string]bool)
	for _, name := range g.c.Tools {
		if !offered[name] {
			p.Tools = append(p.Tools, anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{Properties: map[string]any{}}, name))
		}
		offered[name] = true
	}
	return p
}

func (g *anthropicGo) chat(s *sight) error {
	m, err := g.client.Messages.New(g.ctx, g.params())
	if err != nil {
		return err
	}
	s.takeMessage(m)
	return nil
}

// anthropicFinish are Anthropic's stop reasons in OpenAI's words.
var anthropicFinish = map[anthropic.StopReason]string{
	anthropic.StopReasonEndTurn:      "stop",
	anthropic.StopReasonStopSequence: "stop",
	anthropic.StopReasonMaxTokens:    "length",
	anthropic.StopReasonToolUse:      "tool_calls",
	anthropic.StopReasonRefusal:      "content_filter",
}

// takeMessage takes what a message says.
func (s *sight) takeMessage(m *anthropic.Message) {
	s.ToolCalls, s.Text, s.Reasoning = nil, "", ""
	for _, block := range m.Content {
		switch b := block.AsAny().(type) {
		case anthropic.TextBlock:
			s.Text += b.Text
		case anthropic.ThinkingBlock:
			s.Reasoning += b.Thinking
		case anthropic.ToolUseBlock:
			s.ToolCalls = append(s.ToolCalls, providertest.ToolCall{ID: unsealed(b.ID), Name: b.Name, Arguments: string(b.Input)})
		}
	}
	s.Refusal, s.Finish = m.StopDetails.Explanation, anthropicFinish[m.StopReason]
	u := m.Usage
	in := u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens
	s.Usage = &sightUsage{Input: in, Output: u.OutputTokens, Total: in + u.OutputTokens, Cached: u.CacheReadInputTokens}
}

// unsealed returns the id as the provider has it.
func unsealed(id string) string {
	var sealed struct{ ID string }
	before, _ := door.UnsealID(id, &sealed)
	if sealed.ID != "" {
		return sealed.ID
	}
	return before
}

// stream reads event by event.
func (g *anthropicGo) stream(s *sight) error {
	stream := g.client.Messages.NewStreaming(g.ctx, g.params())
	defer stream.Close()
	calls := make(map[int64]int)
	for stream.Next() {
		switch ev := stream.Current().AsAny().(type) {
		case anthropic.ContentBlockStartEvent:
			if ev.ContentBlock.Type == "tool_use" {
				calls[ev.Index] = len(s.ToolCalls)
				s.ToolCalls = append(s.ToolCalls, providertest.ToolCall{ID: unsealed(ev.ContentBlock.ID), Name: ev.ContentBlock.Name})
			}
		case anthropic.ContentBlockDeltaEvent:
			s.Text += ev.Delta.Text
			s.Reasoning += ev.Delta.Thinking
			if ev.Delta.PartialJSON != "" {
				s.ToolCalls[calls[ev.Index]].Arguments += ev.Delta.PartialJSON
			}
		case anthropic.MessageDeltaEvent:
			s.Finish, s.Refusal = anthropicFinish[ev.Delta.StopReason], ev.Delta.StopDetails.Explanation
		}
	}
	for i := range s.ToolCalls {
		if s.ToolCalls[i].Arguments == "" {
			s.ToolCalls[i].Arguments = "{}"
		}
	}
	return stream.Err()
}

// counted has the client assemble the answer.
func (g *anthropicGo) counted(s *sight) error {
	_, err := g.accumulate(g.params(), s)
	return err
}

func (g *anthropicGo) accumulate(p anthropic.MessageNewParams, s *sight) (*anthropic.Message, error) {
	stream := g.client.Messages.NewStreaming(g.ctx, p)
	defer stream.Close()
	m := new(anthropic.Message)
	for stream.Next() {
		if err := m.Accumulate(stream.Current()); err != nil {
			return nil, err
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	s.takeMessage(m)
	return m, nil
}

// tools sends the answer back as it came, with a result for each call.
func (g *anthropicGo) tools(s *sight) error {
	p := g.params()
	called, err := g.accumulate(p, s)
	if err != nil {
		return err
	}
	calls := s.ToolCalls
	var results []anthropic.ContentBlockParamUnion
	for _, block := range called.Content {
		if block.Type == "tool_use" {
			results = append(results, anthropic.NewToolResultBlock(block.ID, toolResult, false))
		}
	}
	p.Messages = append(p.Messages, called.ToParam(), anthropic.NewUserMessage(results...))
	_, err = g.accumulate(p, s)
	s.ToolCalls, s.Ran = calls, len(results)
	return err
}

func (g *anthropicGo) abort(s *sight) error {
	stream := g.client.Messages.NewStreaming(g.ctx, g.params())
	defer stream.Close()
	for s.Text+s.Reasoning == "" && stream.Next() {
		ev := stream.Current()
		s.Text += ev.Delta.Text
		s.Reasoning += ev.Delta.Thinking
	}
	return stream.Err()
}

func (g *anthropicGo) again(s *sight) error {
	if _, err := g.client.Messages.New(g.ctx, g.params()); err != nil {
		return errors.New("the first request: " + err.Error())
	}
	return g.chat(s)
}

func (g *anthropicGo) models(s *sight) error {
	pages := g.client.Models.ListAutoPaging(g.ctx, anthropic.ModelListParams{})
	for pages.Next() {
		s.Models = append(s.Models, pages.Current().ID)
	}
	return pages.Err()
}
