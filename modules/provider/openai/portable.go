package openai

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// portable turns a request into one that a server with OpenAI's API understands. The
// conversation may have begun at a provider of another type, and the request may have come
// through a door. What is left out is noted.
type portable struct {
	preq *provider.Request

	// wants says whose signed reasoning a model of this name wants back, and own that it
	// has written the message itself.
	wants map[string]bool
	own   bool

	// responses says that the request is made through Responses, whose items of reasoning
	// go back. Chat completions do not know them.
	responses bool

	err error // the first that was found
}

// asPortable returns the body of a request without what only providers with other APIs
// know. A client of chat completions may send members of its own, since it knows its
// server: of these only what another provider has answered with is left out.
func asPortable(preq *provider.Request, responses bool) ([]byte, error) {
	model := strings.ToLower(preq.Model)
	p := portable{preq: preq, responses: responses, wants: map[string]bool{
		dialect.ByClaude: !preq.Translated && strings.Contains(model, "claude"),
		dialect.ByGoogle: strings.Contains(model, "gemini"),
	}}
	if preq.Translated {
		return p.translated(), p.err
	}
	if !mayHaveSigned(preq.Body) {
		return preq.Body, nil
	}
	messages := gjson.GetBytes(preq.Body, "messages")
	if !messages.IsArray() {
		return preq.Body, nil
	}
	mapped, changed := mapList(messages, func(m gjson.Result) string {
		if !p.isForeign(m) && !m.Get("is_error").Exists() && author.Of(m) == "" {
			return m.Raw
		}
		return p.message(m, 0)
	})
	if !changed {
		return preq.Body, nil
	}
	body := splice.Of(preq.Body)
	body.Set(messages, "messages", mapped)
	return body.Bytes(), nil
}

// mayHaveSigned saves most requests the search.
func mayHaveSigned(body []byte) bool {
	for _, name := range [...]string{`"thinking_blocks"`, `"extra_content"`, `"is_error"`, `"thinking"`, `"redacted_thinking"`} {
		if bytes.Contains(body, []byte(name)) {
			return true
		}
	}
	return false
}

// translated returns the body of a translated request.
func (p *portable) translated() []byte {
	root := gjson.ParseBytes(p.preq.Body)
	return object(root, func(name string, v gjson.Result) (string, string) {
		switch name {
		case "thinking":
			p.dropThinking(v, root.Get(effortMember).Str)
			return "", ""
		case "cache_control":
			p.preq.Drop(name)
			return "", ""
		case "messages":
			i := -1
			return name, list(v, func(m gjson.Result) string {
				i++
				return p.message(m, i)
			})
		case "tools":
			return name, list(v, func(t gjson.Result) string { return p.unmarked(t, "tools") })
		}
		return name, v.Raw
	})
}

// dropThinking notes what is lost of Anthropic's thinking, whose amount may be in the effort.
// An effort that is not that of the budget is the client's own, and wins.
func (p *portable) dropThinking(v gjson.Result, effort string) {
	if effort == "" {
		p.preq.Drop("thinking")
		return
	}
	if budget := v.Get("budget_tokens"); budget.Exists() && provider.EffortOf(budget.Num) != effort {
		p.preq.Drop("thinking.budget_tokens")
	}
	p.preq.DropOthers(v, "thinking", "type", "budget_tokens")
}

// isForeign reports whether the reasoning of a message is another model's.
func (p *portable) isForeign(m gjson.Result) bool {
	by := author.Of(m)
	if p.isOwn(by) {
		return false
	}
	if signed := dialect.SignedBy(m); signed != "" {
		return !p.wants[signed]
	}
	return by != ""
}

// isOwn reports whether an author is the model that is asked.
func (p *portable) isOwn(by string) bool { return by != "" && by == p.preq.Model }

// keeps reports whether what a maker's models have signed stays in the message.
func (p *portable) keeps(by string) bool { return p.own || p.wants[by] }

// message returns a message, or an empty string if nothing is left of it. i is its number.
func (p *portable) message(m gjson.Result, i int) string {
	// chat completions do not know items of Responses, nor what can be read of them
	foreign := p.isForeign(m) || !p.responses && items.HasReasoning(m.Get(items.Member))
	p.own = p.isOwn(author.Of(m))
	silent := p.preq.Translated && isSilent(m)
	edited := string(object(m, func(name string, v gjson.Result) (string, string) {
		switch {
		case name == "is_error", name == "cache_control" && p.dropsMark("messages"):
			return "", ""
		case (foreign || silent) && slices.Contains(reasoningMembers[:], name):
			if !provider.IsEmpty(v) {
				p.preq.Drop("messages." + name)
			}
			return "", ""
		case name == author.Member:
			if rest := author.Without(v); rest != "" {
				return name, rest
			}
			return "", ""
		case name == "content":
			return name, p.content(m, v, i)
		case name == "tool_calls":
			return name, list(v, p.call)
		}
		return name, v.Raw
	}))
	if silent {
		return ""
	}
	return edited
}

// isSilent reports whether a message of the assistant has nothing but reasoning, which
// servers refuse.
func isSilent(m gjson.Result) bool {
	return m.Get("role").Str == "assistant" && provider.IsEmpty(m.Get("content")) && provider.IsEmpty(m.Get("tool_calls")) && provider.IsEmpty(m.Get("refusal"))
}

// content returns the content of a message.
func (p *portable) content(m, v gjson.Result, i int) string {
	failed := m.Get("role").Str == dialect.RoleTool && m.Get("is_error").Bool()
	switch {
	case !v.IsArray() && failed:
		return splice.Quoted(strings.TrimSuffix(dialect.FailedResult+v.Str, "\n"))
	case !v.IsArray():
		return v.Raw
	}
	j := -1
	parts := list(v, func(part gjson.Result) string {
		j++
		if dialect.IsThinking(part) && !p.keeps(dialect.ByClaude) {
			p.preq.Drop("messages.content")
			return ""
		}
		if p.preq.Translated && part.Get("type").Str == dialect.PartFile && isURL(part.Get("file.file_data").Str) && p.err == nil {
			p.err = provider.Unsupported(fmt.Sprintf("messages.%d.content.%d.file.file_data", i, j), "this provider does not fetch files: send their data")
		}
		return p.unmarked(part, "messages.content")
	})
	if failed {
		first := `[{"type":"text","text":` + splice.Quoted(dialect.FailedResult) + "}"
		if parts != "[]" {
			first += ","
		}
		parts = first + parts[1:]
	}
	return parts
}

func isURL(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	return ok && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http"))
}

// call returns a tool call without what another provider wants back with it.
func (p *portable) call(c gjson.Result) string {
	return string(object(c, func(name string, v gjson.Result) (string, string) {
		switch {
		case name == "cache_control" && p.dropsMark("messages.tool_calls"):
			return "", ""
		case name == "extra_content" && (v.Get("bedrock").Exists() || v.Get("google").Exists() && !p.keeps(dialect.ByGoogle)):
			p.preq.Drop("messages.tool_calls." + name)
			return "", ""
		}
		return name, v.Raw
	}))
}

// unmarked returns an object without its mark for a prompt cache.
func (p *portable) unmarked(v gjson.Result, path string) string {
	return string(object(v, func(name string, v gjson.Result) (string, string) {
		if name == "cache_control" && p.dropsMark(path) {
			return "", ""
		}
		return name, v.Raw
	}))
}

// dropsMark notes a mark that is left out, and reports whether it is.
func (p *portable) dropsMark(path string) bool {
	if p.preq.Translated {
		p.preq.Drop(path + ".cache_control")
	}
	return p.preq.Translated
}
