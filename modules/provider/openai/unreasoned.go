package openai

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// The parts of a request of Responses that a model which does not reason refuses. Agents send
// them whatever the model, and the gateway adds the first to a conversation that it keeps. Nor
// do organizations get summaries that OpenAI has not verified.
const (
	includeMember   = "include"
	effortOfRequest = "reasoning.effort"
	summaryMember   = "reasoning.summary"
)

// sealedReasoning is what a request includes to get reasoning in a form that a server which
// keeps nothing understands in the next turn.
const sealedReasoning = "reasoning.encrypted_content"

// unreasoning are the refusals of these parts, whatever their values.
var unreasoning = []struct {
	name    string
	refused *regexp.Regexp
}{
	{includeMember, regexp.MustCompile(`(?i)encrypted content is not supported|(invalid|unsupported) value:? '?reasoning\.encrypted_content|(unknown|unsupported|unrecognized)[^'"]*['"]include['"]`)},
	{effortOfRequest, regexp.MustCompile(`(?i)(unknown|unsupported|unrecognized) (request )?(parameter|argument)[^'"]*['"]reasoning(\.effort)?['"]`)},
	{summaryMember, regexp.MustCompile(`(?i)(unknown|unsupported|unrecognized) (request )?(parameter|argument)[^'"]*['"]reasoning(\.summary)?['"]|must be verified to generate reasoning summaries`)},
}

// withSealed asks for reasoning that can be sent back.
func withSealed(body []byte) []byte {
	include := gjson.GetBytes(body, includeMember)
	if hasSealed(include) {
		return body
	}
	var list []string
	for _, v := range include.Array() {
		list = append(list, v.Raw)
	}
	list = append(list, splice.Quoted(sealedReasoning))
	o := splice.Of(body)
	o.Set(include, includeMember, "["+strings.Join(list, ",")+"]")
	return o.Bytes()
}

// withSummary asks for reasoning that can be read, where an effort asks for reasoning.
func withSummary(body []byte) []byte {
	effort := gjson.GetBytes(body, effortOfRequest)
	if !effort.Exists() {
		return body
	}
	end := splice.Edit{From: effort.Index + len(effort.Raw), To: effort.Index + len(effort.Raw), Value: `,"summary":"auto"`}
	return splice.Apply(body, []splice.Edit{end})
}

func hasSealed(include gjson.Result) bool { return include.IsArray() && contains(include, isSealed) }

func isSealed(v gjson.Result) bool { return v.Str == sealedReasoning }

// unreasoned returns the body of a request of Responses without what the model has refused.
// What was in the body as it was sent is noted.
func unreasoned(preq *provider.Request, sent, body []byte) []byte {
	omits := func(name string) bool { return slices.Contains(preq.Omit, name) }
	if !omits(includeMember) && !omits(effortOfRequest) && !omits(summaryMember) {
		return body
	}
	return object(gjson.ParseBytes(body), func(name string, v gjson.Result) (string, string) {
		rest := v.Raw
		switch {
		case name == includeMember && omits(name) && hasSealed(v):
			if hasSealed(gjson.GetBytes(sent, name)) {
				preq.Drop(name)
			}
			rest = list(v, func(e gjson.Result) string {
				if isSealed(e) {
					return ""
				}
				return e.Raw
			})
		case name == "reasoning":
			rest = string(object(v, func(part string, v gjson.Result) (string, string) {
				path := name + "." + part
				if !omits(path) {
					return part, v.Raw
				}
				if !provider.IsEmpty(gjson.GetBytes(sent, path)) {
					preq.Drop(path)
				}
				return "", ""
			}))
		}
		if rest != v.Raw && (rest == "[]" || rest == "{}") {
			return "", ""
		}
		return name, rest
	})
}

// blameReasoning marks the failure of a request of Responses to a model that does not reason.
func blameReasoning(err error, body []byte) error {
	e, ok := errors.AsType[*provider.Error](err)
	if !ok || e.Added != "" || e.Reason != provider.ReasonInvalid {
		return err
	}
	root := gjson.ParseBytes(body)
	for _, part := range unreasoning {
		v := root.Get(part.name)
		if e.Mentions(part.refused) && !provider.IsEmpty(v) && (part.name != includeMember || hasSealed(v)) {
			e.Added = part.name
			break
		}
	}
	return err
}
