package gemini

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// request is the body of generateContent, see
// https://ai.google.dev/api/generate-content.
type request struct {
	Contents   []content   `json:"contents"`
	System     *content    `json:"systemInstruction,omitempty"`
	Tools      []toolSet   `json:"tools,omitempty"`
	ToolConfig *toolConfig `json:"toolConfig,omitempty"`
	Generation generation  `json:"generationConfig,omitzero"`

	names *dialect.Names // tells the names of the tools back
}

type toolSet struct {
	Functions []function `json:"functionDeclarations"`
}

// function declares a function. It does not use parameters, the older member,
// which supports little of JSON Schema and refuses a request for any other
// keyword.
type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parametersJsonSchema,omitempty"`
}

type toolConfig struct {
	Calling callingConfig `json:"functionCallingConfig"`
}

type callingConfig struct {
	Mode    string   `json:"mode"`
	Allowed []string `json:"allowedFunctionNames,omitempty"`
}

type generation struct {
	Temperature      *float64        `json:"temperature,omitempty"`
	TopP             *float64        `json:"topP,omitempty"`
	TopK             *int64          `json:"topK,omitempty"`
	MaxOutputTokens  *int64          `json:"maxOutputTokens,omitempty"`
	StopSequences    []string        `json:"stopSequences,omitempty"`
	Seed             *int64          `json:"seed,omitempty"`
	PresencePenalty  *float64        `json:"presencePenalty,omitempty"`
	FrequencyPenalty *float64        `json:"frequencyPenalty,omitempty"`
	MIMEType         string          `json:"responseMimeType,omitempty"`
	Schema           json.RawMessage `json:"responseJsonSchema,omitempty"`
	Thinking         *thinking       `json:"thinkingConfig,omitempty"`
}

type thinking struct {
	Include bool   `json:"includeThoughts,omitempty"`
	Budget  *int64 `json:"thinkingBudget,omitempty"` // tokens
	Level   string `json:"thinkingLevel,omitempty"`
}

// rules are Gemini's.
var rules = dialect.Rules{
	Members: []string{
		"tools", "tool_choice", "parallel_tool_calls", "response_format",
		"temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed", "stop", "reasoning_effort",
	},
	ToolName:   regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`),
	UserBegins: true,
	Google:     true,
	Failures:   true,
}

// maxStop is how many stop sequences Gemini accepts.
const maxStop = 5

// newRequest translates a chat completions request.
func newRequest(req *provider.Request) (*request, error) {
	c, err := dialect.Parse(req, rules)
	if err != nil {
		return nil, err
	}
	r := &request{names: c.Names, Generation: generation{
		Temperature:      c.Temperature,
		TopP:             c.TopP,
		TopK:             c.TopK,
		MaxOutputTokens:  c.MaxTokens,
		StopSequences:    c.Stop,
		Seed:             c.Seed,
		PresencePenalty:  c.PresencePenalty,
		FrequencyPenalty: c.FrequencyPenalty,
	}}
	if r.Contents, err = contents(c.Messages, isGemini3(req.Model)); err != nil {
		return nil, err
	}
	for i := range c.Messages {
		if slices.ContainsFunc(c.Messages[i].Parts, func(p dialect.Part) bool { return p.Name != "" }) {
			req.Drop("messages.content.file.filename")
		}
	}
	if req.Continue != "" {
		r.Contents = add(r.Contents, roleModel, part{Text: req.Continue})
	}
	if len(c.Stop) > maxStop {
		return nil, provider.Unsupported("stop", fmt.Sprintf("this provider accepts at most %d stop sequences", maxStop))
	}
	if len(c.System) > 0 {
		r.System = new(content)
		for _, s := range c.System {
			r.System.Parts = append(r.System.Parts, part{Text: s})
		}
	}
	if c.Format != nil {
		r.Generation.MIMEType = "application/json"
		r.Generation.Schema = c.Format.Schema
	}
	// Seeds have 32 bits here.
	if s := c.Seed; s != nil && (*s < math.MinInt32 || *s > math.MaxInt32) {
		r.Generation.Seed = nil
		req.Drop("seed")
	}
	if r.Generation.Thinking, err = think(req, c.ReasoningEffort); err != nil {
		return nil, err
	}
	r.addTools(req, c)
	return r, nil
}

func (r *request) addTools(req *provider.Request, c *dialect.Conversation) {
	if p := c.ParallelToolCalls; p != nil && !*p {
		req.Drop("parallel_tool_calls")
	}
	if len(c.Tools) == 0 {
		return
	}
	var set toolSet
	for _, t := range c.Tools {
		set.Functions = append(set.Functions, function{t.Name, t.Description, t.Parameters})
		if t.Strict {
			req.Drop("tools.function.strict")
		}
	}
	r.Tools = []toolSet{set}
	var calling callingConfig
	switch c.ToolChoice {
	case "":
		return
	case "auto":
		calling.Mode = "AUTO"
	case "none":
		calling.Mode = "NONE"
	case "required":
		calling.Mode = "ANY"
	case "function":
		calling = callingConfig{"ANY", []string{c.ToolName}}
	}
	r.ToolConfig = &toolConfig{calling}
}

// budgets are Gemini 2.5's thinking budgets in tokens, as in Google's own
// OpenAI-compatible API.
var budgets = map[string]int64{
	"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576,
}

// levels are Gemini 3's thinking levels. It cannot turn thinking off.
var levels = map[string]string{
	"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high",
}

// minBudget is the smallest budget that Gemini 2.5 Pro accepts.
const minBudget = 128

// think returns how hard the model is to think; nil leaves it to the model.
func think(req *provider.Request, effort string) (*thinking, error) {
	if effort == "" {
		return nil, nil
	}
	budget, ok := budgets[effort]
	if !ok {
		return nil, provider.Invalid("reasoning_effort", "want none, minimal, low, medium, high or xhigh")
	}
	model, t := modelID(req.Model), &thinking{Include: effort != "none"}
	switch {
	case strings.HasPrefix(model, "gemini-2.5-pro"):
		t.Budget = new(max(budget, minBudget))
	case strings.HasPrefix(model, "gemini-2.5"):
		t.Budget = &budget
	case isGemini3(model):
		t.Level = levels[effort]
	default:
		req.Drop("reasoning_effort")
		return nil, nil
	}
	return t, nil
}

// isGemini3 says whether a model is Gemini 3 or newer. Names without a version,
// such as gemini-flash-latest, count as newer.
func isGemini3(model string) bool {
	version, ok := strings.CutPrefix(modelID(model), "gemini-")
	if !ok || version == "" {
		return false
	}
	if version[0] >= '0' && version[0] <= '9' {
		return version[0] >= '3'
	}
	return strings.HasSuffix(version, "-latest")
}
