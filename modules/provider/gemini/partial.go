package gemini

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// partial is an unfinished tool call. Its arguments come either whole, as args,
// or value by value, as partialArgs, each with its path. A text may come in
// several parts.
type partial struct {
	id, name, signature string

	whole string // arguments that came whole
	tree  any    // arguments that came in parts
	size  int    // bytes of these parts
}

// add adds the arguments in a functionCall.
func (p *partial) add(call gjson.Result) error {
	if args := call.Get("args"); args.Exists() && args.Type != gjson.Null {
		p.whole = args.Raw
	}
	for _, arg := range call.Get("partialArgs").Array() {
		steps, err := parsePath(arg.Get("jsonPath").Str)
		if err != nil {
			return err
		}
		var value any
		switch s, n, b := arg.Get("stringValue"), arg.Get("numberValue"), arg.Get("boolValue"); {
		case s.Type == gjson.String:
			value = s.Str
		case n.Type == gjson.Number:
			value = json.Number(n.Raw)
		case b.IsBool():
			value = b.Bool()
		}
		if p.size += len(arg.Raw); p.size > upstream.MaxEvent {
			return fmt.Errorf("more than %d bytes", upstream.MaxEvent)
		}
		if p.tree, err = put(p.tree, steps, value); err != nil {
			return err
		}
	}
	return nil
}

// arguments returns the call's arguments, a JSON object.
func (p *partial) arguments() (string, error) {
	if p.tree != nil {
		b, err := json.Marshal(p.tree)
		return string(b), err
	}
	if p.whole == "" {
		return "{}", nil
	}
	return compact(p.whole)
}

// step leads into an object, or into a list if name is empty.
type step struct {
	name  string
	index int
}

// maxSteps is the greatest depth of arguments.
const maxSteps = 100

// parsePath parses a path such as $.recipe.steps[0]['the name'], the part of
// JSONPath (RFC 9535) that leads to one value.
func parsePath(path string) ([]step, error) {
	rest, ok := strings.CutPrefix(path, "$")
	var steps []step
	for ok && rest != "" && len(steps) < maxSteps {
		var s step
		if s, rest, ok = nextStep(rest); ok {
			steps = append(steps, s)
		}
	}
	if !ok || rest != "" || len(steps) == 0 || steps[0].name == "" {
		return nil, fmt.Errorf("path %.100q: want one such as $.list[0].name", path)
	}
	return steps, nil
}

func nextStep(path string) (s step, rest string, ok bool) {
	if name, isName := strings.CutPrefix(path, "."); isName {
		end := strings.IndexAny(name, ".[")
		if end < 0 {
			end = len(name)
		}
		return step{name: name[:end]}, name[end:], end > 0
	}
	inside, isIndex := strings.CutPrefix(path, "[")
	if !isIndex || inside == "" {
		return step{}, path, false
	}
	if quote := inside[0]; quote == '\'' || quote == '"' {
		name, rest, ok := strings.Cut(inside[1:], string(quote)+"]")
		return step{name: name}, rest, ok && name != ""
	}
	number, rest, ok := strings.Cut(inside, "]")
	index, err := strconv.Atoi(number)
	return step{index: index}, rest, ok && err == nil && index >= 0
}

var errPlace = errors.New("a value does not fit those before it")

// put puts a value in its place below node, which is nil, an object, a list or
// a text. A text is appended to the one in its place.
func put(node any, steps []step, value any) (any, error) {
	if len(steps) == 0 {
		if node == nil {
			return value, nil
		}
		begun, ok := node.(string)
		more, also := value.(string)
		if !ok || !also {
			return nil, errPlace
		}
		return begun + more, nil
	}
	s, rest := steps[0], steps[1:]
	if s.name != "" {
		object, ok := node.(map[string]any)
		if !ok && node != nil {
			return nil, errPlace
		}
		if object == nil {
			object = make(map[string]any)
		}
		child, err := put(object[s.name], rest, value)
		object[s.name] = child
		return object, err
	}
	list, ok := node.([]any)
	if !ok && node != nil || s.index > len(list) {
		return nil, errPlace
	}
	if s.index == len(list) {
		list = append(list, nil)
	}
	child, err := put(list[s.index], rest, value)
	list[s.index] = child
	return list, err
}
