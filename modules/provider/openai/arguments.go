package openai

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// badArguments stands in Request.Omit for arguments of tool calls that are not a
// JSON object, as a cut answer leaves them behind in a conversation. OpenAI takes
// any string. Servers whose chat templates parse it, such as vLLM's, refuse the
// conversation from then on.
const badArguments = "messages.tool_calls.function.arguments"

// blameArguments marks a failure that may be due to arguments which are not a JSON
// object. Servers name only the parser's error, and some report a failure of their
// own.
func blameArguments(err error, preq *provider.Request) error {
	e, ok := errors.AsType[*provider.Error](err)
	if !ok || e.Added != "" || e.Local || e.Reason == provider.ReasonContextLength || slices.Contains(preq.Omit, badArguments) {
		return err
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusInternalServerError:
		if _, bad := goodArguments(preq.Body); bad {
			e.Added = badArguments
		}
	}
	return err
}

// goodArguments returns a request's body with a JSON object in place of arguments
// that are none. bad says whether there are any.
func goodArguments(body []byte) (good []byte, bad bool) {
	if !bytes.Contains(body, []byte(`"tool_calls"`)) {
		return body, false
	}
	e := newEditor(body)
	e.root.Get("messages").ForEach(func(_, m gjson.Result) bool {
		var notes []string
		m.Get("tool_calls").ForEach(func(_, call gjson.Result) bool {
			f := call.Get("function")
			v := f.Get("arguments")
			args, ok := dialect.Arguments(v)
			if ok && v.Type == gjson.String && v.Str != "" && v.Str != "null" {
				return true
			}
			if !ok {
				notes = append(notes, dialect.BadArguments(f.Get("name").Str, args))
				args = "{}"
			}
			e.set(f, "arguments", args)
			return true
		})
		if len(notes) > 0 {
			e.say(m, strings.Join(notes, "\n\n"))
		}
		return true
	})
	return e.bytes(), len(e.edits) > 0
}

// say adds a text to a message.
func (e *editor) say(m gjson.Result, text string) {
	content := m.Get("content")
	switch {
	case content.IsArray():
		end := content.Index + len(content.Raw) - 1 // the closing bracket
		part := `{"type":"text","text":` + splice.Quoted(text) + "}"
		if !isEmpty(content) {
			part = "," + part
		}
		e.edits = append(e.edits, splice.Edit{From: end, To: end, Value: part})
		return
	case content.Type == gjson.String && content.Str != "":
		text = content.Str + "\n\n" + text
	}
	e.set(m, "content", text)
}
