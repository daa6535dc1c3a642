package aigateway

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

const (
	pathText   = "/v1/completions"
	pathImages = "/v1/images/generations"
)

func parseRelay(path string, body []byte) (*request, error) {
	req := &request{body: body, choices: 1, inputTokens: provider.EstimateTokens(len(body))}
	root := gjson.ParseBytes(body)
	var err error
	if req.model, err = modelName(root.Get("model")); err != nil {
		return nil, err
	}
	if err := req.multiply(path, root); err != nil {
		return nil, err
	}
	req.stream, err = optionalBool("stream", root.Get("stream"))
	return req, err
}

// multiply reads how much output a request asks for. A limit counts only where servers
// know it, or it would be a way around a budget. A request for text completions has
// several prompts, and of each several answers.
func (r *request) multiply(path string, root gjson.Result) error {
	var params map[string]param
	switch path {
	case pathText:
		params = textParams
	case pathImages:
		params = imageParams
	}
	for name := range params {
		if err := checkParam(params, name, root.Get(name)); err != nil {
			return err
		}
	}
	if params == nil {
		return nil
	}
	r.choices = choicesOf(root.Get("n"))
	if path != pathText {
		return nil
	}
	r.choices = max(r.choices, choicesOf(root.Get("best_of")))
	if prompts := root.Get("prompt"); prompts.IsArray() && prompts.Get("0").Type != gjson.Number {
		r.choices *= max(1, len(prompts.Array()))
	}
	r.outputCap = outputCap(members{maxTokens: root.Get("max_tokens")}, r.choices)
	return nil
}

// countField is the field of a form with how many images are wanted.
const countField = "n"

// formChoices returns how many answers a form asks for. Of several values the greatest
// counts, since any may be the one that a server reads.
func formChoices(path string, values []string) (int, error) {
	choices := 1
	if !strings.HasPrefix(path, "/v1/images/") {
		return choices, nil
	}
	for _, v := range values {
		v = strings.TrimSpace(v)
		n, err := strconv.Atoi(v)
		if v != "" && (err != nil || n < 1 || n > mostChoices) {
			return 0, apierror.InvalidRequest(countField, imageParams["n"].want)
		}
		choices = max(choices, n)
	}
	return choices, nil
}
