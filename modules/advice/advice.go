// Package advice points out what is likely to be a mistake in a Caddyfile: it names
// the line, which a module no longer knows when it is provisioned.
package advice

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Warn logs a warning about the line that d is at.
func Warn(d *caddyfile.Dispenser, format string, args ...any) {
	caddy.Log().Named("caddyfile").Warn(d.Errf(format, args...).Error())
}

var environment = regexp.MustCompile(`\{env\.([^{}]+)\}`)

// Environment warns of placeholders in an option's value whose environment variables
// are empty, and reports whether there are any. That is no error: the configuration may be adapted on one machine and
// used on another, and a module that needs the value refuses to start without it.
func Environment(d *caddyfile.Dispenser, option, value string) (empty bool) {
	for _, found := range environment.FindAllStringSubmatch(value, -1) {
		if os.Getenv(found[1]) == "" {
			Warn(d, "%s: %s is empty: the environment variable %s is not set here", option, found[0], found[1])
			empty = true
		}
	}
	return empty
}

// replaced are placeholders that are replaced when a configuration is loaded.
var replaced = regexp.MustCompile(`\{(env|file|system|time)\.[^{}]+\}`)

// Check returns an error at d's line if an option's value is wrong. A value from the
// environment may be another one where the configuration is used: for that it warns.
// Braces that are none of a placeholder belong to the value.
func Check(d *caddyfile.Dispenser, option, value string, check func(string) error) error {
	if !replaced.MatchString(value) || strings.ContainsAny(replaced.ReplaceAllString(value, ""), "{}") {
		if err := check(value); err != nil {
			return d.Errf("%s: %w", option, err)
		}
		return nil
	}
	if text, ok := fromEnvironment(value); ok {
		if err := check(text); err != nil {
			Warn(d, "%s: %s: %v", option, value, err)
		}
	}
	return nil
}

// fromEnvironment replaces placeholders of environment variables. ok is false if one
// is empty or there are others.
func fromEnvironment(value string) (text string, ok bool) {
	ok = true
	text = environment.ReplaceAllStringFunc(value, func(s string) string {
		v := os.Getenv(s[len("{env.") : len(s)-1])
		ok = ok && v != ""
		return v
	})
	return text, ok && !strings.Contains(environment.ReplaceAllString(value, ""), "{")
}

// Secret gives the advice about an option whose value is a secret: Environment's, and
// a warning if it is written in plain text. Then everybody who can read the Caddyfile
// has it, as has the admin API.
func Secret(d *caddyfile.Dispenser, option, value string) {
	Environment(d, option, value)
	if value != "" && !strings.Contains(value, "{") {
		Warn(d, "%s: a secret in plain text: want a placeholder such as {env.NAME} or {file./path}", option)
	}
}

// Nearest returns words that suggest the known name which a misspelt one is most like,
// or nothing if it is like none of them.
func Nearest(name string, known ...string) string {
	best, least := "", min(2, len(name)/2)+1
	for _, k := range known {
		if n := distance(strings.ToLower(name), k); n < least {
			best, least = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is how many letters have to be added, dropped, replaced or exchanged with
// the next one to make a of b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(replace, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
