package route

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/price"
)

var aliases = []Alias{
	{Name: "fast", Targets: to("openai/gpt-4o-mini"), Price: &price.Price{Input: 0.15, Output: 0.60}},
	{Name: "smart", Targets: to("local/meta/llama3.3")},
}

// to makes targets of "<provider>/<model> [<weight>]".
func to(list ...string) []Weighted {
	var targets []Weighted
	for _, s := range list {
		t, err := ParseWeighted(s)
		if err != nil {
			panic(err)
		}
		targets = append(targets, t)
	}
	return targets
}

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]Target{
		"openai/gpt-4o": {"openai", "gpt-4o"},
		"local/meta/l3": {"local", "meta/l3"},
		"gpt-4o":        {},
		"/gpt-4o":       {},
		"openai/":       {},
		"":              {},
	} {
		got, err := parseTarget(in)
		if got != want || (err == nil) != (want != Target{}) {
			t.Errorf("parseTarget(%q) = %v, %v", in, got, err)
		}
	}
}

func TestResolve(t *testing.T) {
	providers := []string{"local", "openai"}
	for _, tt := range []struct {
		name        string
		aliases     []Alias
		providers   []string
		passthrough []string
		model       string
		allow       []string // empty for all
		target      Target
		label       string
		err         error
	}{
		{"alias", aliases, providers, nil, "fast", nil, Target{"openai", "gpt-4o-mini"}, "fast", nil},
		{"a model with slashes", aliases, providers, nil, "smart", nil, Target{"local", "meta/llama3.3"}, "smart", nil},
		{"aliases are exact", aliases, providers, nil, "Fast", nil, Target{}, "", errUnknown},
		{"none named", aliases, providers, nil, "", nil, Target{}, "", ErrNone},
		{"without passthrough", aliases, providers, nil, "openai/gpt-4.1", nil, Target{}, "", errUnknown},
		{"passthrough of one", aliases, providers, []string{"openai"}, "openai/gpt-4.1", nil, Target{"openai", "gpt-4.1"}, Passthrough, nil},
		{"passthrough of the other", aliases, providers, []string{"openai"}, "local/x", nil, Target{}, "", errUnknown},
		{"passthrough of all", aliases, providers, []string{AllProviders}, "local/a/b", nil, Target{"local", "a/b"}, Passthrough, nil},
		{"passthrough to an unknown provider", aliases, providers, []string{AllProviders}, "nobody/x", nil, Target{}, "", errUnknown},
		{"an alias wins over passthrough", []Alias{{Name: "openai/x", Targets: to("local/y")}}, providers, []string{AllProviders}, "openai/x", nil, Target{"local", "y"}, "openai/x", nil},
		{"a single provider's own names", nil, []string{"openai"}, nil, "gpt-4.1", nil, Target{"openai", "gpt-4.1"}, Passthrough, nil},
		{"a single provider beside an alias", aliases[:1], []string{"openai"}, nil, "gpt-4.1", nil, Target{}, "", errUnknown},
		{"on the list", aliases, providers, nil, "fast", []string{"fast"}, Target{"openai", "gpt-4o-mini"}, "fast", nil},
		{"off the list", aliases, providers, nil, "smart", []string{"fast"}, Target{}, "", ErrNotAllowed},
		{"off the list and unknown tells nothing more", aliases, providers, nil, "nosuch", []string{"fast"}, Target{}, "", ErrNotAllowed},
		{"the target's name is no way around the list", aliases, providers, []string{AllProviders}, "openai/gpt-4o-mini", []string{"fast"}, Target{}, "", ErrNotAllowed},
		{"passthrough on the list", aliases, providers, []string{AllProviders}, "openai/o3", []string{"openai/o3"}, Target{"openai", "o3"}, Passthrough, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table, err := NewTable(tt.aliases, tt.providers, tt.passthrough, "", Circuit{})
			if err != nil {
				t.Fatal(err)
			}
			c, err := table.Resolve(tt.model, mayUse(tt.allow))
			if !errors.Is(err, tt.err) || c.Primary != tt.target || c.Label != tt.label {
				t.Errorf("got %+v, %v", c, err)
			}
			if err == nil && c.Name != tt.model {
				t.Errorf("it is called %q", c.Name)
			}
		})
	}
}

func mayUse(list []string) func(string) bool {
	return func(m string) bool { return len(list) == 0 || slices.Contains(list, m) }
}

func TestNewTable(t *testing.T) {
	for _, tt := range []struct {
		name        string
		aliases     []Alias
		providers   []string
		passthrough []string
		want        string // of the error
	}{
		{"one name twice", append(aliases[:1:1], aliases[0]), []string{"openai"}, nil, "fast: defined twice"},
		{"a target nowhere", aliases, []string{"openai"}, nil, "smart: no provider is named local"},
		{"a passthrough nowhere", aliases[:1], []string{"openai"}, []string{"local"}, "passthrough: no provider is named local"},
		{"several providers and no model", nil, []string{"a", "b"}, nil, "add model blocks or passthrough"},
		{"no target", []Alias{{Name: "a"}}, []string{"openai"}, nil, "model a: want at least one target"},
		{"one target twice", []Alias{{Name: "a", Targets: to("openai/x", "openai/x 2")}}, []string{"openai"}, nil, "model a: target openai/x: listed twice"},
		{"a provider with a slash", aliases[:1], []string{"openai", "a/b"}, nil, `provider "a/b": want a name without slashes`},
		{"a provider with a space", aliases[:1], []string{"openai", "a b"}, nil, `provider "a b": want a name`},
		{"a provider that is all of them", aliases[:1], []string{"openai", AllProviders}, nil, `provider "*": want a name`},
		{"a provider without a name", aliases[:1], []string{"openai", ""}, nil, `provider "": want a name`},
		{"a reserved alias", []Alias{{Name: Passthrough, Targets: to("openai/x")}}, []string{"openai"}, nil, "model passthrough: the name stands for models without one"},
		{"an unknown policy", []Alias{{Name: "a", Targets: to("openai/x"), Policy: "best"}}, []string{"openai"}, nil, `lb_policy "best": want one of first,`},
	} {
		_, err := NewTable(tt.aliases, tt.providers, tt.passthrough, "", Circuit{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestDefault(t *testing.T) {
	for named, want := range map[string]string{"": "fast", "smart": "smart"} {
		table, err := NewTable(aliases, []string{"local", "openai"}, nil, named, Circuit{})
		if err != nil || table.Default() != want {
			t.Errorf("default %q is %q, %v", named, table.Default(), err)
		}
	}
	table, err := NewTable(aliases, []string{"local", "openai"}, nil, "nosuch", Circuit{})
	if err != nil || !errors.Is(table.Check("nosuch"), errUnknown) || table.Check("") != nil || table.Check("smart") != nil {
		t.Errorf("Check finds %v and %v", table.Check("nosuch"), table.Check("smart"))
	}
}

func TestList(t *testing.T) {
	table, err := NewTable(aliases, []string{"local", "openai"}, []string{"openai"}, "", Circuit{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		named, allow, want []string
	}{
		{nil, nil, []string{"fast", "smart"}},
		{nil, []string{"smart"}, []string{"smart"}},
		{[]string{"openai/o3", "smart", "nosuch", "local/x", ""}, nil, []string{"fast", "smart", "openai/o3"}},
		{[]string{"openai/o3"}, []string{"openai/o3"}, []string{"openai/o3"}},
	} {
		var got []string
		for _, c := range table.List(tt.named, mayUse(tt.allow)) {
			got = append(got, c.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("List(%q) of %q is %q, want %q", tt.named, tt.allow, got, tt.want)
		}
	}
}
