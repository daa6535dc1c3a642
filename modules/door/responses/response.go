package responses

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// response is the object that answers a request.
type response struct {
	ID         string            `json:"id"`
	Object     string            `json:"object"` // always "response"
	CreatedAt  int64             `json:"created_at"`
	Status     string            `json:"status"`
	Background bool              `json:"background"`
	Error      *failure          `json:"error"`
	Incomplete *incomplete       `json:"incomplete_details"`
	Model      string            `json:"model"`
	Output     []json.RawMessage `json:"output"`
	Usage      *usage            `json:"usage"`
	echo
}

// echo is what a response repeats of its request, or the default.
type echo struct {
	Instructions       json.RawMessage `json:"instructions"`
	MaxOutputTokens    json.RawMessage `json:"max_output_tokens"`
	MaxToolCalls       json.RawMessage `json:"max_tool_calls"`
	ParallelToolCalls  json.RawMessage `json:"parallel_tool_calls"`
	PreviousResponseID json.RawMessage `json:"previous_response_id"`
	Conversation       *named          `json:"conversation,omitempty"`
	PromptCacheKey     json.RawMessage `json:"prompt_cache_key"`
	Reasoning          reasoning       `json:"reasoning"`
	SafetyIdentifier   json.RawMessage `json:"safety_identifier"`
	ServiceTier        json.RawMessage `json:"service_tier"`
	Store              bool            `json:"store"`
	Temperature        json.RawMessage `json:"temperature"`
	Text               textOptions     `json:"text"`
	ToolChoice         json.RawMessage `json:"tool_choice"`
	Tools              json.RawMessage `json:"tools"`
	TopLogprobs        json.RawMessage `json:"top_logprobs"`
	TopP               json.RawMessage `json:"top_p"`
	Truncation         string          `json:"truncation"`
	User               json.RawMessage `json:"user"`
	Metadata           json.RawMessage `json:"metadata"`
}

type reasoning struct {
	Effort  json.RawMessage `json:"effort"`
	Summary json.RawMessage `json:"summary"`
}

type textOptions struct {
	Format    json.RawMessage `json:"format"`
	Verbosity json.RawMessage `json:"verbosity,omitempty"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type usage struct {
	Input         int64         `json:"input_tokens"`
	InputDetails  inputDetails  `json:"input_tokens_details"`
	Output        int64         `json:"output_tokens"`
	OutputDetails outputDetails `json:"output_tokens_details"`
	Total         int64         `json:"total_tokens"`
	Estimated     bool          `json:"estimated,omitempty"` // as in chat completions
}

type inputDetails struct {
	Cached  int64 `json:"cached_tokens"`
	Written int64 `json:"cache_write_tokens"`
}

type outputDetails struct {
	Reasoning int64 `json:"reasoning_tokens"`
}

func usageOf(u provider.Usage) *usage {
	return &usage{u.Input, inputDetails{u.Cached, u.Written}, u.Output, outputDetails{u.Reasoning}, u.Total(), u.Estimated}
}

// named is an object that is known by its id.
type named struct {
	ID string `json:"id"`
}

func echoOf(root gjson.Result) echo {
	or := func(name, otherwise string) json.RawMessage {
		if v := given(root.Get(name)); v != nil {
			return slices.Clone(v)
		}
		return json.RawMessage(otherwise)
	}
	return echo{
		Instructions:       or("instructions", "null"),
		MaxOutputTokens:    or("max_output_tokens", "null"),
		MaxToolCalls:       or("max_tool_calls", "null"),
		ParallelToolCalls:  or("parallel_tool_calls", "true"),
		PreviousResponseID: or("previous_response_id", "null"),
		PromptCacheKey:     or("prompt_cache_key", "null"),
		Reasoning:          reasoning{or("reasoning.effort", "null"), or("reasoning.summary", "null")},
		SafetyIdentifier:   or("safety_identifier", "null"),
		ServiceTier:        or("service_tier", `"default"`),
		Temperature:        or("temperature", "1"),
		Text:               textOptions{or("text.format", `{"type":"text"}`), given(root.Get("text.verbosity"))},
		ToolChoice:         or("tool_choice", `"auto"`),
		Tools:              or("tools", "[]"),
		TopLogprobs:        or("top_logprobs", "0"),
		TopP:               or("top_p", "1"),
		Truncation:         truncationDisabled,
		User:               or("user", "null"),
		Metadata:           or("metadata", "{}"),
	}
}

// Without implements door.Repeater.
func (c *call) Without(names []string) {
	none := echoOf(gjson.Result{})
	for _, name := range names {
		switch name {
		case "max_output_tokens":
			c.echo.MaxOutputTokens = none.MaxOutputTokens
		case "parallel_tool_calls":
			c.echo.ParallelToolCalls = none.ParallelToolCalls
		case "prompt_cache_key":
			c.echo.PromptCacheKey = none.PromptCacheKey
		case "reasoning.effort":
			c.echo.Reasoning.Effort = none.Reasoning.Effort
		case "safety_identifier":
			c.echo.SafetyIdentifier = none.SafetyIdentifier
		case "service_tier":
			c.echo.ServiceTier = none.ServiceTier
		case "temperature":
			c.echo.Temperature = none.Temperature
		case "top_p":
			c.echo.TopP = none.TopP
		case "user":
			c.echo.User = none.User
		case "text.verbosity":
			c.echo.Text.Verbosity = none.Text.Verbosity
		}
	}
}

// response returns the object as it is before the answer.
func (c *call) response(model string) *response {
	return &response{
		ID: "resp_" + c.id, Object: "response", CreatedAt: c.created, Status: statusInProgress, Background: c.background,
		Model: model, Output: []json.RawMessage{}, echo: c.echo,
	}
}

// The states of responses and items.
const (
	statusInProgress = "in_progress"
	statusCompleted  = "completed"
	statusIncomplete = "incomplete"
	statusFailed     = "failed"
)

// incompletes are the reasons of incomplete answers by finish reason.
var incompletes = map[string]string{"length": "max_output_tokens", "content_filter": "content_filter"}

// end completes the object.
func (r *response) end(finish string, output []json.RawMessage, u *provider.Usage) {
	r.Status = statusOf(finish)
	if r.Status == statusIncomplete {
		r.Incomplete = &incomplete{incompletes[finish]}
	}
	r.Output = output
	if u != nil {
		r.Usage = usageOf(*u)
	}
}

// statusOf returns the status of an answer, and of its last item, by finish reason.
func statusOf(finish string) string {
	if incompletes[finish] != "" {
		return statusIncomplete
	}
	return statusCompleted
}

// modelOf returns the name of the model that answered, else of the one asked for.
func (c *call) modelOf(answered string) string {
	return cmp.Or(answered, gjson.GetBytes(c.completion, "model").Str)
}
