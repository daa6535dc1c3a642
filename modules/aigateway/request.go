package aigateway

import (
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/form"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// request is what the gateway reads of a chat completions or embeddings request.
type request struct {
	body         []byte
	model        string
	stream       bool
	includeUsage bool

	// door is the call of a client with another API, whose request body is a
	// translation of; native is the request as it came. Both are nil for OpenAI's
	// chat completions and embeddings.
	door   door.Call
	native *provider.Native

	// beside is the request in another API, of which a handler in front has made this
	// one, and native what it says there. Both are nil without one.
	beside *record.Beside

	// betas are the features that the client wants of Anthropic's API.
	betas []string

	gates record.Gates // of the body, to be passed before the request is answered

	// form is the request in place of a body; nil for those with one.
	form *form.Form

	// translated says that the body was of another API, whose members dropped are left
	// out of it.
	translated bool
	dropped    []string

	// flat says that tools were in the shape of Responses.
	flat bool

	// relayTo is OpenAI's path, behind its base URL, of a request whose answer
	// passes through; empty for others.
	relayTo string

	// unnamed says that the provider is to choose the model, as neither the request nor the
	// route names one.
	unnamed bool

	// choices is n, the number of answers asked for; 1 by default.
	choices int

	// operation is the gen_ai.operation.name of traces.
	operation string

	// inputTokens is an estimate: a token is four bytes of messages and tools.
	inputTokens int64

	// outputCap is the client's limit on the output tokens of all choices
	// together; 0 without a limit.
	outputCap int64

	// reasons says that the client asks for reasoning.
	reasons bool
}

// sent returns the body as the client sent it.
func (r *request) sent() []byte {
	if r.native != nil {
		return r.native.Body
	}
	return r.body
}

// tier returns the service tier that the client asks for, as of provider.TierOf.
func (r *request) tier() string {
	body := r.sent()
	return provider.TierOf(gjson.GetBytes(body, "service_tier").Str, gjson.GetBytes(body, "speed").Str)
}

// sentHeader returns those headers that a provider may answer the body differently for.
func (r *request) sentHeader() string {
	if r.native == nil || len(r.native.Header) == 0 {
		return strings.Join(r.betas, ",")
	}
	var b strings.Builder
	_ = r.native.Header.Write(&b) // in the order of their names; a Builder never fails
	return b.String()
}

// readRequest reads the body and checks what the gateway uses and what no
// provider takes. The rest is for the provider to check.
func (h *Handler) readRequest(x *chat.Exchange) (*request, error) {
	body, gates, err := x.ReadGated(h.MaxBody, time.Duration(h.ReadTimeout))
	if err != nil {
		return nil, err
	}
	req, err := parseRequest(body)
	if err != nil {
		return nil, err
	}
	req.gates = gates
	if b := x.Rec.Beside; b != nil {
		b.Taken, b.Header = true, nativeHeader(x.R.Header)
		req.beside, req.native = b, &b.Native
	}
	req.flat = req.flat || x.Rec.FlatTools
	if x.Rec.Translated {
		req.betas = x.R.Header[betaHeader] // of a request of Messages with a session
	}
	if t := x.Rec.Turn; t != nil {
		req.model = t.Model
		// chat_session asks for the usage, and not the client: a provider gets
		// it as any other addition, which it may refuse
		req.body, err = sjson.DeleteBytes(req.body, "stream_options")
	}
	return req, err
}

func parseRequest(body []byte) (*request, error) {
	req := &request{body: body, operation: operationChat, choices: 1}
	m, err := membersOf(body)
	if err == nil && responses.Shaped(m.messages, m.input, m.tools) {
		if req.body, req.dropped, err = responses.Completion(body); err != nil {
			return nil, apierror.FromProvider(err)
		}
		req.translated, req.flat = !m.messages.Exists(), true
		m, err = membersOf(req.body)
	}
	if err != nil {
		return nil, err
	}
	if !m.messages.IsArray() || m.messages.Get("#").Int() == 0 {
		return nil, apierror.InvalidRequest("messages", "required, a list of at least one message")
	}
	req.inputTokens = inputEstimate(m.messages) + provider.EstimateTokens(len(m.tools.Raw))
	req.choices = choicesOf(m.n)
	req.outputCap = outputCap(m, req.choices)
	req.reasons = m.reasons

	if req.model, err = modelName(m.model); err != nil {
		return nil, err
	}
	if req.stream, err = optionalBool("stream", m.stream); err != nil {
		return nil, err
	}
	if o := m.streamOptions; o.Exists() && !o.IsObject() && o.Type != gjson.Null {
		return nil, apierror.InvalidRequest("stream_options", "want an object")
	}
	req.includeUsage, err = optionalBool("stream_options.include_usage", m.streamOptions.Get("include_usage"))
	return req, err
}

// members are the members of a body that the gateway reads.
type members struct {
	messages, input                gjson.Result
	tools, model, n                gjson.Result
	stream, streamOptions          gjson.Result
	maxTokens, maxCompletionTokens gjson.Result
	reasons                        bool // a member asks for reasoning
}

// membersOf finds and checks the members of a body, a JSON object, in one pass.
func membersOf(body []byte) (m members, err error) {
	gjson.ParseBytes(body).ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "messages":
			m.messages = v
		case "input":
			m.input = v
		case "tools":
			m.tools = v
		case "model":
			m.model = v
		case "n":
			m.n = v
		case "stream":
			m.stream = v
		case "stream_options":
			m.streamOptions = v
		case "max_tokens":
			m.maxTokens = v
		case "max_completion_tokens":
			m.maxCompletionTokens = v
		default:
			m.reasons = m.reasons || asksToReason(name.Str, v)
		}
		err = checkParam(chatParams, name.Str, v)
		return err == nil
	})
	return m, err
}

// mediaTokens is the estimate for an image or a file, whose size in bytes says
// nothing about its tokens.
const mediaTokens = 1000

// inputEstimate returns an estimate of the tokens in messages.
func inputEstimate(messages gjson.Result) int64 {
	bytes, media := len(messages.Raw), 0
	messages.ForEach(func(_, m gjson.Result) bool {
		content := m.Get("content")
		if !content.IsArray() {
			return true
		}
		content.ForEach(func(_, part gjson.Result) bool {
			for _, path := range [...]string{"image_url.url", "input_audio.data", "file.file_data"} {
				if data := part.Get(path); data.Exists() {
					bytes -= len(data.Raw)
					media++
				}
			}
			return true
		})
		return true
	})
	return provider.EstimateTokens(bytes) + int64(media)*mediaTokens
}

// choicesOf returns how many answers n asks for.
func choicesOf(n gjson.Result) int { return max(1, int(n.Num)) }

// outputCap returns how many output tokens a request allows for all choices
// together; 0 without a limit. Of two limits the greater counts, since either may be
// the one that a server reads.
func outputCap(m members, choices int) int64 {
	const most = 1 << 40
	limit := max(m.maxCompletionTokens.Num, m.maxTokens.Num)
	return int64(max(0, min(limit*float64(choices), most)))
}

func optionalBool(name string, v gjson.Result) (bool, error) {
	switch v.Type {
	case gjson.True:
		return true, nil
	case gjson.False, gjson.Null:
		return false, nil
	default:
		return false, apierror.InvalidRequest(name, "want true or false")
	}
}
