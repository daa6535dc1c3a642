// Package limit holds rate-limit rules and an exact sliding-window limiter
// in memory. It knows nothing of HTTP or of Caddy.
package limit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The scopes a rule may count in. Any other scope is a placeholder, such as
// {http.request.header.X-Team}.
const (
	ScopeUser   = "user"
	ScopeIP     = "ip"
	ScopeTenant = "tenant"
)

// What a rule may ask for.
const (
	maxLimit  = 1_000_000_000
	minWindow = time.Millisecond
	maxWindow = 366 * day
	day       = 24 * time.Hour
)

// Rule is one limit as an operator writes it: "60 1m", "1000 1m per tenant"
// or, for concurrent requests, which have no window, "10".
type Rule struct {
	// Limit is how many are let through in any interval of length Window,
	// or at once where Window is zero. 1 to 1,000,000,000.
	Limit int64

	// Window is the length of the sliding window, 1ms to 366d; zero counts
	// what runs now.
	Window time.Duration

	// Scope says whose requests are counted together: ScopeUser, ScopeIP,
	// ScopeTenant or a placeholder. Always inside one tenant. Default:
	// ScopeUser.
	Scope string
}

// ParseRule reads "LIMIT WINDOW [per SCOPE]" where windowed, and
// "LIMIT [per SCOPE]" where not. Durations are Caddy's: Go's, and d for days.
func ParseRule(s string, windowed bool) (Rule, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return Rule{}, fmt.Errorf("rule is empty: want %s", form(windowed))
	}

	limit, err := parseLimit(words[0])
	if err != nil {
		return Rule{}, err
	}
	r := Rule{Limit: limit, Scope: ScopeUser}
	words = words[1:]

	if windowed {
		if len(words) == 0 || words[0] == "per" {
			return Rule{}, errors.New("window is missing: want a duration such as 30s or 1m")
		}
		if r.Window, err = parseWindow(words[0]); err != nil {
			return Rule{}, err
		}
		words = words[1:]
	}

	if len(words) == 0 {
		return r, nil
	}
	if words[0] != "per" {
		return Rule{}, fmt.Errorf("unexpected %q: want %s", words[0], form(windowed))
	}
	if len(words) != 2 || !isScope(words[1]) {
		return Rule{}, errors.New(`"per" wants user, ip, tenant or a placeholder`)
	}
	r.Scope = words[1]
	return r, nil
}

// form shows how a rule is written, for messages.
func form(windowed bool) string {
	if windowed {
		return `LIMIT WINDOW [per SCOPE], such as "60 1m per user"`
	}
	return `LIMIT [per SCOPE], such as "10 per user"`
}

func parseLimit(s string) (int64, error) {
	// Unsigned, so that neither "+5" nor "-0" is a limit.
	n, err := strconv.ParseUint(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) || n > maxLimit {
		return 0, fmt.Errorf("limit %q: want at most %d", s, maxLimit)
	}
	if err != nil || n < 1 {
		return 0, fmt.Errorf("limit %q: want a whole number of at least 1", s)
	}
	return int64(n), nil
}

func parseWindow(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("window %q: want a duration such as 30s or 1m", s)
	}
	if d < minWindow || d > maxWindow {
		return 0, fmt.Errorf("window %q: want a duration from 1ms to 366d", s)
	}
	return d, nil
}

// parseDuration is time.ParseDuration with the unit d, a day of 24 hours, as
// caddy.ParseDuration has it; this package does without Caddy.
func parseDuration(s string) (time.Duration, error) {
	var b strings.Builder
	start := 0 // of the number whose unit comes next
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == '.', c == '-', c == '+':
			continue
		case c == 'd':
			days, err := strconv.ParseFloat(s[start:i], 64)
			if err != nil {
				return 0, err
			}
			b.WriteString(strconv.FormatFloat(days*24, 'f', -1, 64))
			b.WriteByte('h')
		default:
			b.WriteString(s[start : i+1])
		}
		start = i + 1
	}
	b.WriteString(s[start:])
	return time.ParseDuration(b.String())
}

func isScope(s string) bool {
	switch s {
	case ScopeUser, ScopeIP, ScopeTenant:
		return true
	}
	return len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}'
}

// String returns the rule as ParseRule reads it, in its shortest form.
func (r Rule) String() string {
	s := strconv.FormatInt(r.Limit, 10)
	if r.Window != 0 {
		s += " " + formatWindow(r.Window)
	}
	if r.Scope != "" && r.Scope != ScopeUser {
		s += " per " + r.Scope
	}
	return s
}

func formatWindow(d time.Duration) string {
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText returns what String does.
func (r Rule) MarshalText() ([]byte, error) {
	return []byte(r.String()), nil
}

// UnmarshalText reads a rule with a window or without one, since the text
// does not say which kind it is for. Whoever knows the kind checks Window.
func (r *Rule) UnmarshalText(text []byte) error {
	s := string(text)
	words := strings.Fields(s)
	windowed := len(words) > 1 && words[1] != "per"
	rule, err := ParseRule(s, windowed)
	if err != nil {
		return err
	}
	*r = rule
	return nil
}
