package provider

import "testing"

func TestUsageChecked(t *testing.T) {
	short := Spent{RequestBytes: 100, Input: 25, OutputBytes: 400}
	capped := Spent{RequestBytes: 100, Input: 25, OutputBytes: 400, OutputCap: 1000}
	for _, test := range []struct {
		name  string
		in    Usage
		spent Spent
		want  Usage
		ok    bool
	}{
		{"a sensible one", Usage{Input: 20, Output: 90, Cached: 5, Reasoning: 10}, short, Usage{Input: 20, Output: 90, Cached: 5, Reasoning: 10}, true},
		{"none of an answer that has text", Usage{}, short, Usage{Input: 25, Output: 100, Estimated: true}, false},
		{"no output although there is text", Usage{Input: 20}, short, Usage{Input: 20, Output: 100, Estimated: true}, false},
		{"no input", Usage{Output: 90}, short, Usage{Input: 25, Output: 90, Estimated: true}, false},
		{"no output before there is any", Usage{Input: 20}, Spent{RequestBytes: 100, Input: 25}, Usage{Input: 20}, true},
		{"hidden reasoning", Usage{Input: 20, Output: 64_000, Reasoning: 63_900}, short, Usage{Input: 20, Output: 64_000, Reasoning: 63_900}, true},
		{"files behind URLs", Usage{Input: 900_000, Output: 90}, short, Usage{Input: 900_000, Output: 90}, true},
		{"absurd output", Usage{Input: 20, Output: 1 << 40, Reasoning: 1 << 39}, short, Usage{Input: 20, Output: 100, Reasoning: 100, Estimated: true}, false},
		{"absurd input", Usage{Input: 1 << 40, Output: 90, Cached: 1 << 39}, short, Usage{Input: 25, Output: 90, Cached: 25, Estimated: true}, false},
		{"beyond the request's cap", Usage{Input: 20, Output: 1_500_000}, capped, Usage{Input: 20, Output: 100, Estimated: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := test.in.Checked(test.spent)
			if got != test.want || ok != test.ok {
				t.Errorf("%+v, %v; want %+v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}
