package dialect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestParameters(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		dropped        []string
	}{
		{"none", `null`, ``, nil},
		{"a list, as PHP writes an empty object", `[]`, ``, nil},
		{"an object", `{"$schema":"s","type":"object","properties":{"a":{"const":1}},"additionalProperties":false}`, `{"$schema":"s","type":"object","properties":{"a":{"const":1}},"additionalProperties":false}`, nil},
		{"without a type", `{"properties":{}}`, `{"properties":{},"type":"object"}`, nil},
		{"nothing in it", `{}`, `{"type":"object"}`, nil},
		{"a type of null", `{"type":null}`, `{"type":"object"}`, nil},
		{"a list of types", `{"type":["object","null"],"properties":{}}`, `{"type":"object","properties":{}}`, nil},
		{"a type in upper case", `{"type":"OBJECT"}`, `{"type":"object"}`, nil},
		{
			"one of two", `{"type":"object","properties":{"a.b":{"type":"string"}},"required":["a.b"],"oneOf":[{"properties":{"a.b":{"const":"x"},"1":{}},"required":["1"]},{"$ref":"#/$defs/c|d"}],"$defs":{"c|d":{"properties":{"e":true}}}}`,
			`{"type":"object","$defs":{"c|d":{"properties":{"e":true}}},"properties":{"a.b":{"type":"string"},"1":{},"e":true},"required":["a.b"]}`,
			[]string{"tools.function.parameters.oneOf"},
		},
		{
			"all of them", `{"allOf":[{"properties":{"a":{}},"required":["a"]},{"properties":{"b":{}},"required":["a","b"]},7]}`,
			`{"type":"object","properties":{"a":{},"b":{}},"required":["a","b"]}`,
			[]string{"tools.function.parameters.allOf"},
		},
		{"combined below the top", `{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]}}}`, `{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]}}}`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &provider.Request{Body: []byte(`{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":` + tc.in + `}}]}`)}
			c, err := Parse(req, Rules{Members: []string{"tools"}, PlainObjects: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(c.Tools[0].Parameters); got != tc.want || !slices.Equal(req.Dropped, tc.dropped) {
				t.Errorf("dropped %q\n got %s\nwant %s", req.Dropped, got, tc.want)
			}
		})
	}
	for _, typ := range []string{`"string"`, `["string","null"]`, `7`} {
		req := &provider.Request{Body: []byte(`{"messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":` + typ + `}}}]}`)}
		_, err := Parse(req, Rules{Members: []string{"tools"}})
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Param != "tools.0.function.parameters.type" || e.Reason != provider.ReasonInvalid {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// TestOneNameTwice: providers refuse two tools with one name.
func TestOneNameTwice(t *testing.T) {
	const f, other = `{"type":"function","function":{"name":"f"}}`, `{"type":"function","function":{"name":"f","description":"d"}}`
	for in, dropped := range map[string][]string{f + "," + f: nil, f + "," + other: {"tools"}} {
		req := &provider.Request{Body: []byte(`{"messages":[],"tools":[` + in + `]}`)}
		c, err := Parse(req, Rules{Members: []string{"tools"}})
		if err != nil || len(c.Tools) != 1 || !slices.Equal(req.Dropped, dropped) {
			t.Errorf("%s: %+v, dropped %q, %v", in, c, req.Dropped, err)
		}
	}
}

// TestChoiceWithoutTools: what has to be called must be there.
func TestChoiceWithoutTools(t *testing.T) {
	for choice, want := range map[string]bool{`"required"`: true, `{"type":"function","function":{"name":"f"}}`: true, `"auto"`: false, `"none"`: false} {
		_, err := Parse(&provider.Request{Body: []byte(`{"messages":[],"tools":[],"tool_choice":` + choice + `}`)}, Rules{Members: []string{"tools", "tool_choice"}})
		e, ok := errors.AsType[*provider.Error](err)
		if ok != want || ok && e.Param != "tool_choice" {
			t.Errorf("%s: %v", choice, err)
		}
	}
}

// TestManyBranches: the time is in proportion to the size.
func TestManyBranches(t *testing.T) {
	var branches, names []string
	for i := range 20_000 {
		branches = append(branches, fmt.Sprintf(`{"$ref":"#/$defs/d%d"}`, i))
		names = append(names, fmt.Sprintf(`"n%d"`, i))
	}
	schema := `{"type":"object","required":[` + strings.Join(names, ",") + `],"allOf":[` + strings.Join(branches, ",") + `],"$defs":{}}`
	req := &provider.Request{Body: []byte(`{"messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":` + schema + `}}]}`)}
	c, err := Parse(req, Rules{Members: []string{"tools"}, PlainObjects: true})
	if err != nil || len(gjson.GetBytes(c.Tools[0].Parameters, "required").Array()) != 20_000 {
		t.Errorf("%v", err)
	}
}
