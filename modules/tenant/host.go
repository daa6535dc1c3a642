package tenant

import (
	"fmt"
	"net"
	"strings"
)

// ParseHost checks a configured host name and returns it in lower case. Only
// the whole first label may be a wildcard.
func ParseHost(s string) (string, error) {
	h := strings.ToLower(strings.TrimSuffix(s, "."))
	rest := strings.TrimPrefix(h, "*.")
	if rest == "" || len(h) > 253 || strings.ContainsAny(rest, "*/:@ \t\"{}") || strings.Contains(rest, "..") {
		return "", fmt.Errorf("host %q: want a host name such as acme.example.com or *.acme.example.com, without scheme, port and path", s)
	}
	return h, nil
}

// normalizeHost strips the port and the root dot, and folds case.
func normalizeHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func wildcardOf(host string) (string, bool) {
	_, rest, ok := strings.Cut(host, ".")
	if !ok || rest == "" {
		return "", false
	}
	return "*." + rest, true
}
