package dialect

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// combiners are the keywords that combine schemas.
var combiners = [...]string{"allOf", "anyOf", "oneOf"}

// maxBranches is how many schemas a keyword combines. It bounds the time that
// references take, which are looked for in the whole document.
const maxBranches = 100

// parameters returns the schema of a tool's parameters: nil without one, and
// otherwise that of an object. path is the schema's place in the body.
func (c *Conversation) parameters(req *provider.Request, v gjson.Result, path string) (json.RawMessage, error) {
	if !v.IsObject() {
		return nil, nil
	}
	schema := v.Raw
	var err error
	switch typ := v.Get("type"); {
	case typ.Str == "object":
	case !isObjectType(typ):
		return nil, provider.Invalid(path+".type", "want object: a function takes named parameters")
	default:
		if schema, err = sjson.Set(schema, "type", "object"); err != nil {
			return nil, fmt.Errorf("editing a tool's parameters: %w", err)
		}
	}
	if c.rules.PlainObjects {
		schema = plainObject(req, schema)
	}
	return json.RawMessage(schema), nil
}

// isObjectType says whether a schema's type allows an object, or is open.
func isObjectType(v gjson.Result) bool {
	if v.IsArray() {
		return slices.ContainsFunc(v.Array(), func(e gjson.Result) bool { return e.Str == "object" })
	}
	return !v.Exists() || v.Type == gjson.Null || strings.EqualFold(v.Str, "object")
}

// plainObject takes the combined schemas at the top of one apart: the object has
// the properties of all of them. Which of them belong together is lost, and the
// request notes it.
func plainObject(req *provider.Request, schema string) string {
	root := gjson.Parse(schema)
	if !slices.ContainsFunc(combiners[:], func(name string) bool { return member(root, name).Exists() }) {
		return schema
	}
	var o plainSchema
	o.merge(root, true)
	for _, combiner := range combiners {
		branches := member(root, combiner)
		if branches.Exists() {
			req.Drop("tools.function.parameters." + combiner)
		}
		all := branches.Array()
		for _, b := range all[:min(len(all), maxBranches)] {
			o.merge(resolved(root, b), combiner == "allOf")
		}
	}
	return o.schema(root)
}

// plainSchema is the schema of an object that is put together.
type plainSchema struct {
	properties []string // with their schemas, as JSON
	required   []string // as JSON
	seen       map[string]bool
	needed     map[string]bool
}

// merge adds the properties of a schema that the object does not have. all says
// that it must also have those which the schema requires.
func (o *plainSchema) merge(v gjson.Result, all bool) {
	if o.seen == nil {
		o.seen, o.needed = make(map[string]bool), make(map[string]bool)
	}
	if properties := member(v, "properties"); properties.IsObject() {
		properties.ForEach(func(k, p gjson.Result) bool {
			if !o.seen[k.Str] {
				o.seen[k.Str] = true
				o.properties = append(o.properties, k.Raw+":"+p.Raw)
			}
			return true
		})
	}
	if required := member(v, "required"); all && required.IsArray() {
		for _, name := range required.Array() {
			if !o.needed[name.Str] {
				o.needed[name.Str] = true
				o.required = append(o.required, name.Raw)
			}
		}
	}
}

// schema writes the object, with the other members of root.
func (o *plainSchema) schema(root gjson.Result) string {
	var members []string
	root.ForEach(func(k, v gjson.Result) bool {
		if name := k.Str; name != "properties" && name != "required" && !slices.Contains(combiners[:], name) {
			members = append(members, k.Raw+":"+v.Raw)
		}
		return true
	})
	members = append(members, `"properties":{`+strings.Join(o.properties, ",")+"}")
	if o.required != nil {
		members = append(members, `"required":[`+strings.Join(o.required, ",")+"]")
	}
	return "{" + strings.Join(members, ",") + "}"
}

// resolved returns the schema that a reference within the document leads to, or
// v itself.
func resolved(root, v gjson.Result) gjson.Result {
	path, ok := strings.CutPrefix(member(v, "$ref").Str, "#/")
	if !ok {
		return v
	}
	for name := range strings.SplitSeq(path, "/") {
		root = member(root, name)
	}
	return root
}

// member returns a member of an object, whatever characters its name has.
func member(o gjson.Result, name string) (found gjson.Result) {
	if !o.IsObject() {
		return gjson.Result{}
	}
	o.ForEach(func(k, v gjson.Result) bool {
		if k.Str == name {
			found = v
		}
		return k.Str != name
	})
	return found
}
