package ollama

import (
	"bytes"
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// part is one document: a whole answer, or one line of a stream.
type part struct {
	model   string
	output  dialect.Output
	answers bool // it has a message or says whether it is done

	done   bool
	finish string // Ollama's reason; only if done
	usage  *provider.Usage
}

// readPart reads a document. ok is false if raw is not a JSON object. An error
// is one that Ollama reports in the document.
func readPart(raw []byte) (p *part, ok bool, err error) {
	if !json.Valid(raw) { // gjson does not check
		return nil, false, nil
	}
	root := gjson.ParseBytes(raw)
	if !root.IsObject() {
		return nil, false, nil
	}
	m := root.Get("message")
	if !m.IsObject() || root.Get("error").Exists() {
		if _, _, _, failed := provider.ErrorOf(raw); failed {
			return nil, true, provider.NewError(0, raw)
		}
	}
	p = &part{
		model:   root.Get("model").Str,
		output:  dialect.Output{Text: m.Get("content").Str, Reasoning: m.Get("thinking").Str},
		answers: m.IsObject() || root.Get("done").Exists(),
		done:    root.Get("done").Type == gjson.True,
		finish:  root.Get("done_reason").Str,
		usage:   usageOf(root),
	}
	for _, call := range m.Get("tool_calls").Array() {
		if call.IsObject() { // not a text, which gjson takes for a list of one
			p.output.Calls = append(p.output.Calls, callOf(call))
		}
	}
	return p, true, nil
}

func callOf(v gjson.Result) dialect.Call {
	c := dialect.Call{ID: v.Get("id").Str, Name: v.Get("function.name").Str, Arguments: "{}"}
	if c.ID == "" {
		c.ID = dialect.NewCallID()
	}
	switch args := v.Get("function.arguments"); {
	case args.IsObject():
		var b bytes.Buffer
		if json.Compact(&b, []byte(args.Raw)) == nil {
			c.Arguments = b.String()
		}
	case args.Type == gjson.String && args.Str != "":
		c.Arguments = args.Str
	}
	return c
}

// usageOf reads the token counts. Ollama leaves out a count of 0, which a
// prompt never has: without that count, nothing was counted.
func usageOf(root gjson.Result) *provider.Usage {
	in := provider.TokenCount(root.Get("prompt_eval_count"))
	if in == 0 {
		return nil
	}
	return &provider.Usage{Input: in, Output: provider.TokenCount(root.Get("eval_count"))}
}

// finishOf translates the reason into OpenAI's terms. Every other reason is a
// normal stop, including load, which comes without an answer.
func finishOf(reason string, called bool) string {
	switch {
	case reason == "length":
		return "length"
	case called:
		return "tool_calls"
	}
	return "stop"
}
