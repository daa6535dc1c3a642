package providertest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// told checks that nothing of a request vanishes in silence, whatever the API that it
// comes in: the server sees it, X-Ai-Dropped names it, or the request is
// refused by its name.
func told(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	s.answerWhole(hi)
	for _, e := range entrances {
		t.Run(e.name, func(t *testing.T) {
			for _, m := range e.asked {
				t.Run(m.name, func(t *testing.T) { s.told(t, e, with(t, e.body, m.members), m.marks, m.names) })
			}
			for _, at := range objects(gjson.Parse(e.body), "") {
				t.Run("unknown in "+at, func(t *testing.T) {
					name := strings.TrimPrefix(at+".x_strange", ".")
					body, err := sjson.Set(e.body, name, strange)
					if err != nil {
						t.Fatal(err)
					}
					// a part of another is named by the kind of both
					s.told(t, e, body, []string{strange}, []string{name, "messages.content.x_strange", "input.content.x_strange"})
				})
			}
			for _, m := range e.asked {
				s.counts(t, e, with(t, e.body, m.members))
			}
		})
	}
}

// counts checks that no member of a request can be left out without a difference: in what the
// server sees, or in what is named.
func (s *subject) counts(t *testing.T, e entrance, body string) {
	t.Helper()
	sent, dropped, ok := s.outcome(e, body)
	if !ok {
		return
	}
	for _, at := range members(gjson.Parse(body), "") {
		less, err := sjson.Delete(body, at)
		if err != nil {
			t.Fatal(err)
		}
		kind := place.ReplaceAllString(at, "")
		if isLabel(kind, gjson.Get(body, at)) || isNamed([]string{kind, inside[kind]}, dropped) || isThought(kind) && isNamed(lostThoughts, dropped) {
			continue
		}
		if again, names, ok := s.outcome(e, less); ok && again == sent && slices.Equal(names, dropped) {
			t.Errorf("%s vanishes from %s: the server sees %s, and dropped is %q", at, body, sent, dropped)
		}
	}
}

// outcome returns what the server sees of a request, and what was dropped; ok is false if it
// was refused.
func (s *subject) outcome(e entrance, body string) (sent string, dropped []string, ok bool) {
	defer s.forget()
	req, err := s.entered(e, body)
	if err == nil {
		_, err = s.Complete(context.Background(), req)
	}
	if err != nil {
		return "", nil, false
	}
	_, bodies := s.Requests()
	return string(bodies[len(bodies)-1]), req.Dropped, true
}

// labels are members that tell nothing: names of things that have no name elsewhere, what
// two members say, and the gateway's own.
var labels = []string{
	"model", "stream_options", "stream_options.include_usage", "response_format.json_schema.name", "text.format.name",
	"messages.content.title", "tool_choice", "input.status", "input.id",
	"messages.extra_content", "messages.extra_content.reasoning", "messages.extra_content.reasoning.model",
}

// inside has the names of members behind a door, where they are left out.
var inside = map[string]string{"output_config": "reasoning_effort", "output_config.effort": "reasoning_effort"}

// isLabel reports whether a member tells nothing, or what holds without it.
func isLabel(kind string, v gjson.Result) bool {
	return slices.Contains(labels, kind) || strings.HasSuffix(kind, "type") || strings.HasSuffix(kind, ".additionalProperties") ||
		provider.IsEmpty(v) || v.Str == "{}" || v.Type == gjson.False
}

// isThought reports whether a member belongs to reasoning.
func isThought(kind string) bool {
	return strings.Contains(kind, "thinking") || strings.Contains(kind, "signature") || strings.HasSuffix(kind, "encrypted_content")
}

// members returns the paths of all members of a request.
func members(v gjson.Result, at string) []string {
	var list []string
	i := 0
	v.ForEach(func(k, e gjson.Result) bool {
		name := k.Str
		if v.IsArray() {
			name = strconv.Itoa(i)
			i++
		}
		path := strings.TrimPrefix(at+"."+name, ".")
		if v.IsObject() {
			list = append(list, path)
		}
		if e.IsObject() || e.IsArray() {
			list = append(list, members(e, path)...)
		}
		return true
	})
	return list
}

// told makes a call, and looks for what a member has become.
func (s *subject) told(t *testing.T, e entrance, body string, marks, names []string) {
	t.Helper()
	defer s.forget()
	req, err := s.entered(e, body)
	if err == nil {
		_, err = s.Complete(t.Context(), req)
	}
	if err != nil {
		if pe, ok := errors.AsType[*provider.Error](err); !ok || !pe.Local || !isNamed(names, []string{pe.Param}) {
			t.Errorf("failed with %v, want one of %q refused by name: %s", err, names, body)
		}
		s.notCalled(t)
		return
	}
	_, sent := s.sent(t)
	if slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(string(sent), mark) }) || isNamed(names, req.Dropped) {
		return
	}
	t.Errorf("dropped is %q, want one of %q told, or one of %q sent: %s", req.Dropped, names, marks, sent)
}

// entered returns a request for the provider as the gateway makes it of a client's.
func (s *subject) entered(e entrance, body string) (*provider.Request, error) {
	if e.door == nil {
		return s.request(body), nil
	}
	call, err := e.door.Open([]byte(body))
	if err != nil {
		return nil, err
	}
	req := s.request(string(call.Completion()))
	req.Translated, req.Dropped = true, slices.Clone(call.Dropped())
	return req, call.Refusal()
}

// isNamed reports whether one of the names stands among those that are told.
func isNamed(names, told []string) bool {
	return slices.ContainsFunc(told, func(name string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return related(name, place.ReplaceAllString(n, "")) })
	})
}

// objects returns the paths of all objects in a request but those whose members have names
// of the client's.
func objects(v gjson.Result, at string) []string {
	var list []string
	if v.IsObject() {
		list = append(list, at)
	}
	i := 0
	v.ForEach(func(k, e gjson.Result) bool {
		name := k.Str
		if v.IsArray() {
			name = strconv.Itoa(i)
			i++
		}
		if !slices.Contains([]string{"parameters", "input_schema", "schema"}, name) && (name != "input" || e.IsArray()) && (e.IsObject() || e.IsArray()) {
			list = append(list, objects(e, strings.TrimPrefix(at+"."+name, "."))...)
		}
		return true
	})
	return list
}
