package providertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Asked is a request as a server of a dialect reads it.
type Asked struct {
	Turns  []Turn
	Tools  []string // the names of the tools that are offered
	Choice string   // the name of the tool that has to be called; usually empty
}

// Turn is what one side says before the other does. The results of tools are
// the user's.
type Turn struct {
	Role string // user or assistant
	Said []Said
}

// Said is a piece of a turn.
type Said struct {
	Kind      string // text, media, call, result or thought
	Text      string // also of a result
	ID        string // of a call, or of the call that a result belongs to
	Name      string // of the called tool
	Arguments string
}

// Strictness says what the servers of a dialect refuse.
type Strictness struct {
	// Turns: two turns of one side in a row, an assistant who begins, an empty
	// turn.
	Turns bool

	// Blanks: text of white space alone, and white space at the end.
	Blanks bool

	// Name and ID match the names and ids that are accepted; nil for any.
	Name, ID *regexp.Regexp
}

// Refusal says why a strict server refuses a request; nil if it does not.
func (a *Asked) Refusal(s Strictness) error {
	if s.Turns {
		if err := a.alternate(); err != nil {
			return err
		}
	}
	if err := a.named(s.Name); err != nil {
		return err
	}
	ids := make(map[string]bool)
	var open []string // calls of the turn before that have no result yet
	for i, t := range a.Turns {
		last := i == len(a.Turns)-1
		others := false
		var calls []string
		for j, p := range t.Said {
			switch p.Kind {
			case "text":
				others = true
				if s.Blanks && strings.TrimSpace(p.Text) == "" {
					return fmt.Errorf("turn %d: text is blank", i)
				}
				if s.Blanks && last && j == len(t.Said)-1 && t.Role == "assistant" && p.Text != strings.TrimRightFunc(p.Text, unicode.IsSpace) {
					return errors.New("the last text ends with white space")
				}
			case "media":
				others = true
			case "call":
				if t.Role != "assistant" {
					return fmt.Errorf("turn %d: a user calls", i)
				}
				if p.ID == "" || ids[p.ID] || s.ID != nil && !s.ID.MatchString(p.ID) {
					return fmt.Errorf("turn %d: id %q is no id, or used twice", i, p.ID)
				}
				var o map[string]any
				if json.Unmarshal([]byte(p.Arguments), &o) != nil || o == nil {
					return fmt.Errorf("turn %d: arguments %s are no object", i, p.Arguments)
				}
				ids[p.ID] = true
				calls = append(calls, p.ID)
			case "result":
				at := slices.Index(open, p.ID)
				switch {
				case t.Role != "user" || at < 0:
					return fmt.Errorf("turn %d: result %q without a call in the turn before, or the second one", i, p.ID)
				case others:
					return fmt.Errorf("turn %d: a result behind something else", i)
				}
				open = slices.Delete(open, at, at+1)
			}
		}
		if len(open) > 0 {
			return fmt.Errorf("turn %d: no results of the calls %q", i, open)
		}
		open = calls
	}
	if len(open) > 0 {
		return fmt.Errorf("at the end: no results of the calls %q", open)
	}
	return nil
}

func (a *Asked) alternate() error {
	if len(a.Turns) == 0 || a.Turns[0].Role != "user" {
		return errors.New("the user does not begin")
	}
	for i, t := range a.Turns {
		if len(t.Said) == 0 {
			return fmt.Errorf("turn %d is empty", i)
		}
		if i > 0 && t.Role == a.Turns[i-1].Role {
			return fmt.Errorf("turn %d: the roles do not alternate", i)
		}
	}
	return nil
}

// named checks the names of tools.
func (a *Asked) named(rule *regexp.Regexp) error {
	offered := make(map[string]bool)
	for _, name := range a.Tools {
		if offered[name] {
			return fmt.Errorf("tool %q is offered twice", name)
		}
		offered[name] = true
	}
	names := slices.Clone(a.Tools)
	for _, p := range a.said("call", "result") {
		names = append(names, p.Name)
	}
	if a.Choice != "" {
		if !offered[a.Choice] {
			return fmt.Errorf("tool %q is chosen and not offered", a.Choice)
		}
	}
	for _, name := range names {
		if name == "" || rule != nil && !rule.MatchString(name) {
			return fmt.Errorf("name %q of a tool", name)
		}
	}
	return nil
}

// said returns the pieces of these kinds.
func (a *Asked) said(kinds ...string) []Said {
	var said []Said
	for _, t := range a.Turns {
		for _, p := range t.Said {
			if slices.Contains(kinds, p.Kind) {
				said = append(said, p)
			}
		}
	}
	return said
}

// Add adds a piece to the turn of a role, which it begins if the other side
// spoke last. It is for dialects without turns.
func (a *Asked) Add(role string, said ...Said) {
	if n := len(a.Turns); n > 0 && a.Turns[n-1].Role == role {
		a.Turns[n-1].Said = append(a.Turns[n-1].Said, said...)
		return
	}
	a.Turns = append(a.Turns, Turn{role, said})
}
