package providertest

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// inGemini says in OpenAI's words what a recording of Gemini is expected to
// say; meta is its JSON file.
func (rec *Recording) inGemini(meta []byte) {
	if rec.Kind == "error" {
		return
	}
	usage, finish := gjson.GetBytes(meta, "expected.usage"), gjson.GetBytes(meta, "expected.finish")
	if rec.Expected == nil {
		// What a whole answer says is not in its JSON file.
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
