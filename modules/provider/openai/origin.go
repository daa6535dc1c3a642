package openai

import (
	"bytes"
	"errors"
	"net/http"
	"regexp"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Servers of Responses make reasoning and ids that mean nothing to others: reasoning is
// sealed with a key of their own or stands there as text, and an id tells what it belongs
// to. There is no code for most of the refusals.
var (
	foreignMember = regexp.MustCompile(`^input\[\d+\]\.(id|status|encrypted_content)$`)
	foreignWords  = regexp.MustCompile(`(?i)encrypted content .*could not be verified|without its required 'reasoning' item|^Item with id '[^']*' not found|^Invalid 'input\[\d+\]\.content': array too long\. Expected an array with maximum length 0`)
)

// refusesOrigin reports whether a server refuses what another server has made.
func refusesOrigin(err error) bool {
	e, ok := errors.AsType[*provider.Error](err)
	if !ok || e.Status != http.StatusBadRequest && e.Status != http.StatusNotFound {
		return false
	}
	return e.Code == "invalid_encrypted_content" || foreignMember.MatchString(e.Param) || foreignWords.MatchString(e.Message)
}

// withoutIDs removes the ids of messages, calls and results from a request's input, which
// belong to an answer of another server. A call and its result have one of their own.
func withoutIDs(body []byte) []byte {
	e := newEditor(body)
	input := e.root.Get("input")
	if !input.IsArray() {
		return body
	}
	input.ForEach(func(_, item gjson.Result) bool {
		switch item.Get("type").Str {
		case "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output":
			e.remove(item, "id")
		case "":
			if item.Get("role").Exists() {
				e.remove(item, "id")
			}
		}
		return true
	})
	return e.bytes()
}

// withoutParsed removes what OpenAI's own clients add to the items of an answer, which come
// back with it: the values of what is JSON in a text. OpenAI does not know these members.
func withoutParsed(preq *provider.Request, body []byte) []byte {
	if !bytes.Contains(body, []byte(`"parsed`)) {
		return body
	}
	e := newEditor(body)
	input := e.root.Get("input")
	if !input.IsArray() {
		return body
	}
	input.ForEach(func(_, item gjson.Result) bool {
		if item.Get("type").Str == "function_call" && item.Get("parsed_arguments").Exists() {
			e.remove(item, "parsed_arguments")
			preq.Drop("input.parsed_arguments")
		}
		if item.Get("role").Str != "assistant" {
			return true
		}
		item.Get("content").ForEach(func(_, part gjson.Result) bool {
			if part.Get("type").Str == "output_text" && part.Get("parsed").Exists() {
				e.remove(part, "parsed")
				preq.Drop("input.content.parsed")
			}
			return true
		})
		return true
	})
	return e.bytes()
}
