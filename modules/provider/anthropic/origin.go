package anthropic

import (
	"bytes"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// A conversation may have begun at another server, before a fallback for instance, and goes
// to Anthropic as it came. What only that server has said, and Anthropic refuses, is mended
// when it does. These stand in Request.Omit for what a request goes without.
const (
	foreignThoughts = "thinking of another server" // with which one it was
	earlierThoughts = "thinking before the last question"
	askedThoughts   = "thinking"
	blankTexts      = "blank texts"
	ownCallIDs      = "ids of calls"
)

// mends are what a refusal tells to mend, wherever it is in the request.
var mends = []struct {
	omit    string
	refused *regexp.Regexp
	mend    func(preq *provider.Request, body []byte) []byte
}{
	{askedThoughts, regexp.MustCompile("(?i)expected [`'\"]?thinking[`'\"]?.* but found"), withoutAsked},
	{blankTexts, regexp.MustCompile("(?i)must contain non-whitespace text|text content blocks must be non-empty|must have non-empty content"), withoutBlank},
	{ownCallIDs, regexp.MustCompile(`(?i)ids must be unique|tool_use(_|\.)id: string should match pattern`), withCallIDs},
}

// refusedThinking is a refusal of thinking that another server has signed or sealed.
var refusedThinking = regexp.MustCompile("(?i)invalid [`'\"]?(signature|data)[`'\"]? (in|for) [`'\"]?(redacted_)?thinking")

// refusedMessage is the place of what a refusal is about.
var refusedMessage = regexp.MustCompile(`\bmessages\.(\d+)\.content\.\d+`)

// maxNamed is how many messages that a server refuses one by one lose their thinking alone.
const maxNamed = 8

// mended returns a request as a server takes it that has refused this before: in this call,
// or in an earlier one the thinking of another server.
func (a *Anthropic) mended(preq *provider.Request, body []byte) []byte {
	if !a.foreign.isEmpty() {
		body = withoutThinking(preq, body, func(_ int, b gjson.Result) bool { return a.foreign.has(b) })
	}
	if slices.Contains(preq.Omit, earlierThoughts) {
		end := lastQuestion(body)
		body = withoutThinking(preq, body, func(at int, _ gjson.Result) bool { return at < end })
	}
	for _, m := range mends {
		if slices.Contains(preq.Omit, m.omit) {
			body = m.mend(preq, body)
		}
	}
	return body
}

// blameOrigin marks the failure of a request that is refused for what another server has
// said.
func (a *Anthropic) blameOrigin(err error, preq *provider.Request, body []byte) error {
	e, ok := errors.AsType[*provider.Error](err)
	if !ok || e.Status != http.StatusBadRequest || e.Added != "" {
		return err
	}
	if e.Mentions(refusedThinking) {
		e.Added = a.blameThinking(e, preq, body)
	}
	for _, m := range mends {
		if e.Mentions(m.refused) && !bytes.Equal(m.mend(preq.Apart(), body), body) {
			e.Added = m.omit
		}
	}
	e.Passing = e.Added != ""
	return err
}

// blameThinking remembers the thinking that a refusal names. After some of one request, all
// goes that stands before the last question: the model has no need of it.
func (a *Anthropic) blameThinking(e *provider.Error, preq *provider.Request, body []byte) string {
	named := 0
	for _, omit := range preq.Omit {
		if strings.HasPrefix(omit, foreignThoughts) {
			named++
		}
	}
	if m := refusedMessage.FindStringSubmatch(e.Message); m != nil && named < maxNamed {
		digest := ""
		for _, b := range gjson.GetBytes(body, "messages."+m[1]+".content").Array() {
			if isThinking(b) {
				digest = a.foreign.add(b)
			}
		}
		if digest != "" {
			return foreignThoughts + " " + digest
		}
	}
	if slices.Contains(preq.Omit, earlierThoughts) {
		return ""
	}
	return earlierThoughts
}

func isThinking(b gjson.Result) bool {
	typ := b.Get("type").Str
	return typ == typeThinking || typ == typeRedacted
}

// lastQuestion returns the place of the newest message of the user that is not the results of
// tools.
func lastQuestion(body []byte) int {
	last := 0
	for at, m := range gjson.GetBytes(body, "messages").Array() {
		if m.Get("role").Str == "user" && !m.Get(`content.#(type=="tool_result")`).Exists() {
			last = at
		}
	}
	return last
}

// withoutThinking returns a request without some of the thinking in its messages, which it
// notes.
func withoutThinking(preq *provider.Request, body []byte, leave func(at int, b gjson.Result) bool) []byte {
	return withBlocks(body, func(at int, b gjson.Result) string {
		if !isThinking(b) || !leave(at, b) {
			return b.Raw
		}
		preq.Drop("messages.content." + b.Get("type").Str)
		return ""
	})
}

// withoutAsked returns a request that does not ask for thinking, nor to clear it.
func withoutAsked(preq *provider.Request, body []byte) []byte {
	thinking, context := gjson.GetBytes(body, "thinking"), gjson.GetBytes(body, "context_management")
	if !thinking.IsObject() {
		return body
	}
	preq.Drop("thinking")
	o := splice.Of(body)
	o.Set(thinking, "thinking", `{"type":"disabled"}`)
	if strings.Contains(context.Raw, "clear_thinking") {
		preq.Drop("context_management")
		o.Set(context, "context_management", "null")
	}
	return o.Bytes()
}

// withoutBlank returns a request without texts that have nothing but white space.
func withoutBlank(_ *provider.Request, body []byte) []byte {
	isBlank := func(b gjson.Result) bool {
		return b.Get("type").Str == typeText && strings.TrimSpace(b.Get("text").Str) == ""
	}
	return withBlocks(body, func(_ int, b gjson.Result) string {
		if isBlank(b) {
			return ""
		}
		content := b.Get("content")
		if b.Get("type").Str != typeToolResult || !content.IsArray() {
			return b.Raw
		}
		rest := slices.DeleteFunc(content.Array(), isBlank)
		return withList(b.Raw, "content", rest)
	})
}

// withCallIDs returns a request in which each call has an id of its own that Anthropic takes,
// and its result, too.
func withCallIDs(_ *provider.Request, body []byte) []byte {
	var ids dialect.CallIDs
	open := make(map[string][]string) // the new ids of calls without a result yet, by their old ones
	return withBlocks(body, func(_ int, b gjson.Result) string {
		switch b.Get("type").Str {
		case typeToolUse:
			old := b.Get("id").Str
			id := ids.Give(old)
			open[old] = append(open[old], id)
			return withText(b.Raw, "id", id)
		case typeToolResult:
			old := b.Get("tool_use_id").Str
			if given := open[old]; len(given) > 0 {
				open[old] = given[1:]
				return withText(b.Raw, "tool_use_id", given[0])
			}
		}
		return b.Raw
	})
}

// withBlocks returns a request with what f returns in place of each block of its messages:
// nothing for one that is left out. A message of which nothing is left goes as well, but for
// the last one. What does not change stays byte for byte.
func withBlocks(body []byte, f func(at int, b gjson.Result) string) []byte {
	list := gjson.GetBytes(body, "messages")
	messages := list.Array()
	kept := make([]string, 0, len(messages))
	changed := false
	for at, m := range messages {
		raw, content := m.Raw, m.Get("content")
		blocks := content.Array()
		if content.Type == gjson.String {
			blocks = []gjson.Result{gjson.Parse(`{"type":"text","text":` + content.Raw + `}`)}
		}
		rest := make([]gjson.Result, 0, len(blocks))
		same := true
		for _, b := range blocks {
			made := f(at, b)
			same = same && made == b.Raw
			if made != "" {
				rest = append(rest, gjson.Parse(made))
			}
		}
		switch {
		case same:
		case len(rest) > 0:
			raw = withList(raw, "content", rest)
			changed = true
		case at < len(messages)-1:
			changed = true
			continue
		}
		kept = append(kept, raw)
	}
	if !changed {
		return body
	}
	o := splice.Of(body)
	o.Set(list, "messages", "["+strings.Join(kept, ",")+"]")
	return o.Bytes()
}

// withList returns an object with another list as one of its members.
func withList(object, member string, list []gjson.Result) string {
	raws := make([]string, len(list))
	for i, v := range list {
		raws[i] = v.Raw
	}
	return with(object, member, "["+strings.Join(raws, ",")+"]")
}

func withText(object, member, text string) string {
	if gjson.Get(object, member).Str == text {
		return object
	}
	return with(object, member, splice.Quoted(text))
}

func with(object, member, value string) string {
	o := splice.Of([]byte(object))
	o.Set(gjson.Get(object, member), member, value)
	return string(o.Bytes())
}
