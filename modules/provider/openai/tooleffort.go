package openai

import (
	"errors"
	"net/http"
	"regexp"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// effortWithTools stands in Request.Omit for reasoning beside tools: some of OpenAI's models
// take tools in chat completions only if they do not reason, and reason if they are not told
// otherwise. Where the provider has Responses, the request is made there.
const effortWithTools = "reasoning_effort beside tools"

var (
	namesTools = regexp.MustCompile(`(?i)\btools?\b`)
	offersNone = regexp.MustCompile(`(?i)reasoning[_. ]?effort[^.]*\bnone\b`)

	// offersResponses is all that OpenAI says of some models, which take none as well.
	offersResponses = regexp.MustCompile(`(?i)reasoning[_. ]?effort\b.*/v1/responses\b`)
)

// blameTools marks the failure of a translated request whose tools the model takes without
// reasoning.
func blameTools(err error, preq *provider.Request) error {
	e, ok := errors.AsType[*provider.Error](err)
	if !ok || !preq.Translated || e.Added != "" || e.Status != http.StatusBadRequest || slices.Contains(preq.Omit, effortWithTools) {
		return err
	}
	if hasTools(preq) && e.Mentions(namesTools) && (e.Mentions(offersNone) || e.Mentions(offersResponses)) {
		e.Added = effortWithTools
	}
	return err
}

func hasTools(preq *provider.Request) bool {
	return !provider.IsEmpty(gjson.GetBytes(preq.Body, "tools"))
}

// withToolsAlone returns a translated request with tools for a model that has refused them
// beside reasoning.
func withToolsAlone(preq *provider.Request) *provider.Request {
	if !preq.Translated || !slices.Contains(preq.Omit, effortWithTools) || !hasTools(preq) {
		return preq
	}
	effort := gjson.GetBytes(preq.Body, effortMember)
	if effort.Str == efforts[0] {
		return preq
	}
	if effort.Exists() {
		preq.Drop(effortMember)
	}
	o := splice.Of(preq.Body)
	o.Set(effort, effortMember, splice.Quoted(efforts[0]))
	return preq.With(o.Bytes())
}
