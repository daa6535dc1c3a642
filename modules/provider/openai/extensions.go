package openai

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/splice"
)

// effortMember asks for reasoning. A model without any refuses it, and coding agents
// ask for it whatever the model.
const effortMember = "reasoning_effort"

var namesEffort = regexp.MustCompile(`reasoning[_. ]?effort`)

// blameEffort marks the failure of a translated request that is refused because of
// reasoning_effort.
func blameEffort(err error, preq *provider.Request) error {
	e, ok := errors.AsType[*provider.Error](err)
	if ok && preq.Translated && e.Added == "" && e.Reason == provider.ReasonInvalid &&
		e.Mentions(namesEffort) && !slices.Contains(preq.Omit, effortMember) {
		e.Added = effortMember
	}
	return err
}

// withoutExtensions returns the body of a translated request without the members that
// only providers with other APIs know. A client of chat completions may send them: it
// knows its server.
func withoutExtensions(preq *provider.Request) []byte {
	return object(gjson.ParseBytes(preq.Body), func(name string, v gjson.Result) (string, string) {
		switch name {
		case "thinking", "cache_control":
			return "", ""
		case effortMember:
			if slices.Contains(preq.Omit, effortMember) {
				return "", ""
			}
		case "messages":
			return name, list(v, message)
		case "tools":
			return name, list(v, unmarked)
		}
		return name, v.Raw
	})
}

func message(m gjson.Result) string {
	return string(object(m, func(name string, v gjson.Result) (string, string) {
		switch name {
		case "thinking_blocks", "cache_control", "is_error":
			return "", ""
		case "content", "tool_calls":
			if v.IsArray() {
				return name, list(v, unmarked)
			}
		}
		return name, v.Raw
	}))
}

// unmarked returns an object without its mark for a prompt cache.
func unmarked(v gjson.Result) string {
	return string(object(v, func(name string, v gjson.Result) (string, string) {
		if name == "cache_control" {
			return "", ""
		}
		return name, v.Raw
	}))
}

// object returns an object with other members: edit returns the name and the JSON of
// each, or an empty name to leave it out.
func object(v gjson.Result, edit func(name string, v gjson.Result) (string, string)) []byte {
	if !v.IsObject() {
		return []byte(v.Raw)
	}
	b := append(make([]byte, 0, len(v.Raw)), '{')
	v.ForEach(func(k, v gjson.Result) bool {
		name, value := edit(k.Str, v)
		if name == "" {
			return true
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(b, splice.Quoted(name)...), ':')
		b = append(b, value...)
		return true
	})
	return append(b, '}')
}

func list(v gjson.Result, edit func(gjson.Result) string) string {
	if !v.IsArray() {
		return v.Raw
	}
	var b strings.Builder
	b.WriteByte('[')
	v.ForEach(func(_, e gjson.Result) bool {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(edit(e))
		return true
	})
	b.WriteByte(']')
	return b.String()
}

// fitted returns a translated request as OpenAI's own servers take it: they refuse
// top_k, and max_tokens for models that reason.
func (o *OpenAI) fitted(preq *provider.Request) *provider.Request {
	if !preq.Translated || o.Azure == nil && !strings.HasPrefix(o.Base()+"/", "https://api.openai.com/") {
		return preq
	}
	fit := *preq
	fit.Body = object(gjson.ParseBytes(preq.Body), func(name string, v gjson.Result) (string, string) {
		switch name {
		case "top_k":
			preq.Drop(name)
			return "", ""
		case "max_tokens":
			return "max_completion_tokens", v.Raw
		}
		return name, v.Raw
	})
	return &fit
}
