package gemini

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// answer reads an answer document by document: a stream has many, a whole
// answer is one.
type answer struct {
	calls   int      // tool calls so far
	partial *partial // a call whose arguments are still coming
	begun   bool     // the model has said something
	finish  string   // OpenAI's finish reason, empty until there is one
	usage   *provider.Usage
}

// read returns what a document adds to the answer.
func (a *answer) read(doc gjson.Result) ([]dialect.Output, error) {
	if u := usageOf(doc.Get("usageMetadata")); u != nil {
		a.usage = u
	}
	candidate := doc.Get("candidates.0")
	if !candidate.Exists() {
		return nil, a.blocked(doc.Get("promptFeedback"))
	}
	var outputs []dialect.Output
	for _, p := range candidate.Get("content.parts").Array() {
		more, err := a.part(p)
		if err != nil {
			return nil, err
		}
		outputs = append(outputs, more...)
	}
	reason := candidate.Get("finishReason").Str
	if reason == "" || reason == "FINISH_REASON_UNSPECIFIED" || a.finish != "" {
		a.begun = a.begun || len(outputs) > 0
		return outputs, nil
	}
	last, err := a.endCall()
	if err != nil {
		return nil, err
	}
	outputs = append(outputs, last...)
	a.begun = a.begun || len(outputs) > 0
	a.finish, err = a.finishOf(reason, candidate.Get("finishMessage").Str)
	return outputs, err
}

func (a *answer) part(p gjson.Result) ([]dialect.Output, error) {
	if call := p.Get("functionCall"); call.IsObject() {
		return a.call(call, p.Get("thoughtSignature").Str)
	}
	if data := p.Get("inlineData"); data.Exists() {
		return nil, provider.BadAnswer(fmt.Errorf("the model answered with %q, but a chat completion can only hold text", data.Get("mimeType").Str))
	}
	text := p.Get("text").Str
	switch {
	case text == "":
		return nil, nil
	case p.Get("thought").Bool():
		return []dialect.Output{dialect.Reasoning(text)}, nil
	}
	return []dialect.Output{dialect.Text(text)}, nil
}

// call reads a tool call or a part of one. Parts come to proxies that ask for
// streamFunctionCallArguments: a name begins a call, and a part that will not
// continue ends it.
func (a *answer) call(call gjson.Result, signature string) ([]dialect.Output, error) {
	var outputs []dialect.Output
	if name := call.Get("name").Str; name != "" {
		var err error
		if outputs, err = a.endCall(); err != nil {
			return nil, err
		}
		a.partial = &partial{id: call.Get("id").Str, name: name, signature: signature}
	}
	if a.partial == nil {
		return nil, nil // the end of a call that has already ended
	}
	if err := a.partial.add(call); err != nil {
		return nil, provider.BadAnswer(fmt.Errorf("reading a tool call's arguments: %w", err))
	}
	if call.Get("willContinue").Bool() {
		return outputs, nil
	}
	last, err := a.endCall()
	return append(outputs, last...), err
}

// endCall returns the call that has just ended, if any.
func (a *answer) endCall() ([]dialect.Output, error) {
	p := a.partial
	if p == nil {
		return nil, nil
	}
	a.partial = nil
	args, err := p.arguments()
	if err != nil {
		return nil, provider.BadAnswer(fmt.Errorf("reading a tool call's arguments: %w", err))
	}
	if p.id == "" {
		p.id = dialect.NewCallID()
	}
	c := dialect.Call{Index: a.calls, ID: p.id, Name: p.name, Arguments: args}
	if p.signature != "" {
		c.Extra = map[string]any{"google": map[string]string{"thought_signature": p.signature}}
	}
	a.calls++
	return []dialect.Output{{Calls: []dialect.Call{c}}}, nil
}

// finishOf translates a finish reason into OpenAI's terms, or into a failure.
func (a *answer) finishOf(reason, message string) (string, error) {
	switch reason {
	case "STOP":
		return a.stopped(), nil
	case "MAX_TOKENS":
		return "length", nil
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return "content_filter", nil
	case "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE":
		// The model meant to call a tool, and without the call there is no
		// answer.
		return "", provider.BadAnswer(fmt.Errorf("the model ended with %s: %s", reason, message))
	}
	// OTHER, and reasons to come, end an answer normally if there is one.
	if !a.begun {
		return "", provider.BadAnswer(fmt.Errorf("the model said nothing and ended with %q: %s", reason, message))
	}
	return a.stopped(), nil
}

func (a *answer) stopped() string {
	if a.calls > 0 {
		return "tool_calls"
	}
	return "stop"
}

// blocked judges a document without candidates. It means nothing unless it says
// that the prompt was blocked.
func (a *answer) blocked(feedback gjson.Result) error {
	reason := feedback.Get("blockReason").Str
	switch {
	case reason == "" || a.finish != "":
		return nil
	case a.begun:
		a.finish = "content_filter"
		return nil
	}
	return &provider.Error{
		Reason:  provider.ReasonContentFiltered,
		Status:  http.StatusOK,
		Message: fmt.Sprintf("the prompt was blocked: %s %s", reason, feedback.Get("blockReasonMessage").Str),
	}
}

// usageOf reads the token counts; nil if there are none, as in all documents
// but the last.
func usageOf(v gjson.Result) *provider.Usage {
	if !v.Get("promptTokenCount").Exists() && !v.Get("candidatesTokenCount").Exists() {
		return nil
	}
	// The results of Google's own tools are input of the model, and thoughts
	// are output. Google counts both apart from the rest.
	u := &provider.Usage{
		Input:     provider.TokenCount(v.Get("promptTokenCount")) + provider.TokenCount(v.Get("toolUsePromptTokenCount")),
		Reasoning: provider.TokenCount(v.Get("thoughtsTokenCount")),
	}
	u.Output = provider.TokenCount(v.Get("candidatesTokenCount")) + u.Reasoning
	u.Cached = min(provider.TokenCount(v.Get("cachedContentTokenCount")), u.Input)
	return u
}

// compact removes the white space from a JSON object.
func compact(raw string) (string, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(raw)); err != nil {
		return "", err
	}
	if b.Len() == 0 || b.Bytes()[0] != '{' {
		return "", errors.New("want an object")
	}
	return b.String(), nil
}
