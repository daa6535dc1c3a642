package aigateway

import (
	"cmp"
	"errors"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// request is a chat completions request, as far as the gateway reads it.
type request struct {
	body         []byte
	model        string
	stream       bool
	includeUsage bool

	// choices is how many answers are asked for, 1 unless said otherwise.
	choices int

	// operation is what is asked for, in OpenTelemetry's words.
	operation string

	// inputTokens is an estimate, four bytes of messages and tools a token.
	inputTokens int64

	// outputCap is how many tokens all choices together may have, 0 where the
	// client does not say.
	outputCap int64
}

// readRequest reads and checks the body. What the gateway does not need to
// know it leaves to the provider.
func (h *Handler) readRequest(x *exchange) (*request, error) {
	body, err := chat.ReadBody(x.r, h.MaxBody)
	if err != nil {
		return nil, err
	}
	req, err := parseRequest(body)
	if err != nil {
		return nil, err
	}
	if t := x.rec.Turn; t != nil {
		req.model = t.Model
	}
	return req, nil
}

func parseRequest(body []byte) (*request, error) {
	req := &request{body: body, operation: operationChat}
	messages := gjson.GetBytes(body, "messages")
	if !messages.IsArray() || len(messages.Array()) == 0 {
		return nil, apierror.InvalidRequest("messages", "required, a list of at least one message")
	}
	req.inputTokens = inputEstimate(messages) + provider.EstimateTokens(len(gjson.GetBytes(body, "tools").Raw))
	req.choices = choicesOf(body)
	req.outputCap = outputCap(body, req.choices)

	var err error
	if req.model, err = modelOf(body); err != nil {
		return nil, err
	}
	if req.stream, err = optionalBool(body, "stream"); err != nil {
		return nil, err
	}
	if o := gjson.GetBytes(body, "stream_options"); o.Exists() && !o.IsObject() && o.Type != gjson.Null {
		return nil, apierror.InvalidRequest("stream_options", "want an object")
	}
	req.includeUsage, err = optionalBool(body, "stream_options.include_usage")
	return req, err
}

// mediaTokens is what an image or a file is taken for: its bytes tell nothing.
const mediaTokens = 1000

// inputEstimate guesses how many tokens messages are.
func inputEstimate(messages gjson.Result) int64 {
	bytes, media := len(messages.Raw), 0
	for _, m := range messages.Array() {
		content := m.Get("content")
		if !content.IsArray() {
			continue
		}
		for _, part := range content.Array() {
			for _, path := range [...]string{"image_url.url", "input_audio.data", "file.file_data"} {
				if data := part.Get(path); data.Exists() {
					bytes -= len(data.Raw)
					media++
				}
			}
		}
	}
	return provider.EstimateTokens(bytes) + int64(media)*mediaTokens
}

// choicesOf is how many answers a request asks for.
func choicesOf(body []byte) int {
	const most = 1000
	return int(max(1, min(gjson.GetBytes(body, "n").Num, most)))
}

// outputCap is how many tokens a request allows at most.
func outputCap(body []byte, choices int) int64 {
	const most = 1 << 40
	limit := gjson.GetBytes(body, "max_completion_tokens")
	if limit.Type != gjson.Number {
		limit = gjson.GetBytes(body, "max_tokens")
	}
	return int64(max(0, min(limit.Num*float64(choices), most)))
}

// modelOf is the model that a body asks for, empty where it asks for none.
func modelOf(body []byte) (string, error) {
	model := gjson.GetBytes(body, "model")
	switch {
	case !model.Exists() || model.Type == gjson.Null:
		return "", nil
	case model.Type == gjson.String && model.Str != "":
		return model.Str, nil
	}
	return "", apierror.InvalidRequest("model", "want the name of a model")
}

func optionalBool(body []byte, path string) (bool, error) {
	v := gjson.GetBytes(body, path)
	switch v.Type {
	case gjson.True:
		return true, nil
	case gjson.False, gjson.Null:
		return false, nil
	default:
		return false, apierror.InvalidRequest(path, "want true or false")
	}
}

// choose finds where a request goes: by the model it names, else the route's,
// else the tenant's, else the gateway's default.
func (h *Handler) choose(x *exchange, req *request) (route.Choice, error) {
	tenantModel := ""
	if x.rec.Tenant != nil {
		tenantModel = x.rec.Tenant.Model
	}
	name := cmp.Or(req.model, h.ModelOverride, tenantModel, h.table.Default())
	c, err := h.table.Resolve(name, mayUse(x.rec.Tenant))
	switch {
	case errors.Is(err, route.ErrNotAllowed):
		return c, apierror.ModelNotAllowed()
	case errors.Is(err, route.ErrNone):
		return c, apierror.InvalidRequest("model", "required: the gateway has no default_model")
	case err != nil:
		return c, apierror.ModelUnknown()
	}
	return c, nil
}
