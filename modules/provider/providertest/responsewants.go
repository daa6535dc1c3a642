package providertest

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// want checks a value of a request to OpenAI's Responses. at is its place, as in
// input[0].content. It returns nil if OpenAI takes the value, else its refusal.
type want func(at string, v gjson.Result) *Refused

// shape is what the members of an object have to be. A name with a ! is required.
type shape map[string]want

// and returns a shape with more members.
func (s shape) and(more shape) shape {
	all := make(shape, len(s)+len(more))
	maps.Copy(all, s)
	maps.Copy(all, more)
	return all
}

// anObject wants an object with these members and no others.
func anObject(s shape) want {
	return func(at string, v gjson.Result) *Refused {
		if !v.IsObject() {
			return wrongType(at, "an object", v)
		}
		var refused *Refused
		v.ForEach(func(name, value gjson.Result) bool {
			w, known := s[name.Str]
			if !known {
				w, known = s[name.Str+"!"]
			}
			place := within(at, name.Str)
			if !known {
				refused = refuse("unknown_parameter", place, "Unknown parameter: '%s'.", place)
				return false
			}
			refused = w(place, value)
			return refused == nil
		})
		if refused != nil {
			return refused
		}
		for _, name := range slices.Sorted(maps.Keys(s)) {
			if required, ok := strings.CutSuffix(name, "!"); ok && !v.Get(required).Exists() {
				return missing(within(at, required))
			}
		}
		return nil
	}
}

func within(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func missing(at string) *Refused {
	return refuse("missing_required_parameter", at, "Missing required parameter: '%s'.", at)
}

// byType wants an object whose type says what else it has.
func byType(types map[string]want) want {
	return func(at string, v gjson.Result) *Refused {
		if !v.IsObject() {
			return wrongType(at, "an object", v)
		}
		typ := v.Get("type")
		if !typ.Exists() {
			return missing(within(at, "type"))
		}
		if w, ok := types[typ.Str]; ok {
			return w(at, v)
		}
		return wrongValue(at, typ.Str, slices.Sorted(maps.Keys(types)))
	}
}

// typed returns an object's shape with the member by which it was chosen.
func typed(s shape) want { return anObject(s.and(shape{"type": anything})) }

// aList wants an array of at least and at most so many elements.
func aList(least, most int, element want) want {
	return func(at string, v gjson.Result) *Refused {
		if !v.IsArray() {
			return wrongType(at, "an array", v)
		}
		elements := v.Array()
		switch n := len(elements); {
		case n < least:
			return refuse("empty_array", at, "Invalid '%s': empty array. Expected an array with minimum length %d, but got an empty array instead.", at, least)
		case n > most:
			return refuse("array_above_max_length", at, "Invalid '%s': array too long. Expected an array with maximum length %d, but got an array with length %d instead.", at, most, n)
		}
		for i, e := range elements {
			if refused := element(fmt.Sprintf("%s[%d]", at, i), e); refused != nil {
				return refused
			}
		}
		return nil
	}
}

// many is more than any array has.
const many = math.MaxInt

func listOf(element want) want { return aList(0, many, element) }

// aText wants a string of at most so many characters.
func aText(most int) want {
	return func(at string, v gjson.Result) *Refused {
		if v.Type != gjson.String {
			return wrongType(at, "a string", v)
		}
		if n := utf8.RuneCountInString(v.Str); n > most {
			return refuse("string_above_max_length", at, "Invalid '%s': string too long. Expected a string with maximum length %d, but got a string with length %d instead.", at, most, n)
		}
		return nil
	}
}

var anyText = aText(10 << 20)

// matching wants a string that a pattern matches.
func matching(most int, pattern string) want {
	re := regexp.MustCompile(pattern)
	return func(at string, v gjson.Result) *Refused {
		if refused := aText(most)(at, v); refused != nil {
			return refused
		}
		if !re.MatchString(v.Str) {
			return refuse("invalid_value", at, "Invalid '%s': string does not match pattern. Expected a string that matches the pattern '%s'.", at, pattern)
		}
		return nil
	}
}

var toolName = matching(64, `^[a-zA-Z0-9_-]+$`)

// identity wants the id of an item, whose kind is in front.
func identity(prefix string) want {
	return func(at string, v gjson.Result) *Refused {
		if refused := aText(64)(at, v); refused != nil {
			return refused
		}
		if !idCharacters.MatchString(v.Str) {
			return refuse("invalid_value", at, "Invalid '%s': '%s'. Expected an ID that contains letters, numbers, underscores, or dashes, but this value contained additional characters.", at, v.Str)
		}
		if !strings.HasPrefix(v.Str, prefix) {
			return refuse("invalid_id_prefix", at, "Invalid '%s': '%s'. Expected an ID that begins with '%s'.", at, v.Str, prefix)
		}
		return nil
	}
}

var idCharacters = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// oneOf wants one of these strings.
func oneOf(values ...string) want {
	return func(at string, v gjson.Result) *Refused {
		if v.Type != gjson.String {
			return wrongType(at, "a string", v)
		}
		if slices.Contains(values, v.Str) {
			return nil
		}
		return wrongValue(at, v.Str, values)
	}
}

// aNumber wants a number in a range, and anInteger a whole one.
func aNumber(least, most float64) want {
	return func(at string, v gjson.Result) *Refused {
		if v.Type != gjson.Number {
			return wrongType(at, "a decimal", v)
		}
		return inRange("decimal", at, v, least, most)
	}
}

func anInteger(least, most float64) want {
	return func(at string, v gjson.Result) *Refused {
		if v.Type != gjson.Number || v.Num != math.Trunc(v.Num) {
			return wrongType(at, "an integer", v)
		}
		return inRange("integer", at, v, least, most)
	}
}

func inRange(kind, at string, v gjson.Result, least, most float64) *Refused {
	switch {
	case v.Num < least:
		return refuse(kind+"_below_min_value", at, "Invalid '%s': %s below minimum value. Expected a value >= %v, but got %s instead.", at, kind, least, v.Raw)
	case v.Num > most:
		return refuse(kind+"_above_max_value", at, "Invalid '%s': %s above maximum value. Expected a value <= %v, but got %s instead.", at, kind, most, v.Raw)
	}
	return nil
}

func aBoolean(at string, v gjson.Result) *Refused {
	if !v.IsBool() {
		return wrongType(at, "a boolean", v)
	}
	return nil
}

func anyObject(at string, v gjson.Result) *Refused {
	if !v.IsObject() {
		return wrongType(at, "an object", v)
	}
	return nil
}

func anything(string, gjson.Result) *Refused { return nil }

// orNull wants a value or null.
func orNull(w want) want {
	return func(at string, v gjson.Result) *Refused {
		if v.Type == gjson.Null {
			return nil
		}
		return w(at, v)
	}
}

// textOr wants a string or what else stands in its place.
func textOr(otherwise want) want {
	return func(at string, v gjson.Result) *Refused {
		if v.Type == gjson.String {
			return nil
		}
		return otherwise(at, v)
	}
}

func wrongType(at, expected string, v gjson.Result) *Refused {
	got := map[gjson.Type]string{gjson.Null: "null", gjson.False: "a boolean", gjson.True: "a boolean", gjson.Number: "a number", gjson.String: "a string", gjson.JSON: "an object"}[v.Type]
	if v.IsArray() {
		got = "an array"
	}
	return refuse("invalid_type", at, "Invalid type for '%s': expected %s, but got %s instead.", at, expected, got)
}

func wrongValue(at, got string, values []string) *Refused {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = "'" + v + "'"
	}
	supported := quoted[0]
	if last := len(quoted) - 1; last > 0 {
		supported = strings.Join(quoted[:last], ", ") + " and " + quoted[last]
	}
	return refuse("invalid_value", at, "Invalid value: '%s'. Supported values are: %s.", got, supported)
}
