package tenant

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Origin is where a web page comes from: scheme, host and port, in lower case and
// without the scheme's default port. In a configured one the first label of the
// host may be *, which stands for exactly one label.
type Origin struct{ scheme, host, port string }

// maxOrigin is longer than the longest host name with a scheme and a port.
const maxOrigin = 300

// ParseOrigin reads the header Origin of a request, and says whether it names one.
// A page without an origin of its own sends "null", which does not.
func ParseOrigin(s string) (Origin, bool) {
	o, ok := splitOrigin(s)
	return o, ok && !strings.Contains(o.host, "*")
}

func splitOrigin(s string) (Origin, bool) {
	if len(s) > maxOrigin {
		return Origin{}, false
	}
	scheme, rest, ok := strings.Cut(strings.ToLower(s), "://")
	if !ok || !validScheme(scheme) {
		return Origin{}, false
	}
	name, port, ok := splitPort(rest)
	if !ok {
		return Origin{}, false
	}
	host, ok := originHost(name)
	if !ok {
		return Origin{}, false
	}
	if port == defaultPorts[scheme] {
		port = ""
	}
	return Origin{scheme, host, port}, true
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

func validScheme(s string) bool {
	const letters, others = "abcdefghijklmnopqrstuvwxyz", "0123456789+-."
	return s != "" && strings.IndexByte(letters, s[0]) >= 0 && strings.Trim(s, letters+others) == ""
}

// splitPort cuts a port off, which need not be there.
func splitPort(s string) (host, port string, ok bool) {
	end := strings.LastIndexByte(s, ':')
	if end < 0 || strings.HasSuffix(s, "]") {
		return s, "", true
	}
	n, err := strconv.ParseUint(s[end+1:], 10, 16)
	return s[:end], strconv.FormatUint(n, 10), err == nil && n > 0
}

// originHost reads what browsers send: a name in ASCII, or an IPv6 address in
// brackets.
func originHost(s string) (string, bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return "", false
		}
		return "[" + addr.String() + "]", true
	}
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	name := strings.TrimPrefix(s, "*.")
	return s, name != "" && name[0] != '.' && !strings.Contains(name, "..") && strings.Trim(name, allowed) == ""
}

// Origins are those whose pages may read answers. The zero value has none.
type Origins struct {
	any   bool
	named map[Origin]bool
}

// ParseOrigins reads a configured list of origins. * stands for all of them.
func ParseOrigins(list []string) (Origins, error) {
	var all Origins
	for _, s := range list {
		if err := all.add(s); err != nil {
			return Origins{}, err
		}
	}
	return all, nil
}

func (l *Origins) add(s string) error {
	if s == "*" {
		l.any = true
		return nil
	}
	if strings.EqualFold(s, "null") {
		return fmt.Errorf("origin %q: any page can send this one; want * to allow all origins", s)
	}
	o, ok := splitOrigin(s)
	if !ok {
		return fmt.Errorf("origin %q: want *, or a scheme, a host in ASCII and perhaps a port, such as https://app.example.com, https://*.example.com or http://localhost:3000, without a path", s)
	}
	if l.named == nil {
		l.named = make(map[Origin]bool)
	}
	l.named[o] = true
	return nil
}

// merge adds the origins of another list.
func (l *Origins) merge(other Origins) {
	l.any = l.any || other.any
	if l.named == nil && len(other.named) > 0 {
		l.named = make(map[Origin]bool)
	}
	for o := range other.named {
		l.named[o] = true
	}
}

// Empty says whether no origin is allowed.
func (l Origins) Empty() bool { return !l.any && len(l.named) == 0 }

// Any says whether all origins are allowed.
func (l Origins) Any() bool { return l.any }

// Names says whether the list has this origin, or a wildcard for its host. A * alone
// names no origin.
func (l Origins) Names(o Origin) bool {
	if l.named[o] {
		return true
	}
	wild, ok := wildcardOf(o.host)
	return ok && l.named[Origin{o.scheme, wild, o.port}]
}
