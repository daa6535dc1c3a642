package openai

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// The names of the limit on an answer's tokens. Clients of Messages have to send one, and
// send what Anthropic's models can do, whatever the model.
const (
	limitMember    = "max_tokens"
	newLimitMember = "max_completion_tokens"
)

// tellsLimit are the refusals that name the greatest limit of a model. Those that count the
// tokens of the request, too, are left alone: the client has to shorten it.
var tellsLimit = regexp.MustCompile(strings.Join([]string{
	`(?i)max_(?:completion_|output_)?tokens.{0,80}\bat most (\d+) (?:completion|output) tokens`, // OpenAI
	`max_output_tokens'?: .{0,80}\bExpected a value <= (\d+)`,                                   // OpenAI in Responses
	"max_(?:completion_)?tokens[`'\"]? must be less than or equal to [`'\"]?(\\d+)",             // Groq
	`range of max_(?:completion_)?tokens is \[\d+, ?(\d+)\]`,                                    // DeepSeek
	`max_(?:completion_)?tokens.{0,40} (?:less than|at most|up to|<=) ?(\d+)\b`,
}, "|"))

// refusedLimit returns the limit that a refusal of a higher one names, or the name of the
// limit if that is refused; nothing if the refusal is about something else.
func refusedLimit(e *provider.Error, name string, sent gjson.Result) string {
	if name == limitMember && e.Mentions(namesMember(name)) && e.Mentions(refusesMember) {
		return name
	}
	groups := tellsLimit.FindStringSubmatch(e.Message)
	for _, text := range groups[min(1, len(groups)):] {
		if limit, err := strconv.ParseInt(text, 10, 64); err == nil && limit > 0 && limit < sent.Int() {
			return limitMember + "=" + text
		}
	}
	return ""
}

// limited returns the name and the value of a limit as the target takes it.
func limited(preq *provider.Request, name string, v gjson.Result) (string, string) {
	most := v.Int()
	for _, omit := range preq.Omit {
		switch text, isLimit := strings.CutPrefix(omit, limitMember+"="); {
		case omit == limitMember:
			name = newLimitMember
		case isLimit:
			if limit, err := strconv.ParseInt(text, 10, 64); err == nil {
				most = min(most, limit)
			}
		}
	}
	if most == v.Int() {
		return name, v.Raw
	}
	preq.Drop(limitMember)
	return name, strconv.FormatInt(most, 10)
}
