package redis

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestParseURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h":                                 "redis://h:6379/0 [h:6379]",
		"redis://h:7/3":                             "redis://h:7/3 [h:7]",
		"redis://[::1]/3":                           "redis://[::1]:6379/3 [[::1]:6379]",
		"redis://h?db=2":                            "redis://h:6379/2 [h:6379]",
		"redis://h/":                                "redis://h:6379/0 [h:6379]",
		"rediss://u:p%40%2F@h:1":                    "redis://h:1/0 [h:1] u p@/",
		"redis://:p@h":                              "redis://h:6379/0 [h:6379]  p",
		"redis://h?addr=g:2&addr=f":                 "redis://f:6379,g:2,h:6379/0 [h:6379 g:2 f:6379]",
		"redis://h/4?addr=g&master_set=m":           "redis://g:26379,h:26379/4?master_set=m [h:26379 g:26379]",
		"unix:///run/redis.sock?db=5":               "redis:///run/redis.sock/5 [/run/redis.sock]",
		"redis://h?master_set=m&sentinel_user=s":    "redis://h:26379/0?master_set=m [h:26379]",
		"rediss://h?ca=/a.pem&cert=/c.pem&key=/k":   "redis://h:6379/0 [h:6379]",
		"redis://h?addr=%5B::1%5D:9&addr=[fe80::1]": "redis://[::1]:9,[fe80::1]:6379,h:6379/0 [h:6379 [::1]:9 [fe80::1]:6379]",
	} {
		p, err := parseURL(url)
		got := strings.TrimSpace(fmt.Sprintf("%s %v %s %s", p.location(), p.addrs, p.user, p.password))
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", url, got, err, want)
		}
	}
}

func TestBadURL(t *testing.T) {
	const general = "want redis://user:password@host:6379/0"
	for url, want := range map[string]string{
		"":                        general,
		"h:6379":                  general,
		"http://secret@h":         general,
		"redis://":                general,
		"redis://:secret@:6379":   general,
		"redis://h:0":             "want a port",
		"redis://h:99999":         "want a port",
		"redis://h:":              general,
		"redis://secret{@h":       "percent-encoded",
		"redis://u:secret/@h":     "percent-encoded",
		"redis://h:port":          "a number as the port",
		"redis://a,b":             "want one host",
		"redis://a?addr=b&addr=b": "addr: b:6379 is given twice",
		"redis://h#f":             "percent-encoded",
		"redis://h/one":           `path: "one" is no number of a database`,
		"redis://h?b=1&a=1&c=1":   "unknown parameter 'a'",
		"redis://h/0/1":           `path: "0/1" is no number of a database`,
		"redis://h/-1":            `path: "-1" is no number of a database`,
		"redis://h/1?db=1":        "the database is given twice",
		"redis://h?db=x":          `db: "x" is no number of a database`,
		"redis://h?adr=g":         "unknown parameter 'adr': want addr, master_set, sentinel_user, sentinel_password, ca, cert, key, db (did you mean addr?)",
		"redis://h?max_retries=0": "unknown parameter 'max_retries'",
		"redis://h?addr=":         "addr is empty",
		"redis://h?addr=g:x":      `addr: "g:x": want host:6379`,
		"redis://h?addr=a@g":      `addr: "a@g": want host:6379`,
		"redis://h?addr=g&master_set=m&db=1&db=2": "db is given twice",
		"redis://h/1?addr=g":                      "a cluster, which has database 0 only",
		"redis://h?sentinel_password=secret":      "need master_set",
		"redis://h?ca=/x":                         "are for rediss://",
		"rediss://h?cert=/x":                      "cert and key need each other",
		"unix://run/redis.sock":                   "want unix:///path/of/the.sock",
		"unix:///s?addr=h":                        "want no addr and no master_set",
		"redis://h?%zz":                           "want parameters as in",
	} {
		_, err := parseURL(url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
	for url, want := range map[string]string{
		"rediss://h?ca=/no/such/file":                 "url: ca: open /no/such/file",
		"rediss://h?ca=url_test.go":                   "url: ca: url_test.go has no certificate in PEM",
		"rediss://h?cert=url_test.go&key=url_test.go": "url: cert and key: ",
	} {
		err := (&Redis{URL: url}).Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
}

// TestLocation tells stores apart, and finds those that are one.
func TestLocation(t *testing.T) {
	location := func(url string) string {
		p, err := parseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		return p.location()
	}
	for _, pair := range []struct {
		a, b string
		same bool
	}{
		{"redis://h?master_set=a", "redis://h?master_set=b", false},
		{"redis://h:26379", "redis://h?master_set=b", false},
		{"redis://h/0", "redis://h/1", false},
		{"redis://h?addr=g", "redis://g?addr=h", true},
		{"redis://u:p@h", "rediss://h", true},
	} {
		if (location(pair.a) == location(pair.b)) != pair.same {
			t.Errorf("%s and %s are at %s and %s", pair.a, pair.b, location(pair.a), location(pair.b))
		}
	}
}
