package openai

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// reasoningMembers are the members of an assistant's message that hold reasoning,
// in the spellings of all servers.
var reasoningMembers = [...]string{
	"reasoning_content", "reasoning", "reasoning_text", "reasoning_opaque", "reasoning_details", "thinking_blocks",
}

// strictServers refuse a request whose messages have reasoning of another
// spelling than their own. All other servers want it back, or ignore it.
var strictServers = []struct{ base, own string }{
	{"https://api.mistral.ai/", ""},
	{"https://api.groq.com/", "reasoning"},
	{"https://api.cerebras.ai/", "reasoning"},
}

// withoutReasoning returns a request without the reasoning that the server would
// refuse, such as that of another provider. What is left out is noted. OpenAI itself
// never tells its own.
func (o *OpenAI) withoutReasoning(preq *provider.Request) (*provider.Request, error) {
	if o.isOpenAI() {
		return withoutReasoning(preq, "")
	}
	for _, s := range strictServers {
		if strings.HasPrefix(o.Base()+"/", s.base) {
			return withoutReasoning(preq, s.own)
		}
	}
	return preq, nil
}

func withoutReasoning(preq *provider.Request, own string) (*provider.Request, error) {
	messages := gjson.GetBytes(preq.Body, "messages")
	if !messages.IsArray() || !bytes.Contains(preq.Body, []byte(`"reasoning`)) && !bytes.Contains(preq.Body, []byte(`"thinking_blocks"`)) {
		return preq, nil
	}
	var err error
	mapped, changed := mapList(messages, func(m gjson.Result) string {
		raw := m.Raw
		for _, name := range reasoningMembers {
			if err != nil || name == own || m.Get("role").Str != "assistant" || !m.Get(name).Exists() {
				continue
			}
			raw, err = sjson.Delete(raw, name)
			preq.Drop("messages." + name)
		}
		return raw
	})
	if err != nil {
		return nil, fmt.Errorf("editing the request: %w", err)
	}
	if !changed {
		return preq, nil
	}
	body := splice.Of(preq.Body)
	body.Set(messages, "messages", mapped)
	return preq.With(body.Bytes()), nil
}

// missingReasoning stands in Request.Omit for messages of an assistant without reasoning.
// DeepSeek and Kimi refuse a conversation with one of them, and one that another model has
// written has none that they may be given.
const missingReasoning = "messages.reasoning_content"

var namesMissing = regexp.MustCompile(`(?i)\bmissing\b.*reasoning_content|reasoning_content.*(\bmissing\b|passed back)`)

// blameMissing marks a failure that is due to messages without reasoning.
func blameMissing(err error, preq *provider.Request) error {
	e, ok := errors.AsType[*provider.Error](err)
	if ok && e.Added == "" && e.Status == http.StatusBadRequest && e.Mentions(namesMissing) && !slices.Contains(preq.Omit, missingReasoning) {
		if _, filled := withReasoning(preq.Body); filled {
			e.Added = missingReasoning
		}
	}
	return err
}

// noReasoning stands in for missing reasoning. Kimi refuses an empty one.
const noReasoning = "(left out)"

// withReasoning returns a request's body whose assistant has reasoned in all messages.
// filled says whether one had no reasoning.
func withReasoning(body []byte) (_ []byte, filled bool) {
	e := newEditor(body)
	e.root.Get("messages").ForEach(func(_, m gjson.Result) bool {
		if m.Get("role").Str == "assistant" && m.Get("reasoning_content").Str == "" && m.Get("reasoning").Str == "" {
			e.set(m, "reasoning_content", noReasoning)
		}
		return true
	})
	return e.bytes(), len(e.edits) > 0
}
