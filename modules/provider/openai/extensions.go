package openai

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

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

// list returns a list with other elements. One that becomes empty is left out.
func list(v gjson.Result, edit func(gjson.Result) string) string {
	if !v.IsArray() {
		return v.Raw
	}
	var b strings.Builder
	b.WriteByte('[')
	v.ForEach(func(_, e gjson.Result) bool {
		edited := edit(e)
		if b.Len() > 1 && edited != "" {
			b.WriteByte(',')
		}
		b.WriteString(edited)
		return true
	})
	b.WriteByte(']')
	return b.String()
}

// fitted returns a translated request as OpenAI's own servers take it: they refuse
// top_k, and max_tokens for models that reason.
func (o *OpenAI) fitted(preq *provider.Request) *provider.Request {
	if !preq.Translated || !o.isOpenAI() {
		return preq
	}
	return preq.With(object(gjson.ParseBytes(preq.Body), func(name string, v gjson.Result) (string, string) {
		switch name {
		case "top_k":
			preq.Drop(name)
			return "", ""
		case "max_tokens":
			return "max_completion_tokens", v.Raw
		}
		return name, v.Raw
	}))
}
