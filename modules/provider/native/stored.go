package native

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// RefuseStored refuses a request for what its provider keeps for the owner of a key: files,
// vector stores, skills and containers. The gateway's key is that of all tenants, and one
// could read what belongs to another. A tenant with a key of its own may ask for anything.
func RefuseStored(preq *provider.Request, body []byte) error {
	if preq.APIKey != "" || !mayBeStored(body) {
		return nil
	}
	root, at := gjson.ParseBytes(body), ""
	root.ForEach(func(name, v gjson.Result) bool {
		if !slices.Contains(places, name.Str) {
			return true
		}
		found, skip := isStored(name.Str, v, root)
		switch {
		case found:
			at = name.Str
		case !skip:
			at = Find(v, name.Str, isStored)
		}
		return at == ""
	})
	if at == "" {
		return nil
	}
	return provider.Unsupported(at, "what is stored for the provider's key is of use only to tenants with a key of their own: want its contents in the request")
}

// places are the members of a request that may refer to something stored.
var places = []string{"messages", "input", "tools", "container", "images", "mask"}

// mayBeStored saves most requests the search. An escape may hide a name.
func mayBeStored(body []byte) bool {
	for _, part := range [...]string{"file_id", "_store_ids", "skill_id", "container", `\u`} {
		if bytes.Contains(body, []byte(part)) {
			return true
		}
	}
	return false
}

// isStored finds what refers to something stored. Schemas, and what a tool was called with,
// have names of their own, and what an answer has cited is not read again.
func isStored(name string, v, parent gjson.Result) (found, skip bool) {
	switch name {
	case "file_id", "file_ids", "vector_store_ids":
		return v.Type != gjson.Null, false
	case "skill_id":
		return v.Type != gjson.Null && parent.Get("type").Str != "anthropic", false
	case "container_id":
		// a server that keeps nothing ignores where code has run
		return v.Type != gjson.Null && parent.Get("type").Str != "code_interpreter_call", false
	case "container":
		return v.Type == gjson.String || v.Get("id").Type == gjson.String, false
	case "parameters", "schema", "input_schema", "annotations", "citations":
		return false, true
	case "input":
		return false, strings.HasSuffix(parent.Get("type").Str, "tool_use")
	}
	return false, false
}
