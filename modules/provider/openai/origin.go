package openai

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

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

// maxNamed is how many of the things that a server refuses one by one are left out alone.
const maxNamed = 3

var (
	itemPlace = regexp.MustCompile(`\binput\[(\d+)\](?:\.(id|status)\b)?`)
	itemWord  = regexp.MustCompile(`[A-Za-z0-9_-]+`)

	// shortened is an id, or what is sealed, as a refusal quotes it: "gAAA...DQ==".
	shortened = regexp.MustCompile(`(?i)encrypted content (?:for item )?(\S+?)\.{3,}(\S*) could not be verified`)
)

// withoutNamed leaves out of a request's input only what a refusal names: a member of an
// item, or reasoning with the ids of what belongs to it. It returns the body if nothing is
// named.
func withoutNamed(preq *provider.Request, body []byte, refusal error) []byte {
	refused, _ := errors.AsType[*provider.Error](refusal)
	items := gjson.GetBytes(body, "input").Array()
	at, member := namedIn(refused, items)
	if at < 0 {
		return body
	}
	e := newEditor(body)
	if !isReasoning(items[at]) || member != "" {
		member = cmp.Or(member, "id")
		e.remove(items[at], member)
		rest := e.bytes()
		if len(rest) < len(body) {
			preq.Drop("input." + member)
		}
		return rest
	}
	for _, item := range items[at+1:] {
		if isReasoning(item) || !isModels(item) {
			break
		}
		e.remove(item, "id")
	}
	rest := e.bytes()
	if len(rest) < len(body) {
		preq.Drop("input.id")
	}
	named := gjson.GetBytes(rest, "input").Array()[at].Index
	rest, left := without(rest, func(item gjson.Result) bool { return item.Index == named })
	dropItems(preq, left)
	return rest
}

// isModels reports whether an item is a message or a call of the model's.
func isModels(item gjson.Result) bool {
	typ := item.Get("type").Str
	return item.Get("role").Str == "assistant" || typ == "function_call" || typ == "custom_tool_call"
}

// namedIn returns which item a refusal names, and which of its members; -1 for none.
func namedIn(refused *provider.Error, items []gjson.Result) (at int, member string) {
	for _, text := range [...]string{refused.Param, refused.Message} {
		m := itemPlace.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		if at, err := strconv.Atoi(m[1]); err == nil && at < len(items) {
			return at, m[2]
		}
	}
	if m := shortened.FindStringSubmatch(refused.Message); m != nil {
		return quotedIn(items, m[1], m[2]), ""
	}
	for _, word := range itemWord.FindAllString(refused.Message, -1) {
		if at := slices.IndexFunc(items, func(v gjson.Result) bool { return v.Get("id").Str == word }); at >= 0 {
			return at, ""
		}
	}
	return -1, ""
}

// quotedIn returns the only reasoning whose id or sealed content begins and ends so; -1 if
// there is no such, or several.
func quotedIn(items []gjson.Result, begin, end string) int {
	found := -1
	for i, item := range items {
		if !isReasoning(item) {
			continue
		}
		for _, name := range [...]string{"id", "encrypted_content"} {
			if s := item.Get(name).Str; strings.HasPrefix(s, begin) && strings.HasSuffix(s, end) {
				if found >= 0 {
					return -1
				}
				found = i
				break
			}
		}
	}
	return found
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

// withShortIDs returns a request's input with ids of calls that OpenAI takes. Those of
// another provider may be longer.
func withShortIDs(body []byte) []byte {
	e := newEditor(body)
	input := e.root.Get("input")
	if !input.IsArray() {
		return body
	}
	input.ForEach(func(_, item gjson.Result) bool {
		e.shorten(item, "call_id", maxResponseCallID)
		return true
	})
	return e.bytes()
}
