package dialect

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// constraints are the JSON schema keywords that Claude's servers refuse in the
// schemas they enforce.
var constraints = []string{
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"minLength", "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems",
	"contains", "minContains", "maxContains", "prefixItems", "minProperties", "maxProperties",
	"patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
	"not", "if", "then", "else",
}

// formats are the string formats that they enforce.
var formats = []string{
	"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
}

// Narrow turns a schema into one that Claude's servers enforce: objects list all
// their members, and unsupported constraints become words in the description,
// which the request notes as dropped. path is the schema's place in the body. ok
// is false if that would leave an object without any members.
func Narrow(req *provider.Request, schema json.RawMessage, path string) (narrowed json.RawMessage, ok bool) {
	n := narrower{ok: true}
	n.schema(gjson.ParseBytes(schema))
	if !n.ok {
		return nil, false
	}
	for _, name := range n.dropped {
		req.Drop(path + "." + name)
	}
	return json.RawMessage(n.out.String()), true
}

type narrower struct {
	out     strings.Builder
	dropped []string
	ok      bool
}

// schema writes one schema: an object, true or false.
func (n *narrower) schema(v gjson.Result) {
	if !v.IsObject() {
		n.out.WriteString(v.Raw)
		return
	}
	begun := false
	name := func(k string) {
		if begun {
			n.out.WriteByte(',')
		}
		begun = true
		n.out.WriteString(strconv.Quote(k) + ":")
	}
	var description string
	var words []string
	n.out.WriteByte('{')
	v.ForEach(func(k, e gjson.Result) bool {
		switch key := k.Str; key {
		case "type", "enum", "const", "$ref", "title", "default", "required":
			name(key)
			n.out.WriteString(e.Raw)
		case "description":
			description = e.Str
		case "properties", "$defs", "definitions":
			name(key)
			n.members(e)
		case "items":
			name(key)
			n.schema(e)
		case "anyOf", "allOf":
			name(key)
			n.list(e)
		case "oneOf":
			name("anyOf")
			n.list(e)
		case "additionalProperties": // see below
		default:
			switch {
			case key == "format" && slices.Contains(formats, e.Str),
				key == "minItems" && (e.Num == 0 || e.Num == 1):
				name(key)
				n.out.WriteString(e.Raw)
			case slices.Contains(constraints, key):
				words = append(words, key+": "+e.Raw)
				if !slices.Contains(n.dropped, key) {
					n.dropped = append(n.dropped, key)
				}
			}
		}
		return true
	})
	if len(words) > 0 {
		description = strings.TrimSpace(description + " (" + strings.Join(words, ", ") + ")")
	}
	if description != "" {
		name("description")
		text, _ := json.Marshal(description)
		n.out.Write(text)
	}
	more, named := v.Get("additionalProperties"), v.Get("properties").Exists()
	if v.Get("type").Str == "object" || named {
		if more.IsObject() || !named && more.Type != gjson.False {
			n.ok = false
		}
		name("additionalProperties")
		n.out.WriteString("false")
	}
	n.out.WriteByte('}')
}

// members writes an object of schemas.
func (n *narrower) members(v gjson.Result) {
	n.out.WriteByte('{')
	first := true
	v.ForEach(func(k, e gjson.Result) bool {
		if !first {
			n.out.WriteByte(',')
		}
		first = false
		n.out.WriteString(k.Raw + ":")
		n.schema(e)
		return true
	})
	n.out.WriteByte('}')
}

// list writes a list of schemas.
func (n *narrower) list(v gjson.Result) {
	n.out.WriteByte('[')
	for i, e := range v.Array() {
		if i > 0 {
			n.out.WriteByte(',')
		}
		n.schema(e)
	}
	n.out.WriteByte(']')
}
