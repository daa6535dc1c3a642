package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// runOpenAIGoResponses runs the Responses API of OpenAI's Go client through the cases.
func runOpenAIGoResponses(t *testing.T, _ string, cases []clientCase) []sight {
	does := map[string]func(*goResponses, *sight) error{
		"chat":    (*goResponses).chat,
		"stream":  (*goResponses).stream,
		"tools":   (*goResponses).tools,
		"abort":   (*goResponses).abort,
		"again":   (*goResponses).again,
		"patient": (*goResponses).again,
	}
	seen := make([]sight, len(cases))
	for i, c := range cases {
		g := &goResponses{t.Context(), c, openai.NewClient(goOptions(c)...)}
		seen[i].Name = c.Name
		if err := does[c.Do](g, &seen[i]); err != nil {
			seen[i].Error = goError(err)
		}
	}
	return seen
}

// goResponses does one case.
type goResponses struct {
	ctx    context.Context
	c      clientCase
	client openai.Client
}

func (g *goResponses) params() responses.ResponseNewParams {
	p := responses.ResponseNewParams{
		Model: g.c.Model,
		Input: responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
			responses.ResponseInputItemParamOfMessage("What is the weather like?", responses.EasyInputMessageRoleUser),
		}},
	}
	for _, name := range g.c.Tools {
		p.Tools = append(p.Tools, responses.ToolParamOfFunction(name, map[string]any{"type": "object"}, false))
	}
	return p
}

func (g *goResponses) chat(s *sight) error {
	r, err := g.client.Responses.New(g.ctx, g.params())
	if err != nil {
		return err
	}
	return s.takeResponse(r)
}

// takeResponse takes what a response says.
func (s *sight) takeResponse(r *responses.Response) error {
	s.Text, s.Reasoning, s.Refusal, s.ToolCalls, s.Finish = r.OutputText(), "", "", nil, "stop"
	for _, item := range r.Output {
		for _, part := range item.AsMessage().Content {
			s.Refusal += part.Refusal
		}
		for _, part := range item.AsReasoning().Summary {
			s.Reasoning += part.Text
		}
		if item.Type == "function_call" {
			call := item.AsFunctionCall()
			s.ToolCalls = append(s.ToolCalls, providertest.ToolCall{ID: call.CallID, Name: call.Name, Arguments: call.Arguments})
			s.Finish = "tool_calls"
		}
	}
	switch reason := r.IncompleteDetails.Reason; {
	case reason == "max_output_tokens":
		s.Finish = "length"
	case reason != "":
		s.Finish = reason
	case r.Status != responses.ResponseStatusCompleted:
		return fmt.Errorf("the response is %s", r.Status)
	}
	u := r.Usage
	s.Usage = &sightUsage{
		Input:     u.InputTokens,
		Output:    u.OutputTokens,
		Total:     u.TotalTokens,
		Cached:    u.InputTokensDetails.CachedTokens,
		Reasoning: u.OutputTokensDetails.ReasoningTokens,
	}
	return nil
}

// stream reads event by event. The answer must be what the response at the end has.
func (g *goResponses) stream(s *sight) error {
	var said sight
	r, err := g.follow(g.params(), &said)
	s.Text, s.Reasoning = said.Text, said.Reasoning
	if err != nil {
		return err
	}
	if err := s.takeResponse(r); err != nil {
		return err
	}
	if s.Text != said.Text || s.Reasoning != said.Reasoning || s.Refusal != said.Refusal {
		return fmt.Errorf("the deltas have %+v, the response %+v", said, *s)
	}
	return nil
}

func (g *goResponses) follow(p responses.ResponseNewParams, s *sight) (*responses.Response, error) {
	stream := g.client.Responses.NewStreaming(g.ctx, p)
	defer stream.Close()
	var last *responses.Response
	for stream.Next() {
		switch ev := stream.Current().AsAny().(type) {
		case responses.ResponseTextDeltaEvent:
			s.Text += ev.Delta
		case responses.ResponseRefusalDeltaEvent:
			s.Refusal += ev.Delta
		case responses.ResponseReasoningSummaryTextDeltaEvent:
			s.Reasoning += ev.Delta
		case responses.ResponseCompletedEvent:
			last = &ev.Response
		case responses.ResponseIncompleteEvent:
			last = &ev.Response
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	if last == nil {
		return nil, errors.New("the stream has no end")
	}
	return last, nil
}

// tools sends the items back as they came, with a result for each call.
func (g *goResponses) tools(s *sight) error {
	p := g.params()
	called, err := g.follow(p, new(sight))
	if err != nil {
		return err
	}
	if err := s.takeResponse(called); err != nil {
		return err
	}
	calls := s.ToolCalls
	for _, item := range called.Output {
		p.Input.OfInputItemList = append(p.Input.OfInputItemList, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(item.RawJSON())))
	}
	for _, call := range calls {
		result := responses.ResponseInputItemFunctionCallOutputParam{CallID: param.NewOpt(call.ID)}
		result.Output.OfString = param.NewOpt(toolResult)
		p.Input.OfInputItemList = append(p.Input.OfInputItemList, responses.ResponseInputItemUnionParam{OfFunctionCallOutput: &result})
		s.Ran++
	}
	said, err := g.follow(p, new(sight))
	if err != nil {
		return err
	}
	err = s.takeResponse(said)
	s.ToolCalls = calls
	return err
}

func (g *goResponses) abort(s *sight) error {
	stream := g.client.Responses.NewStreaming(g.ctx, g.params())
	defer stream.Close()
	for s.Text+s.Reasoning == "" && stream.Next() {
		switch ev := stream.Current().AsAny().(type) {
		case responses.ResponseTextDeltaEvent:
			s.Text += ev.Delta
		case responses.ResponseReasoningSummaryTextDeltaEvent:
			s.Reasoning += ev.Delta
		}
	}
	return stream.Err()
}

func (g *goResponses) again(s *sight) error {
	if _, err := g.client.Responses.New(g.ctx, g.params()); err != nil {
		return errors.New("the first request: " + err.Error())
	}
	return g.chat(s)
}
