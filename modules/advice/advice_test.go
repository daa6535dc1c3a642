package advice

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"header", "host", "api_key", "jwt"}
	for name, want := range map[string]string{
		"jtw":                             "jwt",
		"JWT":                             "jwt",
		"jwks":                            "jwt",
		"apikey":                          "api_key",
		"api-key":                         "api_key",
		"heder":                           "header",
		"hots":                            "host",
		"cookie":                          "",
		"":                                "",
		"x":                               "",
		"é":                               "",
		strings.Repeat("jwt", 1000):       "",
		"header" + strings.Repeat(" ", 9): "",
	} {
		if want != "" {
			want = " (did you mean " + want + "?)"
		}
		if got := Nearest(name, known...); got != want {
			t.Errorf("%.20q: got %q, want %q", name, got, want)
		}
	}
	if got := Nearest("jwt"); got != "" {
		t.Errorf("without known names: got %q", got)
	}
}

// FuzzDistance checks that the distance is one: symmetric, zero for the same text
// alone, and no more than the length of the longer one.
func FuzzDistance(f *testing.F) {
	f.Add("jwt", "jtw")
	f.Add("", "redis")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a) > 50 || len(b) > 50 {
			return
		}
		n := distance(a, b)
		if n != distance(b, a) || (n == 0) != (a == b) || n > max(len(a), len(b)) {
			t.Errorf("%q and %q: %d", a, b, n)
		}
	})
}

func TestFromEnvironment(t *testing.T) {
	t.Setenv("ADVICE_SET", "abc")
	t.Setenv("ADVICE_EMPTY", "")
	t.Setenv("ADVICE_BRACE", "{a")
	for value, want := range map[string]string{
		"plain":                                  "plain",
		"{env.ADVICE_SET}":                       "abc",
		"a-{env.ADVICE_SET}{env.ADVICE_SET}":     "a-abcabc",
		"{env.ADVICE_EMPTY}":                     "",
		"{env.ADVICE_SET}{env.ADVICE_NOT_THERE}": "",
		"{env.ADVICE_BRACE}":                     "{a",
		"{file./etc/key}":                        "",
	} {
		if got, known := fromEnvironment(value); known != (want != "") || (known && got != want) {
			t.Errorf("%s: got %q, %t", value, got, known)
		}
	}
}
