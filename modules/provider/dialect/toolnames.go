package dialect

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxName is the greatest length of the names and ids that are made up here.
const maxName = 64

// Names tells the names back that were given to tools whose own ones the
// provider refuses. The nil Names tells every name back as it is.
type Names struct {
	given map[string]string // by the client's name
	own   map[string]string // by the given name
}

// NewNames gives every name that does not match the rule one that does. Names
// that match keep theirs, whatever else is in the list.
func NewNames(rule *regexp.Regexp, names []string) *Names {
	var refused []string
	n := &Names{given: make(map[string]string), own: make(map[string]string)}
	for _, name := range names {
		if rule.MatchString(name) {
			n.own[name] = name
		} else {
			refused = append(refused, name)
		}
	}
	if refused == nil {
		return nil
	}
	var free unique
	for name := range n.own {
		free.take(name)
	}
	for _, name := range refused {
		if n.given[name] != "" {
			continue
		}
		made := plain(name)
		made = made[:min(len(made), maxName)]
		if !rule.MatchString(made) {
			// The rule is one of how a name begins.
			made = "_" + made[:min(len(made), maxName-1)]
		}
		made = free.take(made)
		n.given[name], n.own[made] = made, name
	}
	return n
}

// Give returns the name that the provider accepts in place of the client's.
func (n *Names) Give(name string) string {
	if n == nil || n.given[name] == "" {
		return name
	}
	return n.given[name]
}

// Own returns the client's name in place of one that was given.
func (n *Names) Own(name string) string {
	if n == nil || n.own[name] == "" {
		return name
	}
	return n.own[name]
}

// tellBack replaces the names of calls by the client's.
func (n *Names) tellBack(calls []Call) []Call {
	if n == nil {
		return calls
	}
	told := slices.Clone(calls)
	for i := range told {
		told[i].Name = n.Own(told[i].Name)
	}
	return told
}

// plain replaces all characters but ASCII letters, digits, _ and -.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, s)
}

// unique keeps names apart. The zero unique has none yet.
type unique struct {
	taken map[string]bool
	last  map[stem]int // the number that was put behind a stem last
}

// stem is what is left of a name before a number of so many digits. Many long names may
// have the same.
type stem struct {
	text   string
	digits int
}

// take returns the name, with the least number behind it that makes it another if the
// name itself was taken before.
func (u *unique) take(name string) string {
	if u.taken == nil {
		u.taken, u.last = make(map[string]bool), make(map[stem]int)
	}
	free := name
	for n := 2; u.taken[free]; n++ {
		number := strconv.Itoa(n)
		s := stem{name[:min(len(name), maxName-len("_")-len(number))], len(number)}
		if last := u.last[s]; last >= n {
			n = last // all up to it are taken
			continue
		}
		free = s.text + "_" + number
		u.last[s] = n
	}
	u.taken[free] = true
	return free
}
