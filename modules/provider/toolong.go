package provider

import (
	"cmp"
	_ "embed" // of the patterns
	"encoding/json"
	"regexp"
	"strings"
	"sync"
)

//go:embed toolong.json
var tooLongFile []byte

// tooLongDocument is the form of toolong.json.
type tooLongDocument struct {
	Date     string           `json:"date"` // of the last look at the sources, as 2006-01-02
	Sources  []string         `json:"sources"`
	Codes    []string         `json:"codes"`
	Patterns []tooLongPattern `json:"patterns"`

	// Others are messages that sound like one of Patterns and mean something
	// else.
	Others []tooLongPattern `json:"others"`
}

type tooLongPattern struct {
	Servers string `json:"servers"`
	Why     string `json:"why"`
	Pattern string `json:"pattern"`
	Unless  string `json:"unless"` // what takes the match back
	Example string `json:"example"`
}

// tooLongRules are the patterns, ready for use.
type tooLongRules struct {
	codes  map[string]bool
	any    *regexp.Regexp
	others []exception
}

// exception is a pattern that does not count if unless matches, too.
type exception struct{ pattern, unless *regexp.Regexp }

func readTooLong() tooLongDocument {
	var doc tooLongDocument
	if err := json.Unmarshal(tooLongFile, &doc); err != nil {
		panic("provider: toolong.json: " + err.Error()) // it is part of the program, and tested
	}
	return doc
}

var tooLong = sync.OnceValue(func() tooLongRules {
	doc := readTooLong()
	rules := tooLongRules{codes: make(map[string]bool)}
	for _, code := range doc.Codes {
		rules.codes[code] = true
	}
	var all []string
	for _, p := range doc.Patterns {
		all = append(all, p.Pattern)
	}
	rules.any = regexp.MustCompile(strings.Join(all, "|"))
	for _, p := range doc.Others {
		e := exception{pattern: regexp.MustCompile(p.Pattern)}
		if p.Unless != "" {
			e.unless = regexp.MustCompile(p.Unless)
		}
		rules.others = append(rules.others, e)
	}
	return rules
})

// maxJudged is how much of a message is searched for patterns.
const maxJudged = 2 << 10

// tooLong reports whether the request exceeds the model's context.
func (e reported) tooLong() bool {
	rules := tooLong()
	if rules.codes[strings.ToLower(e.code)] || rules.codes[strings.ToLower(e.typ)] {
		return true
	}
	said := cmp.Or(e.message, e.text)
	said = strings.ToLower(said[:min(len(said), maxJudged)])
	for _, other := range rules.others {
		if other.pattern.MatchString(said) && (other.unless == nil || !other.unless.MatchString(said)) {
			return false
		}
	}
	return rules.any.MatchString(said)
}
