package bedrock

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// answer is a whole answer of Converse.
type answer struct {
	output dialect.Output
	finish string
	usage  *provider.Usage
}

// readAnswer reads the document that answers a call.
func readAnswer(doc []byte) (*answer, error) {
	if !json.Valid(doc) {
		return nil, badAnswer("the answer is not JSON")
	}
	root := gjson.ParseBytes(doc)
	content := root.Get("output.message.content")
	if !content.IsArray() {
		if _, _, _, ok := provider.ErrorOf(doc); ok {
			return nil, failure(root.Get("__type").Str, doc)
		}
		return nil, badAnswer("the answer has no message")
	}
	a := &answer{usage: usageOf(root.Get("usage"))}
	var text, reasoned strings.Builder
	var thoughts []reasoning
	for _, b := range content.Array() {
		text.WriteString(b.Get("text").Str)
		if r := b.Get("reasoningContent"); r.IsObject() {
			t := thoughtOf(r)
			thoughts = append(thoughts, t)
			if t.Text != nil {
				reasoned.WriteString(t.Text.Text)
			}
		}
		if call := b.Get("toolUse"); call.IsObject() {
			a.output.Calls = append(a.output.Calls, callOf(call, len(a.output.Calls)))
		}
	}
	if len(a.output.Calls) > 0 {
		a.output.Calls[0].Extra = extraOf(thoughts)
	}
	a.output.Text, a.output.Reasoning = text.String(), reasoned.String()
	var err error
	a.finish, err = finishOf(root.Get("stopReason").Str, len(a.output.Calls) > 0)
	return a, err
}

func thoughtOf(r gjson.Result) reasoning {
	t := reasoning{Redacted: r.Get("redactedContent").Str}
	if text := r.Get("reasoningText"); text.IsObject() {
		t.Text = &signedText{text.Get("text").Str, text.Get("signature").Str}
	}
	return t
}

func callOf(call gjson.Result, index int) dialect.Call {
	input := call.Get("input").Raw
	if input == "" {
		input = "{}"
	}
	return dialect.Call{Index: index, ID: call.Get("toolUseId").Str, Name: call.Get("name").Str, Arguments: input}
}

// completion is the answer in OpenAI's shape.
func (a *answer) completion(model string, names *dialect.Names) *provider.Completion {
	var whole dialect.Whole
	whole.Add(a.output)
	return dialect.NewAnswer("", model, names).Completion(&whole, a.finish, a.usage)
}

// finishOf translates a stop reason into OpenAI's terms. Some models report the
// end of their turn although they call tools.
func finishOf(stop string, calls bool) (string, error) {
	switch stop {
	case "max_tokens", "model_context_window_exceeded":
		return "length", nil
	case "guardrail_intervened", "content_filtered", "refusal":
		return "content_filter", nil
	case "malformed_model_output", "malformed_tool_use":
		return "", badAnswer("the model stopped with " + stop)
	}
	if calls {
		return "tool_calls", nil
	}
	return "stop", nil
}

// usageOf reads the token counts; nil if there are none. Bedrock counts tokens
// that were read from the cache, or written to it, apart from the other input.
func usageOf(v gjson.Result) *provider.Usage {
	if v.Get("inputTokens").Type != gjson.Number && v.Get("outputTokens").Type != gjson.Number {
		return nil
	}
	cached, written := provider.TokenCount(v.Get("cacheReadInputTokens")), provider.TokenCount(v.Get("cacheWriteInputTokens"))
	return &provider.Usage{
		Input:     provider.TokenCount(v.Get("inputTokens")) + cached + written,
		Output:    provider.TokenCount(v.Get("outputTokens")),
		Cached:    cached,
		Written:   written,
		ForAnHour: min(provider.TokenCount(v.Get(`cacheDetails.#(ttl=="1h").inputTokens`)), written),
	}
}

// statuses are the statuses of Bedrock's exceptions when one is an answer of
// its own. Within a stream an exception has only its name.
var statuses = map[string]int{
	"accessdeniedexception":         http.StatusForbidden,
	"expiredtokenexception":         http.StatusForbidden,
	"unrecognizedclientexception":   http.StatusForbidden,
	"internalserverexception":       http.StatusInternalServerError,
	"modelerrorexception":           http.StatusFailedDependency,
	"modelnotreadyexception":        http.StatusTooManyRequests,
	"modelstreamerrorexception":     http.StatusFailedDependency,
	"modeltimeoutexception":         http.StatusRequestTimeout,
	"resourcenotfoundexception":     http.StatusNotFound,
	"servicequotaexceededexception": http.StatusTooManyRequests,
	"serviceunavailableexception":   http.StatusServiceUnavailable,
	"throttlingexception":           http.StatusTooManyRequests,
	"validationexception":           http.StatusBadRequest,
}

// failure reads an exception. Its name may have a namespace in front and a URL
// behind it: com.amazon.coral.service#ThrottlingException:http://...
func failure(name string, payload []byte) *provider.Error {
	name, _, _ = strings.Cut(name, ":")
	name = name[strings.LastIndexByte(name, '#')+1:]
	e := provider.NewError(statuses[strings.ToLower(name)], payload)
	e.Code = name
	return sorted(e)
}

// sorted corrects the reason of a failure that Bedrock reports in an unusual
// way.
func sorted(e *provider.Error) *provider.Error {
	switch {
	case e.Status == http.StatusFailedDependency:
		// The model failed; the request is fine.
		e.Reason = provider.ReasonUnavailable
	case e.Reason == provider.ReasonInvalid && (strings.Contains(e.Message, "model identifier is invalid") || strings.Contains(e.Message, "on-demand throughput")):
		// The model does not exist, or is only available by an inference
		// profile.
		e.Reason = provider.ReasonModel
	}
	return e
}

func badAnswer(what string) *provider.Error {
	return provider.BadAnswer(errors.New(what))
}
