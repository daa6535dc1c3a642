package providertest

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// inGemini translates what a recording of Gemini is expected to say into
// OpenAI's terms. meta is its JSON file.
func (rec *Recording) inGemini(meta []byte) {
	if rec.Kind == "error" {
		return
	}
	usage, finish := gjson.GetBytes(meta, "expected.usage"), gjson.GetBytes(meta, "expected.finish")
	if rec.Expected == nil {
		// The JSON file does not have the content of a whole answer.
		body := gjson.ParseBytes(rec.Body)
		rec.Expected = &Expected{Text: body.Get("candidates.0.content.parts.0.text").Str}
		usage, finish = body.Get("usageMetadata"), body.Get("candidates.0.finishReason")
	}
	e := rec.Expected
	for i, c := range e.ToolCalls {
		var args map[string]any
		if err := json.Unmarshal([]byte(c.Arguments), &args); err == nil {
			b, _ := json.Marshal(args)
			e.ToolCalls[i].Arguments = string(b)
		}
	}
	e.Finish = strings.ToLower(finish.Str)
	if e.Finish == "stop" && len(e.ToolCalls) > 0 {
		e.Finish = "tool_calls"
	}
	e.Usage = &Usage{Prompt: usage.Get("promptTokenCount").Int()}
	e.Usage.OutputDetails.Reasoning = usage.Get("thoughtsTokenCount").Int()
	e.Usage.Completion = usage.Get("candidatesTokenCount").Int() + e.Usage.OutputDetails.Reasoning
	e.Usage.Total = usage.Get("totalTokenCount").Int()
	e.Usage.PromptDetails.Cached = usage.Get("cachedContentTokenCount").Int()
}
