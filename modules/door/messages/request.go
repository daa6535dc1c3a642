package messages

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// translation is a request on its way to chat completions.
type translation struct {
	completion
	turn    turn
	from    int // the message that is being read, counted from 1
	dropped provider.Dropped
	refusal error   // as of door.Call
	unknown unknown // the last block that is left out
}

// unknown is a block that is left out: who says it, the path of its type, empty for none, and
// its message, counted from 1.
type unknown struct {
	role, path string
	from       int
}

// refuse notes why no other provider can be given the request. Anthropic's own may know
// what is new.
func (t *translation) refuse(param, why string) {
	if t.refusal == nil {
		t.refusal = provider.Unsupported(param, why)
	}
}

// Open implements door.Door.
func (Door) Open(body []byte) (door.Call, error) {
	t, err := translate(body)
	if err != nil {
		return nil, err
	}
	if t.MaxTokens == nil {
		return nil, provider.Invalid("max_tokens", "required, a whole number of at least 1")
	}
	return t.call(body), nil
}

// OpenCount reads the body of count_tokens, which has no max_tokens.
func OpenCount(body []byte) (door.Call, error) {
	t, err := translate(body)
	if err != nil {
		return nil, err
	}
	return t.call(body), nil
}

func (t *translation) call(body []byte) *call {
	return &call{body: body, completion: provider.Encode(t.completion), messages: t.Messages, dropped: t.dropped, refusal: t.refusal}
}

func translate(body []byte) (*translation, error) {
	t := new(translation)
	root := gjson.ParseBytes(body)
	if err := t.options(root); err != nil {
		return nil, err
	}
	members := root.Map()
	for _, step := range [...]func(map[string]gjson.Result) error{
		t.system, t.conversation, t.tools, t.thinking, t.format,
	} {
		if err := step(members); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// options reads the members that are a single value, and notes those that have no place
// in chat completions.
func (t *translation) options(root gjson.Result) error {
	var err error
	root.ForEach(func(k, v gjson.Result) bool {
		if v.Type == gjson.Null {
			return true
		}
		switch name := k.Str; name {
		case "model":
			t.Model = v.Str
			if v.Type != gjson.String {
				err = provider.Invalid(name, "want a string")
			}
		case "metadata":
			t.metadata(v)
		case "max_tokens":
			t.MaxTokens, err = number(name, v, isCount, "a whole number of at least 1")
		case "temperature":
			t.Temperature, err = number(name, v, isShare, "a number from 0 to 1")
		case "top_p":
			t.TopP, err = number(name, v, isShare, "a number from 0 to 1")
		case "top_k":
			t.TopK, err = number(name, v, isWhole, "a whole number of at least 0")
		case "stream":
			if !v.IsBool() {
				err = provider.Invalid(name, "want true or false")
			}
			t.Stream = v.Bool()
		case "stop_sequences":
			t.Stop, err = texts(name, v)
		case "cache_control":
			t.CacheControl = cacheControl(root)
		case "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format":
			// the other steps read them
		case "service_tier":
			if v.Str != "auto" {
				t.dropped.Add(name)
			}
		default:
			if !provider.IsEmpty(v) {
				t.dropped.Add(name)
			}
		}
		return err == nil
	})
	return err
}

// metadata reads the user. That of Claude Code is Anthropic's business alone.
func (t *translation) metadata(v gjson.Result) {
	id := v.Get("user_id")
	if t.User = userOf(id); t.User == "" && id.Str != "" {
		t.dropped.Add("metadata.user_id")
	}
	t.dropped.Others(v, "metadata", "user_id")
}

// maxUser is the longest user that OpenAI takes, in bytes.
const maxUser = 64

// userOf returns a user for other providers, unless it is a document about a device and an
// account.
func userOf(id gjson.Result) string {
	if len(id.Str) > maxUser || gjson.Valid(id.Str) && gjson.Parse(id.Str).IsObject() {
		return ""
	}
	return id.Str
}

func isCount(n float64) bool { return n >= 1 && n == math.Trunc(n) }
func isWhole(n float64) bool { return n >= 0 && n == math.Trunc(n) }
func isShare(n float64) bool { return n >= 0 && n <= 1 }

// number returns a number that is ok.
func number(name string, v gjson.Result, ok func(float64) bool, want string) (json.RawMessage, error) {
	if v.Type != gjson.Number || !ok(v.Num) {
		return nil, provider.Invalid(name, "want "+want)
	}
	return json.RawMessage(v.Raw), nil
}

// texts returns a list of strings, or nil if it is empty.
func texts(name string, v gjson.Result) (json.RawMessage, error) {
	for _, e := range v.Array() {
		if e.Type != gjson.String || !v.IsArray() {
			return nil, provider.Invalid(name, "want a list of strings")
		}
	}
	if len(v.Array()) == 0 {
		return nil, nil
	}
	return json.RawMessage(v.Raw), nil
}

// cacheControl returns the mark of a block that the prompt up to it is to be cached, or
// nil without one.
func cacheControl(b gjson.Result) json.RawMessage {
	v := b.Get("cache_control")
	if !v.IsObject() {
		return nil
	}
	return json.RawMessage(v.Raw)
}

// member returns the path of an element of a list.
func member(path string, i int) string { return fmt.Sprintf("%s.%d", path, i) }
