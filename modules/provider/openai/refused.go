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

// A client of another API does not know what a model takes of chat completions. What its
// server refuses is left out of a translated request, or gets a value that the refusal names.
// Request.Omit then has the name of the member, or the name and the value as JSON.

// blameMember marks the failure of a translated request that is refused because of such a
// member.
func blameMember(err error, preq *provider.Request) error {
	e, ok := errors.AsType[*provider.Error](err)
	if !ok || !preq.Translated || e.Added != "" || e.Reason != provider.ReasonInvalid {
		return err
	}
	gjson.ParseBytes(preq.Body).ForEach(func(name, v gjson.Result) bool {
		e.Added, e.Passing = refusedMember(e, name.Str, v)
		return e.Added == ""
	})
	return err
}

// needed are the members without which the answer is another one, or of which there is more
// to tell.
var needed = []string{"model", "messages", "tools", "tool_choice", "response_format", "logprobs", "top_logprobs", "n", "stream", "stream_options"}

var (
	refusesValue     = regexp.MustCompile(`(?i)unsupported value`)
	refusesAllValues = regexp.MustCompile(`(?i)only the default`)
	refusesMember    = regexp.MustCompile(`(?i)unsupported|unrecognized|unknown|unexpected|\bextra\b|not (supported|permitted|allowed|available|implemented)|(does not|doesn't) support`)
)

// refusedMember returns what to leave out if a refusal is about this member; nothing if it
// is not. A value that is out of bounds is the client's mistake.
func refusedMember(e *provider.Error, name string, v gjson.Result) (added string, passing bool) {
	switch {
	case slices.Contains(needed, name):
	case name == effortMember && e.Mentions(namesEffort):
		return refusedEffort(e, v.Str)
	case name == limitMember, name == newLimitMember:
		return refusedLimit(e, name, v), false
	case e.Param != name && !e.Mentions(namesMember(name)):
	case e.Code == "unsupported_value" || e.Mentions(refusesValue):
		return name, !e.Mentions(refusesAllValues)
	case e.Mentions(refusesMember):
		return name, false
	}
	return "", false
}

// namesMember returns what matches a message about a member. Its name may be a word of every
// day, and some messages go on with a list of all members.
func namesMember(name string) *regexp.Regexp {
	name = regexp.QuoteMeta(name)
	return regexp.MustCompile("^[^'\"`]*['\"`]" + name + "['\"`]|'body', '" + name + "'|(?i:argument|parameter|field|member|key|property|input)s?( supplied)?:? " + name + `\b`)
}

// unrefused returns a translated request without what the target has refused.
func unrefused(preq *provider.Request) *provider.Request {
	if !preq.Translated || len(preq.Omit) == 0 {
		return preq
	}
	return preq.With(object(gjson.ParseBytes(preq.Body), func(name string, v gjson.Result) (string, string) {
		switch {
		case name == limitMember, name == newLimitMember:
			return limited(preq, name, v)
		case slices.Contains(preq.Omit, name):
			preq.Drop(name)
			return "", ""
		}
		value := v.Raw
		for _, omit := range preq.Omit {
			if other, ok := strings.CutPrefix(omit, name+"="); ok {
				value = other
				preq.Drop(name)
			}
		}
		return name, value
	}))
}

// effortMember asks for reasoning. A model without any refuses it, and coding agents
// ask for it whatever the model.
const effortMember = "reasoning_effort"

// efforts are the values of reasoning_effort, in their order.
var efforts = []string{"none", "minimal", "low", "medium", "high", "xhigh", "max"}

var (
	namesEffort   = regexp.MustCompile(`(?i)reasoning[_. ]?effort`)
	listsValues   = regexp.MustCompile(`(?is)\b(values are|one of|should be|must be|expected|allowed|choose from|supported values:?)\b(.*)`)
	effortInWords = regexp.MustCompile(`\b(none|minimal|low|medium|high|xhigh|max)\b`)
)

// refusedEffort tells the refusal of an effort from that of all. The former says nothing of
// other requests: it is passing.
func refusedEffort(e *provider.Error, sent string) (added string, passing bool) {
	var supported []string
	if list := listsValues.FindString(e.Message); list != "" {
		supported = effortInWords.FindAllString(list, -1)
	}
	if nearest := nearestEffort(sent, supported); nearest != "" {
		return effortMember + "=" + splice.Quoted(nearest), true
	}
	said := regexp.MustCompile(`['"` + "`" + ` :]` + regexp.QuoteMeta(sent) + `\b`)
	passing = e.Code == "unsupported_value" || e.Code == "invalid_value" || len(supported) > 0 || sent != "" && e.Mentions(said)
	return effortMember, passing
}

// nearestEffort returns the one of the supported efforts that is nearest to another, and of
// two the lower one; empty if none of them is like it. To reason is not like not to reason.
func nearestEffort(sent string, supported []string) (nearest string) {
	at, least := slices.Index(efforts, sent), len(efforts)
	for i, effort := range efforts {
		if at < 0 || i == at || !slices.Contains(supported, effort) || (at == 0) != (i == 0) {
			continue
		}
		if distance := max(at-i, i-at); distance < least {
			nearest, least = effort, distance
		}
	}
	return nearest
}
