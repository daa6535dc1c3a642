package anthropic

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// foreignThinking is a refusal of thinking that another server has signed or sealed. A
// conversation may have begun there, before a fallback.
var foreignThinking = regexp.MustCompile("(?i)invalid [`'\"]?(signature|data)[`'\"]? (in|for) [`'\"]?(redacted_)?thinking")

// refusedMessage is the place of what a refusal is about.
var refusedMessage = regexp.MustCompile(`\bmessages\.(\d+)\.content\.\d+`)

// foreignWords are refusals of what the servers of other APIs say, and Anthropic's do not: an
// answer without thinking, texts of nothing but white space, the same id for two calls.
var foreignWords = regexp.MustCompile("(?i)expected [`'\"]?thinking[`'\"]?.* but found|must contain non-whitespace text|text content blocks must be non-empty|must have non-empty content|ids must be unique|tool_use(_|\\.)id: string should match pattern")

// blameOrigin marks the failure of a request that goes as it came and is refused for what
// another server has said.
func blameOrigin(err error, preq *provider.Request) error {
	e, ok := errors.AsType[*provider.Error](err)
	if ok && (preq.Native != nil || preq.Beside != nil) && e.Status == http.StatusBadRequest && (e.Mentions(foreignWords) || e.Mentions(foreignThinking)) {
		e.Added, e.Passing = provider.AsItCame, true
	}
	return err
}

// maxNamed is how many messages that a server refuses one by one lose their thinking alone.
const maxNamed = 3

// refusesOrigin reports whether a server refuses the thinking of another one.
func refusesOrigin(err error) bool {
	e, ok := errors.AsType[*provider.Error](err)
	return ok && e.Status == http.StatusBadRequest && e.Mentions(foreignThinking)
}

// withoutNamed returns a request without the thinking of the message that a refusal names,
// or of all messages if it names none.
func withoutNamed(preq *provider.Request, body []byte, refusal error) []byte {
	e, _ := errors.AsType[*provider.Error](refusal)
	m := refusedMessage.FindStringSubmatch(e.Message)
	if m == nil {
		return withoutThinking(preq, body, -1)
	}
	named, err := strconv.Atoi(m[1])
	if err != nil {
		named = -1
	}
	return withoutThinking(preq, body, named)
}

// withoutThinking returns a request without the thinking of one message, or of all messages
// if named is negative. A message of which nothing is left goes as well.
func withoutThinking(preq *provider.Request, body []byte, named int) []byte {
	list := gjson.GetBytes(body, "messages")
	var kept []string
	found := false
	for i, m := range list.Array() {
		raw := m.Raw
		if content := m.Get("content"); content.IsArray() && (named < 0 || i == named) {
			blocks := content.Array()
			rest := spoken(preq, blocks)
			if len(rest) == 0 && len(blocks) > 0 {
				found = true
				continue
			}
			if len(rest) < len(blocks) {
				found = true
				o := splice.Of([]byte(raw))
				o.Set(gjson.Get(raw, "content"), "content", "["+strings.Join(rest, ",")+"]")
				raw = string(o.Bytes())
			}
		}
		kept = append(kept, raw)
	}
	if !found {
		return body
	}
	o := splice.Of(body)
	o.Set(list, "messages", "["+strings.Join(kept, ",")+"]")
	return o.Bytes()
}

// spoken returns the blocks that are not thinking, and notes the others.
func spoken(preq *provider.Request, blocks []gjson.Result) (rest []string) {
	for _, b := range blocks {
		switch typ := b.Get("type").Str; typ {
		case typeThinking, typeRedacted:
			preq.Drop("messages.content." + typ)
		default:
			rest = append(rest, b.Raw)
		}
	}
	return rest
}
