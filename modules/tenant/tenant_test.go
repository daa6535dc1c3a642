package tenant

import (
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"acme.test":              "acme.test",
		"ACME.Test.":             "acme.test",
		"*.acme.test":            "*.acme.test",
		"localhost":              "localhost",
		"xn--bcher-kva.test":     "xn--bcher-kva.test",
		"":                       "",
		".":                      "",
		"*":                      "",
		"*.":                     "",
		"*.*.test":               "",
		"a*.test":                "",
		"a.*.test":               "",
		"https://acme.test":      "",
		"acme.test:443":          "",
		"acme.test/chat":         "",
		"user@acme.test":         "",
		"a..test":                "",
		"acme test":              "",
		"{env.HOST}":             "",
		strings.Repeat("a", 254): "",
	} {
		got, err := ParseHost(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseHost(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestByHost(t *testing.T) {
	acme := &Tenant{ID: "acme", Hosts: []string{"acme.test", "*.acme.test"}}
	api := &Tenant{ID: "api", Hosts: []string{"api.acme.test"}}
	g, err := NewRegistry([]*Tenant{acme, api})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]*Tenant{
		"acme.test":         acme,
		"Acme.TEST":         acme,
		"acme.test.":        acme,
		"acme.test:8080":    acme,
		"www.acme.test":     acme,
		"www.acme.test:1":   acme,
		"api.acme.test":     api,
		"v1.api.acme.test":  nil,
		"acme.test.evil":    nil,
		"notacme.test":      nil,
		"test":              nil,
		"":                  nil,
		":80":               nil,
		"[::1]:80":          nil,
		"127.0.0.1":         nil,
		"acme.test:80:80":   nil,
		"acme.test@evil.io": nil,
	} {
		if got := g.ByHost(host); got != want {
			t.Errorf("ByHost(%q) = %+v, want %+v", host, got, want)
		}
	}
}

func TestParseDigest(t *testing.T) {
	plain, err := ParseDigest("secret")
	if err != nil || plain != DigestOf("secret") {
		t.Errorf("a key in plain: %v, %v", plain, err)
	}
	for _, form := range []string{plain.String(), strings.ToUpper(plain.String())} {
		hashed, err := ParseDigest("sha256:" + form)
		if err != nil || hashed != plain {
			t.Errorf("sha256:%s: %v, %v", form, hashed, err)
		}
	}
	if plain == DigestOf("Secret") {
		t.Error("two keys are equal")
	}
	for _, bad := range []string{"", "sha256:", "sha256:secret-part", "sha256:" + plain.String()[2:], "sha256:" + plain.String() + "00"} {
		_, err := ParseDigest(bad)
		if err == nil {
			t.Errorf("%q is taken", bad)
		} else if strings.Contains(err.Error(), "secret-part") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestParseBudgets(t *testing.T) {
	list, err := ParseBudgets("50000 tokens/day  25 usd/month 0.5 usd/day")
	want := []Budget{{50000, UnitTokens, PeriodDay}, {25_000_000, UnitUSD, PeriodMonth}, {500_000, UnitUSD, PeriodDay}}
	if err != nil || len(list) != len(want) {
		t.Fatalf("got %v, %v", list, err)
	}
	for i := range want {
		if list[i] != want[i] {
			t.Errorf("got %+v, want %+v", list[i], want[i])
		}
	}
	for _, bad := range []string{
		"", "50000", "50000 tokens", "50000 tokens/week", "50000 tokens/", "50000 eur/day", "50000 tokens/day/x",
		"0 tokens/day", "-1 tokens/day", "1.5 tokens/day", "1e3 tokens/day", "0 usd/day", "-1 usd/day",
		"NaN usd/day", "Inf usd/day", "1e10 usd/day", "0.0000001 usd/day", "x usd/day", "1 usd/day 2",
	} {
		if list, err := ParseBudgets(bad); err == nil {
			t.Errorf("ParseBudgets(%q) = %v", bad, list)
		}
	}
}

func TestRegistry(t *testing.T) {
	key := DigestOf("k")
	for _, tt := range []struct {
		name string
		a, b Tenant
		want []string // of the error; empty for no error
	}{
		{"two of nothing in common", Tenant{ID: "a"}, Tenant{ID: "b"}, nil},
		{"one id", Tenant{ID: "a"}, Tenant{ID: "a"}, []string{"A:1", "B:2", "tenant a", "id is taken"}},
		{"one host", Tenant{ID: "a", Hosts: []string{"x.test"}}, Tenant{ID: "b", Hosts: []string{"x.test"}}, []string{"A:1", "B:2", "x.test", "tenant a"}},
		{"one key", Tenant{ID: "a", Keys: []Digest{key}}, Tenant{ID: "b", Keys: []Digest{key}}, []string{"A:1", "B:2", "sha256:" + key.String()[:8], "tenant a"}},
		{"one name twice in one tenant", Tenant{ID: "a", Hosts: []string{"x.test", "x.test"}, Keys: []Digest{key, key}}, Tenant{ID: "b"}, nil},
		{"a bad id", Tenant{ID: "A"}, Tenant{ID: "b"}, []string{"A:1", `"A"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.a.Origin, tt.b.Origin = "A:1", "B:2"
			_, err := NewRegistry([]*Tenant{&tt.a, &tt.b})
			if (err == nil) != (len(tt.want) == 0) {
				t.Fatalf("got %v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error does not say %q: %v", w, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), key.String()) {
				t.Errorf("the error shows the whole digest: %v", err)
			}
		})
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "0": true, "a-b_c": true, "a-": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "_a": false, "A": false, "a.b": false, "a b": false, "a\n": false, "ä": false, "a/b": false,
		strings.Repeat("a", 64): false,
	} {
		if got := ValidID(id); got != want {
			t.Errorf("ValidID(%q) = %t", id, got)
		}
	}
}

func TestMayUse(t *testing.T) {
	if all := new(Tenant); !all.MayUse("anything") {
		t.Error("without a list all models may be used")
	}
	some := &Tenant{Models: []string{"fast"}}
	for model, want := range map[string]bool{"fast": true, "Fast": false, "fas": false, "": false, "openai/fast": false} {
		if got := some.MayUse(model); got != want {
			t.Errorf("MayUse(%q) = %t", model, got)
		}
	}
}

// A tenant that cannot be added leaves nothing of itself behind.
func TestBuilder(t *testing.T) {
	b := NewBuilder(0)
	first := &Tenant{ID: "a", Hosts: []string{"a.test"}, Keys: []Digest{DigestOf("a")}}
	for _, tt := range []struct {
		name  string
		t     *Tenant
		taken bool
	}{
		{"the first", first, false},
		{"its id", &Tenant{ID: "a", Hosts: []string{"b.test"}}, true},
		{"its host, behind a new one", &Tenant{ID: "b", Hosts: []string{"b.test", "a.test"}, Keys: []Digest{DigestOf("b")}}, true},
		{"its key, behind a new one", &Tenant{ID: "c", Keys: []Digest{DigestOf("b"), DigestOf("a")}}, true},
		{"what those would have had", &Tenant{ID: "b", Hosts: []string{"b.test"}, Keys: []Digest{DigestOf("b")}}, false},
	} {
		if err := b.Add(tt.t); (err != nil) != tt.taken {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	g := b.Registry()
	if len(g.All()) != 2 || g.ByID("a") != first || g.ByHost("b.test").ID != "b" || g.ByID("c") != nil {
		t.Errorf("got %+v", g.All())
	}
}

func TestAdmits(t *testing.T) {
	key := DigestOf
	g, err := NewRegistry([]*Tenant{{ID: "open"}, {ID: "acme", Keys: []Digest{key("1"), key("2")}}, {ID: "globex", Keys: []Digest{key("3")}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		id   string
		keys []Digest
		want bool
	}{
		{"a tenant without keys", "open", nil, true},
		{"a tenant that had a key and is open now", "open", []Digest{key("1")}, false},
		{"a tenant that was open and has keys now", "acme", nil, true},
		{"one of its keys", "acme", []Digest{key("2")}, true},
		{"one lost key and one of its keys", "acme", []Digest{key("0"), key("1")}, true},
		{"a lost key", "acme", []Digest{key("0")}, false},
		{"a key that another tenant has now", "acme", []Digest{key("3")}, false},
		{"a removed tenant", "initech", nil, false},
		{"a removed tenant whose key another one has", "initech", []Digest{key("3")}, false},
	} {
		if got := g.Admits(tt.id, tt.keys); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
