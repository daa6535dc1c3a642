package route

import (
	"slices"
	"testing"
	"time"
)

// TestFallbackOutsideTheList: a model that a tenant may not use is not a
// fallback of one that it may use.
func TestFallbackOutsideTheList(t *testing.T) {
	table, err := NewTable([]Alias{
		{Name: "fast", Targets: to("a/mini", "b/large", "c/other")},
		{Name: "smart", Targets: to("b/large", "a/mini")},
		{Name: "twin", Targets: to("b/large")},
	}, []string{"a", "b", "c"}, nil, "", Circuit{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		model string
		allow []string
		want  []string
	}{
		{"fast", nil, []string{"a/mini", "b/large", "c/other"}},
		{"fast", []string{"fast"}, []string{"a/mini", "c/other"}},
		{"fast", []string{"fast", "smart"}, []string{"a/mini", "b/large", "c/other"}},
		{"fast", []string{"fast", "twin"}, []string{"a/mini", "b/large", "c/other"}},
		{"fast", []string{"fast", "b/large"}, []string{"a/mini", "b/large", "c/other"}},
		{"smart", []string{"smart"}, []string{"b/large"}},
	} {
		c, err := table.Resolve(tt.model, mayUse(tt.allow))
		if err != nil {
			t.Fatal(err)
		}
		if got := names(c.Order(time.Now())); !slices.Equal(got, tt.want) {
			t.Errorf("%s for %q goes to %q, want %q", tt.model, tt.allow, got, tt.want)
		}
		fallback, ok := c.Fallback()
		if ok != (len(tt.want) > 1) || ok && fallback.String() != tt.want[1] {
			t.Errorf("%s for %q falls back to %v", tt.model, tt.allow, fallback)
		}
	}
}

func names(hops []Hop) []string {
	var list []string
	for _, h := range hops {
		list = append(list, h.Target.String())
	}
	return list
}
