package tenant

import (
	"strings"
	"testing"
)

func TestOrigins(t *testing.T) {
	for _, tt := range []struct {
		list   string
		origin string
		names  bool
	}{
		{"https://app.example.com", "https://app.example.com", true},
		{"HTTPS://App.Example.COM", "https://app.example.com", true},
		{"https://app.example.com", "https://APP.example.com", true},
		{"https://app.example.com:443", "https://app.example.com", true},
		{"http://app.example.com", "http://app.example.com:80", true},
		{"https://app.example.com", "http://app.example.com", false},
		{"http://app.example.com:443", "https://app.example.com", false},
		{"https://app.example.com", "https://app.example.com:8443", false},
		{"https://app.example.com:8443", "https://app.example.com", false},
		{"https://app.example.com", "https://app.example.com.", false},
		{"https://app.example.com", "https://app.example.com.evil.test", false},
		{"https://app.example.com", "https://evil.test/https://app.example.com", false},
		{"https://app.example.com", "https://evilapp.example.com", false},
		{"https://app.example.com", "https://app.example.com@evil.test", false},
		{"https://app.example.com", "https://app.example.com https://evil.test", false},
		{"https://app.example.com", "app.example.com", false},
		{"https://app.example.com", "", false},
		{"https://app.example.com", "null", false},
		{"https://*.example.com", "https://app.example.com", true},
		{"https://*.example.com", "https://App.example.com", true},
		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://.example.com", false},
		{"https://*.example.com", "https://a.b.example.com", false},
		{"https://*.example.com", "https://*.example.com", false},
		{"https://*.example.com", "http://app.example.com", false},
		{"https://*.example.com", "https://app.example.com:8443", false},
		{"https://*.example.com", "https://evilexample.com", false},
		{"https://*.example.com:8443", "https://app.example.com:8443", true},
		{"https://a.test https://b.test", "https://b.test", true},
		{"http://localhost:3000", "http://localhost:3000", true},
		{"http://localhost:3000", "http://localhost:30001", false},
		{"http://127.0.0.1:3000", "http://127.0.0.1:3000", true},
		{"http://[::1]:3000", "http://[0:0::1]:3000", true},
		{"http://[::1]", "http://[::1]:80", true},
		{"http://[::1]", "http://[::2]", false},
		{"capacitor://localhost", "capacitor://localhost", true},
		{"chrome-extension://abcdef", "chrome-extension://abcdef", true},
		{"*", "https://app.example.com", false}, // a * names none
	} {
		l, err := ParseOrigins(strings.Fields(tt.list))
		if err != nil {
			t.Errorf("%s: %v", tt.list, err)
			continue
		}
		o, ok := ParseOrigin(tt.origin)
		if got := ok && l.Names(o); got != tt.names {
			t.Errorf("%s names %s: %t", tt.list, tt.origin, got)
		}
	}
}

func TestParseOriginsRefuses(t *testing.T) {
	for _, s := range []string{
		"", "null", "NULL", "app.example.com", "//app.example.com", "://app.example.com", "1http://a.test", "ht tp://a.test",
		"https://", "https://*", "https://*.", "https://*.*.test", "https://a.*.test", "https://a*.test", "https://.test", "https://a..test",
		"https://a.test/", "https://a.test/chat", "https://a.test?x", "https://a.test#x", "https://ann@a.test", "https://a.test:", "https://a.test:0",
		"https://a.test:65536", "https://a.test:+1", "https://a.test:*", "https://[::1", "https://::1", "https://[::1%25lo]", "https://[127.0.0.1]",
		"https://bücher.test", "https://{env.HOST}", "https://a.test,https://b.test", "https://" + strings.Repeat("a", 300),
	} {
		if l, err := ParseOrigins([]string{s}); err == nil {
			t.Errorf("%q is taken: %+v", s, l)
		}
	}
}

func TestAllOrigins(t *testing.T) {
	of := func(list ...string) Origins {
		l, err := ParseOrigins(list)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	g, err := NewRegistry([]*Tenant{{ID: "a", Origins: of("https://a.test")}, {ID: "b"}, {ID: "c", Origins: of("https://*.c.test")}})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{"https://a.test": true, "https://x.c.test": true, "https://b.test": false} {
		if o, _ := ParseOrigin(origin); g.Origins().Names(o) != want {
			t.Errorf("%s: %t", origin, !want)
		}
	}
	if g.Origins().Any() || g.Origins().Empty() {
		t.Errorf("got %+v", g.Origins())
	}
	if a := g.ByID("a").Origins; len(a.named) != 1 {
		t.Errorf("the list of one tenant became %+v", a)
	}
}

// FuzzOrigin checks that an origin that a list names is spelt out in it, but for
// case and the default port.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://app.example.com", "https://*.example.com", "http://[::1]:80", "null", "https://a.test:0443"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, configured, sent string) {
		l, err := ParseOrigins([]string{configured})
		o, ok := ParseOrigin(sent)
		if err != nil || !ok || !l.Names(o) {
			return
		}
		again, _ := splitOrigin(configured)
		host := strings.TrimPrefix(again.host, "*")
		_, rest, _ := strings.Cut(sent, "://")
		if again.scheme != o.scheme || again.port != o.port || !strings.HasSuffix(o.host, host) || strings.ContainsAny(rest, "*/ ,@?#") {
			t.Fatalf("%q names %q", configured, sent)
		}
	})
}
