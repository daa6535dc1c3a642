package openai

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

const responsesPath = "/responses"

// Speaks implements provider.Speaker.
func (o *OpenAI) Speaks(api provider.API) bool {
	if api != provider.APIResponses {
		return false
	}
	if o.Responses != nil {
		return *o.Responses
	}
	return o.Azure == nil && strings.HasPrefix(o.Base()+"/", defaultBase+"/")
}

func (o *OpenAI) completeResponse(ctx context.Context, preq *provider.Request, n *provider.Native) (*provider.Completion, error) {
	resp, err := o.callResponses(ctx, preq, n, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return native.Complete(ctx, resp, readResponse)
}

func (o *OpenAI) streamResponse(ctx context.Context, preq *provider.Request, n *provider.Native) (provider.Stream, error) {
	resp, err := o.callResponses(ctx, preq, n, true) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	return native.NewStream(ctx, resp, new(responseReader), preq, readResponse), nil
}

// callResponses sends a request on as it came, but for the model, and so that the server
// keeps nothing and looks nothing up: what it keeps belongs to the key, which tenants share.
//
// A conversation may have begun elsewhere, before a fallback. What only the other server can
// read is refused, and the server is then asked again without: without what it names, so that
// reasoning of its own stays, or else without all that may be from there.
func (o *OpenAI) callResponses(ctx context.Context, preq *provider.Request, n *provider.Native, stream bool) (*http.Response, error) {
	if err := refuseStored(preq, n.Body); err != nil {
		return nil, err
	}
	asked := n.Body
	if n != preq.Native {
		asked = withSealed(asked) // the next turn brings it back
	}
	if n != preq.Native && n != preq.Beside {
		asked = withSummary(asked)
	}
	body, left := without(unreasoned(preq, n.Body, asked), isReference)
	body = withShortIDs(withoutParsed(preq, body))
	dropItems(preq, left)
	resp, err := o.postResponse(ctx, preq, body, stream)
	for range maxNamed {
		if !refusesOrigin(err) {
			return resp, err
		}
		rest := withoutNamed(preq, body, err)
		if len(rest) == len(body) {
			break
		}
		body = rest
		resp, err = o.postResponse(ctx, preq, body, stream)
	}
	if !refusesOrigin(err) {
		return resp, err
	}
	spoken, left := without(body, isReasoning)
	portable := withoutIDs(spoken)
	if len(portable) == len(body) {
		return nil, err
	}
	dropItems(preq, left)
	if len(portable) < len(spoken) {
		preq.Drop("input.id")
	}
	return o.postResponse(ctx, preq, portable, stream)
}

func (o *OpenAI) postResponse(ctx context.Context, preq *provider.Request, body []byte, stream bool) (*http.Response, error) {
	m, body, err := splice.MembersOf(body)
	if err != nil {
		return nil, fmt.Errorf("editing the request: %w", err)
	}
	e := splice.Of(body)
	e.Set(m.Model, "model", splice.Quoted(preq.Model))
	if m.Store.Type != gjson.False {
		e.Set(m.Store, "store", "false")
	}
	if stream {
		e.SetStream(m)
	}
	if m.Store.Type == gjson.True {
		preq.Drop("store")
	}
	req, err := o.NewRequest(ctx, preq, responsesPath, e.Bytes(), stream)
	if err != nil {
		return nil, err
	}
	resp, err := o.Do(req)
	return resp, blameReasoning(err, body)
}

// responseReader reads the facts of a response's events.
type responseReader struct {
	begun    bool
	finished bool
	called   bool // there is a call of a tool of the client's
}

// Finished implements native.Reader.
func (r *responseReader) Finished() bool { return r.finished }

// Read implements native.Reader.
func (r *responseReader) Read(event gjson.Result, f *provider.Facts) (last bool, err error) {
	typ := event.Get("type").Str
	switch typ {
	case "response.created", "response.in_progress", "response.queued":
		r.begun = true
		f.Model = event.Get("response.model").Str
	case "response.completed", "response.incomplete":
		if hasFailed(event.Get("response")) {
			return false, failureOf(event.Get("response"))
		}
		return true, r.end(event.Get("response"), f)
	case "response.failed", "response.cancelled":
		return false, failureOf(event.Get("response"))
	case "response.output_item.added":
		r.begun = true
		r.item(event.Get("item"), f, false)
	case "response.output_text.delta":
		r.begun = true
		f.AddText(event.Get("delta").Str)
	case "response.refusal.delta":
		r.begun = true
		f.AddText(event.Get("delta").Str)
		f.Refusal = f.Refusal || f.Content
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		r.begun = true
		f.AddReasoning(event.Get("delta").Str)
	case "":
		if _, _, _, ok := provider.ErrorOf([]byte(event.Raw)); ok {
			return false, provider.NewError(0, []byte(event.Raw))
		}
	default:
		// the arguments of calls, the work of the server's own tools, and what is not
		// known yet
		if delta := event.Get("delta"); delta.Type == gjson.String && delta.Str != "" {
			r.begun = true
			f.Content, f.More = true, true
			f.OutputBytes += len(delta.Str)
		}
	}
	return false, nil
}

// end reads the response with which a stream ends.
func (r *responseReader) end(response gjson.Result, f *provider.Facts) error {
	if !r.begun {
		return provider.ErrCut
	}
	r.finished = true
	f.Model = response.Get("model").Str
	f.Usage = provider.UsageOfResponse(response)
	f.FinishReason, f.Finishes = r.finish(response), 1
	return nil
}

// finish returns why the model has stopped, in the words of chat completions.
func (r *responseReader) finish(response gjson.Result) string {
	switch reason := response.Get("incomplete_details.reason").Str; {
	case reason == "content_filter":
		return reason
	case response.Get("status").Str == "incomplete":
		return "length"
	case r.called:
		return "tool_calls"
	}
	return "stop"
}

// item reads an item, or what it begins with.
func (r *responseReader) item(v gjson.Result, f *provider.Facts, whole bool) {
	switch v.Get("type").Str {
	case "message":
		if whole {
			v.Get("content").ForEach(func(_, part gjson.Result) bool {
				f.AddText(part.Get("text").Str + part.Get("refusal").Str)
				f.Refusal = f.Refusal || part.Get("refusal").Str != ""
				f.More = f.More || len(part.Get("annotations").Array()) > 0
				return true
			})
		}
	case "reasoning":
		if whole {
			for _, list := range [...]string{"summary", "content"} {
				v.Get(list).ForEach(func(_, part gjson.Result) bool {
					f.AddReasoning(part.Get("text").Str)
					return true
				})
			}
		}
	case "function_call", "custom_tool_call":
		r.called = true
		f.ToolCalls, f.Content, f.More = true, true, true
		f.OutputBytes += len(v.Get("name").Str)
		if whole {
			f.OutputBytes += len(v.Get("arguments").Str) + len(v.Get("input").Str)
		}
	default:
		f.Content, f.More = true, true
	}
}

// hasFailed reports whether a response has failed, whatever the event that it comes in.
func hasFailed(response gjson.Result) bool {
	e, status := response.Get("error"), response.Get("status").Str
	return e.Exists() && e.Type != gjson.Null || status == "failed" || status == "cancelled" ||
		status == "incomplete" && !endsAnswer(response)
}

// endsAnswer reports whether an incomplete response has stopped for a reason of the API's, or
// for one that may be new. What is no code is a failure in the server's own words.
func endsAnswer(response gjson.Result) bool {
	return isKnownReason(response) || provider.RedactCode(response.Get("incomplete_details.reason").String()) != ""
}

func isKnownReason(response gjson.Result) bool {
	switch response.Get("incomplete_details.reason").String() {
	case "", "max_output_tokens", "content_filter":
		return true
	}
	return false
}

// failureOf returns why a response has failed.
func failureOf(response gjson.Result) error {
	if e := response.Get("error"); e.IsObject() || e.Type == gjson.String {
		return provider.NewError(0, []byte(`{"error":`+e.Raw+`}`))
	}
	return provider.NewError(0, []byte(`{"error":{"message":"the response has failed","code":"server_error"}}`))
}

// readResponse reads the facts of a whole response.
func readResponse(v gjson.Result, f *provider.Facts) error {
	if hasFailed(v) {
		return failureOf(v)
	}
	output := v.Get("output")
	if status := v.Get("status").Str; !output.IsArray() || status == "in_progress" || status == "queued" {
		return provider.BadAnswer(errNoResponse)
	}
	r := responseReader{begun: true}
	output.ForEach(func(_, item gjson.Result) bool {
		r.item(item, f, true)
		return true
	})
	if v.Get("status").Str == "incomplete" && !f.Content && !isKnownReason(v) {
		return failureOf(v)
	}
	f.Choices = 1
	return r.end(v, f)
}

var errNoResponse = errors.New("the answer is not a response")

// Interface guards
var (
	_ native.Reader    = (*responseReader)(nil)
	_ provider.Speaker = (*OpenAI)(nil)
)
