package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// whole is a chat.completion put together from chunks.
type whole struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices [1]wholeChoice  `json:"choices"`
	Usage   json.RawMessage `json:"usage,omitempty"`
}

type wholeChoice struct {
	Index        int          `json:"index"`
	Message      wholeMessage `json:"message"`
	FinishReason *string      `json:"finish_reason"`
}

type wholeMessage struct {
	Role      string       `json:"role"`
	Content   *string      `json:"content"`
	Refusal   *string      `json:"refusal,omitempty"`
	Reasoning string       `json:"reasoning_content,omitempty"`
	ToolCalls []*wholeCall `json:"tool_calls,omitempty"`
}

type wholeCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

var errNotSimple = errors.New("the answer is a stream with more in it than can be put together")

// assemble makes a whole answer of a stream that nobody asked for, as long as
// it has one choice of text, reasoning and tool calls.
func assemble(s provider.Stream) (*provider.Completion, error) {
	w := whole{Object: "chat.completion"}
	w.Choices[0].Message.Role = "assistant"
	for {
		chunk, err := s.Next()
		if errors.Is(err, io.EOF) {
			return w.completion()
		}
		if errors.Is(err, provider.ErrCut) {
			return nil, &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
		}
		if err != nil {
			return nil, err
		}
		if !w.add(gjson.ParseBytes(chunk.Raw)) {
			return nil, &provider.Error{Reason: provider.ReasonBadAnswer, Status: http.StatusOK, Err: errNotSimple}
		}
	}
}

// add adds a chunk; false where it holds what has no place in w.
func (w *whole) add(chunk gjson.Result) bool {
	if w.ID == "" {
		w.ID = chunk.Get("id").String()
		w.Created = chunk.Get("created").Int()
	}
	if w.Model == "" {
		w.Model = chunk.Get("model").String()
	}
	if u := chunk.Get("usage"); u.IsObject() {
		w.Usage = json.RawMessage(u.Raw)
	}
	for _, c := range chunk.Get("choices").Array() {
		if c.Get("index").Int() != 0 {
			return false
		}
		if reason := c.Get("finish_reason").String(); reason != "" {
			w.Choices[0].FinishReason = &reason
		}
		if !w.Choices[0].Message.add(c.Get("delta")) {
			return false
		}
	}
	return true
}

func (m *wholeMessage) add(delta gjson.Result) bool {
	known := true
	delta.ForEach(func(k, v gjson.Result) bool {
		if v.Type == gjson.Null {
			return true
		}
		switch k.Str {
		case "content":
			m.Content = appended(m.Content, v.String())
		case "refusal":
			if v.Str != "" {
				m.Refusal = appended(m.Refusal, v.Str)
			}
		case "reasoning_content":
			m.Reasoning += v.String()
		case "reasoning", "reasoning_text":
			if !delta.Get("reasoning_content").Exists() {
				m.Reasoning += v.String()
			}
		case "tool_calls":
			for _, call := range v.Array() {
				known = known && m.addCall(call)
			}
		case "audio", "function_call":
			known = false
		}
		return known
	})
	return known
}

func (m *wholeMessage) addCall(call gjson.Result) bool {
	i := int(call.Get("index").Int())
	if i < 0 || i > len(m.ToolCalls) {
		return false
	}
	if i == len(m.ToolCalls) {
		m.ToolCalls = append(m.ToolCalls, &wholeCall{Type: "function"})
	}
	c := m.ToolCalls[i]
	if id := call.Get("id").String(); id != "" {
		c.ID = id
	}
	c.Function.Name += call.Get("function.name").String()
	c.Function.Arguments += call.Get("function.arguments").String()
	return true
}

func appended(s *string, more string) *string {
	if s != nil {
		more = *s + more
	}
	return &more
}

func (w *whole) completion() (*provider.Completion, error) {
	body, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("putting the answer together: %w", err)
	}
	f, _ := provider.ParseCompletion(body)
	return &provider.Completion{Body: body, Facts: f}, nil
}
