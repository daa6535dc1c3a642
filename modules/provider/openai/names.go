package openai

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// maxCallID is the longest id of a call that OpenAI takes in a chat completion, and
// maxResponseCallID in a request of Responses.
const (
	maxCallID         = 40
	maxResponseCallID = 64
)

// shortID returns an id that is not longer than most, always the same for the same id.
func shortID(id string, most int) string {
	if len(id) <= most {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "call_" + hex.EncodeToString(sum[:])[:24]
}

// named returns a translated request with names of tools and ids of calls that OpenAI takes,
// and with what tells the names back. Clients of other APIs may have longer ones, and with
// other characters.
func named(preq *provider.Request) (*provider.Request, *dialect.Names) {
	if !preq.Translated {
		return preq, nil
	}
	e := newEditor(preq.Body)
	var all []string
	eachTool(e.root, func(function gjson.Result) {
		if name := function.Get("name").Str; name != "" {
			all = append(all, name)
		}
	})
	names := dialect.NewNames(dialect.ToolNames, all)
	if names != nil {
		eachTool(e.root, func(function gjson.Result) {
			if name := function.Get("name").Str; names.Give(name) != name {
				e.set(function, "name", names.Give(name))
			}
		})
	}
	e.root.Get("messages").ForEach(func(_, m gjson.Result) bool {
		e.shorten(m, "tool_call_id", maxCallID)
		m.Get("tool_calls").ForEach(func(_, call gjson.Result) bool {
			e.shorten(call, "id", maxCallID)
			return true
		})
		return true
	})
	return preq.With(e.bytes()), names
}

// shorten sets an id to one that is short enough.
func (e *editor) shorten(object gjson.Result, name string, most int) {
	if id := object.Get(name).Str; len(id) > most {
		e.set(object, name, shortID(id, most))
	}
}

// eachTool calls f with all objects of a request that hold the name of a tool.
func eachTool(root gjson.Result, f func(function gjson.Result)) {
	of := func(v gjson.Result) {
		for _, kind := range [...]string{"function", "custom"} {
			if function := v.Get(kind); function.IsObject() {
				f(function)
			}
		}
	}
	each := func(list gjson.Result) {
		list.ForEach(func(_, v gjson.Result) bool {
			of(v)
			return true
		})
	}
	each(root.Get("tools"))
	of(root.Get("tool_choice"))
	each(root.Get("tool_choice.allowed_tools.tools"))
	root.Get("messages").ForEach(func(_, m gjson.Result) bool {
		each(m.Get("tool_calls"))
		return true
	})
}

// toldBack returns a whole answer, or a chunk, with the client's names of the tools that it
// calls; in is the member of a choice that holds the calls.
func toldBack(names *dialect.Names, raw []byte, in string) []byte {
	e := newEditor(raw)
	e.root.Get("choices").ForEach(func(_, choice gjson.Result) bool {
		choice.Get(in + ".tool_calls").ForEach(func(_, call gjson.Result) bool {
			for _, kind := range [...]string{"function", "custom"} {
				of := call.Get(kind)
				if name := of.Get("name").Str; names.Own(name) != name {
					e.set(of, "name", names.Own(name))
				}
			}
			return true
		})
		return true
	})
	return e.bytes()
}

// namedStream tells the client's names back.
type namedStream struct {
	provider.Stream
	names *dialect.Names
}

// Next implements provider.Stream.
func (s *namedStream) Next() (*provider.Chunk, error) {
	c, err := s.Stream.Next()
	if err != nil || !c.ToolCalls {
		return c, err
	}
	told := *c
	told.Raw = toldBack(s.names, c.Raw, "delta")
	return &told, nil
}
