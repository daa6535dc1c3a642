package provider

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxMessage is how many characters of a provider's message a client gets.
	maxMessage = 500

	// maxRedacted is how many bytes of a message are redacted and kept, since a
	// provider may send megabytes.
	maxRedacted = 16 << 10
)

// Redacted stands in place of what Redact removes.
const Redacted = "[redacted]"

// Redact returns a provider's error message fit for a client: at most 500
// characters, without anything that looks like a key, a URL, an address, a host,
// an email or a file path. Ordinary words, numbers and the names of models and
// JSON fields stay.
func Redact(message string) string {
	message = clean(message)
	for _, r := range redactions {
		message = r(message)
	}
	return cut(message, maxMessage)
}

// plainCode is what a code may be made of.
var plainCode = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$`)

// RedactCode returns a provider's error code if it is fit for a client, else an
// empty string.
func RedactCode(code string) string {
	if !plainCode.MatchString(code) || Redact(code) != code {
		return ""
	}
	return code
}

// clean returns a message as one line of valid UTF-8. It cuts a long message
// between words, because half a key would no longer look like one.
func clean(s string) string {
	if len(s) > maxRedacted {
		s = s[:maxRedacted]
		s = s[:strings.LastIndexAny(s, " \t\r\n")+1]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			// Invisible characters would hide a key from the patterns.
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.TrimSpace(s)
}

// cut returns the first n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// redactions run in order: a URL must be removed as a whole, before its host, port
// and path are removed one by one.
var redactions = []func(string) string{
	all(`-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END[A-Z0-9 ]*-*|$)`),
	all(`\bssh-(?:rsa|dss|ed25519)\s+\S+`),
	all(`\barn:[a-z-]+:[^\s"',;]+`),
	all(`(?i)\bdata:[a-z]+/[^\s"']*`),
	all(`(?i)\b[a-z][a-z0-9+.-]*://[^\s"'<>` + "`" + `]+`),
	all(`(?i)\bwww\.[a-z0-9-]+\.[^\s"'<>` + "`" + `]+`),
	all(`[\w./%~-]+\?[\w.-]+=[^\s"'<>` + "`" + `]+`),
	all(`\b[\w.-]+:[^\s:@/"']+@(?:[A-Za-z][\w.-]*|\d{1,3}(?:\.\d{1,3}){3})(?::\d+)?(?:/[^\s"']*)?`),
	all(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`),

	// Values with the name of a secret, whatever they look like.
	value(`(?i)["']?[\w.-]*(?:key|secret|token|password|passwd|credential|authorization|signature)["']?\s*:\s*(["'][^"']+["'])`, nil),
	value(`(?i)\b(?:set-)?cookie["']?\s*[:=]\s*((?:[\w.-]+=[^\s;,"']+[;,]?\s*)*[\w.-]+=[^\s;,"']+)`, nil),
	value(`(?i)(?:api[ _-]?key|secret|\bpass(?:word|wd|phrase)?|\bpwd|credentials?|(?:access|auth)[ _-]?token)["'`+"`"+`]?(?:\s+(?:provided|is))?(?:\s*[:=]\s*|\s+)(["'`+"`"+`][^"'`+"`"+`]+["'`+"`"+`])`, nil),
	value(`(?i)\bauthorization["']?\s*[:=]\s*["']?(?:token|digest|api-?key|negotiate|hmac)\s+([^\s"',;]+)`, nil),
	value(`(?i)(?:secret|pass(?:word|wd|phrase)?|pwd|credentials?|signature|cookie|session|(?:access|private|api|account|shared)_?key)(?:_?id)?["']?\s*=\s*([^\s"'`+"`"+`,;&]+)`, notSetting),
	value(`(?i)(?:key|token)["']?\s*=\s*([A-Za-z0-9][^\s"'`+"`"+`,;&]*)`, notCount),
	value(`(?i)\b(?:server|host|hostname|data source|database|initial catalog|uid|user id|username)=([^\s"',;&]+)`, notSetting),
	value(`(?i)\b(?:[\w-]*key|token|secret|password|passwd|passphrase|credentials?)\s+["'`+"`"+`]?([^\s"'`+"`"+`,;]*[0-9][^\s"'`+"`"+`,;]*)`, isSecret),
	value(`(?i)\b(?:pwd|pass|passphrase|cookie)\s*[:=]\s*["'`+"`"+`]?([^\s"'`+"`"+`,;]+)`, notScheme),
	value(`(?i)(?:api[ _-]?key|apikey|secret|password|passwd|auth(?:orization)?|access[ _-]?token|auth[ _-]?token)["'`+"`"+`]?(?:\s+(?:provided|is))?\s*[:=]\s*["'`+"`"+`]?([^\s"'`+"`"+`,;]+)`, notScheme),
	value(`(?i)\b(?:bearer|basic)[\s:]+["'`+"`"+`]?([^\s"'`+"`"+`,;]+)`, notProse),

	// Keys by their shape.
	all(`(?i)\b(?:sk|pk|rk|gsk|xai|hf|r8|pplx|ghp|gho|ghs|ghu|github_pat|glpat|xox[abprs]|csk|nvapi|tgp|AIza|ya29|eyJ)[-_.][\w*./+=-]{6,}`),
	all(`\bsk-[\w*.-]+`),
	all(`\b(?:AIza|ya29\.|eyJ)[\w*.-]{10,}`),
	all(`\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{8,}`),
	all(`[\w-]*\*{3,}[\w*-]*`),
	all(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`),

	// Addresses.
	all(`\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?:/\d{1,2})?`),
	value(`([\[\]0-9A-Za-z:.%]*:[\[\]0-9A-Za-z:.%]*:[\[\]0-9A-Za-z:.%]*)`, isIPv6),
	all(`(?i)\b(?:[a-z0-9_-]+\.)+(?:com|net|org|io|ai|dev|app|cloud|co|edu|gov|info|biz|internal|local|localdomain|localhost|lan|corp|home|intranet|arpa|svc|cluster|tech|xyz|site|online|eu|de|uk|fr|jp|cn|ru|kr|au|ca|nl|se|ch)\b(?:\.[a-z]{2}\b)?(?::\d{1,5})?(?:/[^\s"'<>` + "`" + `]*)?`),
	all(`(?i)\blocalhost\b(?::\d{1,5})?`),
	value(`\b([A-Za-z0-9][\w.-]*:\d{2,5})\b`, isHostPort),

	// Files.
	all(`\b[A-Za-z]:[\\/][^\s"'<>|` + "`" + `]+`),
	all(`\\\\[^\s"'<>|` + "`" + `]+`),
	value(`(?:^|[^\w/.\]-])((?:~|\.{1,2})?/[\w.@+%~-]+(?:/[\w.@+%~-]*)*)`, isPath),
	all(`\b[\w.-]+(?:/[\w.-]+)+\.(?:py|go|js|ts|rs|c|cc|cpp|java|rb|php|so|json|ya?ml|toml|conf|env|pem|crt|log|txt|sh)\b(?::\d+)?`),

	// Anything else that looks like a token.
	value(`([A-Za-z0-9_+/=.~-]{20,})`, isToken),
}

// all returns a function that redacts all matches.
func all(pattern string) func(string) string {
	re := regexp.MustCompile(pattern)
	return func(s string) string { return re.ReplaceAllLiteralString(s, Redacted) }
}

// value returns a function that redacts the first group of each match for which
// such is true or nil.
func value(pattern string, such func(string) bool) func(string) string {
	re := regexp.MustCompile(pattern)
	return func(s string) string {
		var b strings.Builder
		last := 0
		for _, m := range re.FindAllStringSubmatchIndex(s, -1) {
			group := s[m[2]:m[3]]
			if such != nil && !such(group) {
				continue
			}
			b.WriteString(s[last:m[2]])
			b.WriteString(Redacted)
			last = m[3]
		}
		if last == 0 {
			return s
		}
		b.WriteString(s[last:])
		return b.String()
	}
}

// notScheme skips "Bearer" in "Authorization: Bearer x". Another pattern redacts
// the x.
func notScheme(s string) bool {
	switch strings.ToLower(s) {
	case "bearer", "basic", "token", "digest", "apikey", "api-key", "negotiate", "hmac":
		return false
	}
	return !strings.HasPrefix(s, Redacted)
}

// notSetting skips what no secret is set to.
func notSetting(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "null", "none", "undefined":
		return false
	}
	return !strings.HasPrefix(s, Redacted)
}

// notCount skips a number of tokens and the number of one, too.
func notCount(s string) bool {
	return notSetting(s) && (len(s) > 6 || !digits.MatchString(strings.TrimRight(s, ".:!?)")))
}

// grouped matches a key that is written in groups: ABCD-1234-EFGH.
var grouped = regexp.MustCompile(`^[A-Z0-9]{3,}(?:-[A-Z0-9]{3,})+$`)

// isSecret reports whether a word behind the name of a secret is one. The names of members
// and models may stand there, too.
func isSecret(s string) bool {
	s = strings.TrimRight(s, ".:!?)")
	return len(s) >= 8 && (isToken(s) || grouped.MatchString(s))
}

// notProse reports whether s is a credential, not a word about credentials.
func notProse(s string) bool {
	switch strings.ToLower(strings.TrimRight(s, ".:!?)")) {
	case "", "token", "tokens", "auth", "authentication", "authorization", "scheme", "header", "format", "prefix", "and", "or", "is", "as", "in", "to", Redacted:
		return false
	}
	return true
}

// isIPv6 reports whether s ends with an IPv6 address, with or without a port. A
// name may precede it, and punctuation follow.
func isIPv6(s string) bool {
	for {
		for _, t := range [...]string{s, strings.TrimRight(s, ":."), strings.Trim(s, "[]:.")} {
			if addr, err := netip.ParseAddr(strings.Trim(t, "[]")); err == nil && addr.Is6() && len(t) > 2 {
				return true
			}
			if _, err := netip.ParseAddrPort(t); err == nil {
				return true
			}
		}
		_, rest, found := strings.Cut(s, ":")
		if !found {
			return false
		}
		s = rest
	}
}

// isHostPort reports whether s is like host:8000, and not another word with a
// colon and a number.
func isHostPort(s string) bool {
	host, port, _ := strings.Cut(s, ":")
	if strings.Trim(host, "0123456789.") == "" {
		return false // a time or a ratio
	}
	if len(port) < 4 && port != "80" && port != "443" {
		return false // a code, a line or a model's tag
	}
	switch word := strings.ToLower(host); {
	case strings.HasSuffix(word, "tokens"), strings.HasSuffix(word, "length"), strings.HasSuffix(word, "limit"),
		strings.HasSuffix(word, "max"), strings.HasSuffix(word, "min"), strings.HasSuffix(word, "size"),
		strings.HasSuffix(word, "count"), strings.HasSuffix(word, "total"), strings.HasSuffix(word, "code"),
		word == "requested", word == "used", word == "line", word == "error", word == "status", word == "year":
		return false
	}
	return true
}

var apiPath = regexp.MustCompile(`^/v\d+[a-z0-9]*(?:/[a-z_]+)*/?$`)

// isPath reports whether s is a file path, and not an API path or a single word.
func isPath(s string) bool {
	if apiPath.MatchString(s) {
		return false
	}
	return !strings.HasPrefix(s, "/") || strings.Count(strings.TrimRight(s, "/"), "/") > 1 || strings.Contains(s, ".")
}

var (
	letters = regexp.MustCompile(`^[A-Za-z]+$`)
	digits  = regexp.MustCompile(`^[0-9]+$`)

	// numbered matches a part of a model's name with a number in it: Qwen2VL,
	// 8x7B, v0, 20250219v1.
	numbered = regexp.MustCompile(`^(?:[A-Za-z0-9]{1,6}|[A-Za-z]{2,10}[0-9]{1,4}[A-Za-z]{0,4}|[0-9]{8}v[0-9])$`)
)

// isToken reports whether s looks like a key. The names of models and fields are
// as long, but consist of words and short parts with numbers.
func isToken(s string) bool {
	if !strings.ContainsFunc(s, unicode.IsLetter) || !strings.ContainsFunc(s, unicode.IsDigit) {
		return false
	}
	words := 0
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("_+/=.~-", r) }) {
		switch {
		case letters.MatchString(part):
			if len(part) >= 3 {
				words++
			}
		case digits.MatchString(part) || numbered.MatchString(part):
		default:
			return true
		}
	}
	return words == 0
}
