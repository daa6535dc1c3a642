package messages

import (
	"slices"

	"github.com/tidwall/gjson"
)

// strictKeywords are the keywords of JSON schemas that OpenAI enforces in its strict mode, and
// strictFormats the formats of strings. It refuses all others.
var (
	strictKeywords = []string{
		"$schema", "$ref", "$defs", "definitions", "type", "title", "description", "enum", "const", "anyOf",
		"properties", "required", "additionalProperties", "items", "minItems", "maxItems",
		"pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
	}
	strictFormats = []string{"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)

// isStrict reports whether OpenAI takes the schema of an answer, or of a tool's input, in its
// strict mode. Anthropic's own mode takes more, such as optional properties.
func isStrict(schema gjson.Result) bool {
	return schema.Get("type").Str == "object" && !schema.Get("anyOf").Exists() && isStrictPart(schema)
}

func isStrictPart(schema gjson.Result) bool {
	if !schema.IsObject() {
		return false
	}
	strict, said := true, false // it says what it allows
	schema.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "type", "$ref", "enum", "const":
			said = true
		case "anyOf":
			said = true
			strict = areStrict(v)
		case "properties", "$defs", "definitions":
			strict = v.IsObject() && areStrict(v)
		case "items":
			strict = isStrictPart(v)
		case "format":
			strict = slices.Contains(strictFormats, v.Str)
		default:
			strict = slices.Contains(strictKeywords, k.Str)
		}
		return strict
	})
	return strict && said && requiresAll(schema)
}

// areStrict looks at all elements of a list, or values of an object.
func areStrict(schemas gjson.Result) bool {
	strict := true
	schemas.ForEach(func(_, v gjson.Result) bool {
		strict = isStrictPart(v)
		return strict
	})
	return strict
}

// requiresAll reports whether an object must have all of its properties and no others.
func requiresAll(schema gjson.Result) bool {
	properties := schema.Get("properties")
	isObject := schema.Get("type").Str == "object" || schema.Get(`type.#(=="object")`).Exists()
	if !isObject && !properties.Exists() {
		return true
	}
	required := make(map[string]bool)
	for _, name := range schema.Get("required").Array() {
		required[name.Str] = true
	}
	all := schema.Get("additionalProperties").Type == gjson.False
	properties.ForEach(func(k, _ gjson.Result) bool {
		all = all && required[k.Str]
		return all
	})
	return all
}
