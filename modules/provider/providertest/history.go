package providertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// history checks that a conversation which any provider took is taken by this
// one: that a strict server of the dialect accepts it, and reads in it what the
// client sent.
func history(t *testing.T, d *Dialect) {
	if d.Read == nil {
		return
	}
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	s.answerWhole(hi)
	for _, tc := range histories {
		t.Run(tc.name, func(t *testing.T) {
			s.accepts(t, fmt.Sprintf(`{"messages":[%s]}`, tc.messages), tc.pairs, tc.texts)
		})
	}
	t.Run("random", func(t *testing.T) {
		for seed := range uint64(400) {
			g := generator{Rand: rand.New(rand.NewPCG(seed, 1))}
			body := g.body()
			if s.accepts(t, body, g.pairs, g.texts); t.Failed() {
				t.Fatalf("seed %d: %s", seed, body)
			}
		}
	})
	t.Run("names", func(t *testing.T) { tellsNamesBack(t, d) })
}

// accepts makes a call and reads what the server saw. pairs are texts that have
// to be the results of the calls with these numbers, and texts have to be
// anywhere.
func (s *subject) accepts(t *testing.T, body string, pairs map[string]int, texts []string) {
	t.Helper()
	defer s.forget()
	if _, err := s.Complete(t.Context(), s.request(body)); err != nil {
		t.Errorf("failed with %v", err)
		return
	}
	_, sent := s.sent(t)
	asked, err := s.Read(sent)
	if err != nil {
		t.Errorf("a strict server refuses it: %v\n%s", err, sent)
		return
	}
	numbers := make(map[string]int) // of the calls, by id
	for i, call := range asked.said("call") {
		numbers[call.ID] = i
	}
	want := 0
	gjson.Get(body, "messages").ForEach(func(_, m gjson.Result) bool {
		want += len(m.Get("tool_calls").Array())
		return true
	})
	if len(numbers) != want {
		t.Errorf("the server saw %d calls, want %d: %s", len(numbers), want, sent)
	}
	var all strings.Builder
	for _, p := range asked.said("text", "call", "result") {
		all.WriteString(p.Text + p.Arguments + " ")
	}
	for _, text := range texts {
		if !strings.Contains(all.String(), text) {
			t.Errorf("%q is lost: %s", text, sent)
		}
	}
	calls := asked.said("call")
	for text, number := range pairs {
		if !slices.ContainsFunc(asked.said("result"), func(p Said) bool {
			return strings.Contains(p.Text, text) && numbers[p.ID] == number && p.Name == calls[number].Name
		}) {
			t.Errorf("%q is not the result of call %d: %s", text, number, sent)
		}
	}
}

// callAs writes a tool call whose arguments are a JSON value.
func callAs(id, name, arguments string) string {
	return fmt.Sprintf(`{"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}`, JSON(id), JSON(name), arguments)
}

func callsAs(calls ...string) string {
	return `{"role":"assistant","content":null,"tool_calls":[` + strings.Join(calls, ",") + `]}`
}

func resultAs(id, text string) string {
	return fmt.Sprintf(`{"role":"tool","tool_call_id":%s,"content":%s}`, JSON(id), JSON(text))
}

func system(text string) string { return fmt.Sprintf(`{"role":"system","content":%s}`, JSON(text)) }

// histories are conversations that some provider took.
var histories = []struct {
	name, messages string
	pairs          map[string]int
	texts          []string
}{
	{"arguments cut off", user + "," + callsAs(callAs("a", "f", `"{\"cmd\": \"cut off"`)) + "," + resultAs("a", "one"), map[string]int{"one": 0}, []string{`{"cmd": "cut off`}},
	{"arguments null", user + "," + callsAs(callAs("a", "f", `"null"`)) + "," + resultAs("a", "one"), map[string]int{"one": 0}, nil},
	{"arguments a list", user + "," + callsAs(callAs("a", "f", `"[1]"`)) + "," + resultAs("a", "one"), map[string]int{"one": 0}, []string{"[1]"}},
	{"arguments a number", user + "," + callsAs(callAs("a", "f", `"7"`)) + "," + resultAs("a", "one"), map[string]int{"one": 0}, []string{"7"}},
	{"arguments empty", user + "," + callsAs(callAs("a", "f", `""`)) + "," + resultAs("a", "one"), map[string]int{"one": 0}, nil},
	{"arguments an object", user + "," + callsAs(callAs("a", "f", `{"x":"seen"}`)) + "," + resultAs("a", "one"), map[string]int{"one": 0}, []string{"seen"}},
	{"an id in two turns", user + "," + callsAs(callAs("call_0", "f", `"{}"`)) + "," + resultAs("call_0", "one") + "," + callsAs(callAs("call_0", "g", `"{}"`)) + "," + resultAs("call_0", "two"), map[string]int{"one": 0, "two": 1}, nil},
	{"an id twice in a turn", user + "," + callsAs(callAs("c", "f", `"{}"`), callAs("c", "g", `"{}"`)) + "," + resultAs("c", "one") + "," + resultAs("c", "two"), map[string]int{"one": 0, "two": 1}, nil},
	{"an id that is refused", user + "," + callsAs(callAs("functions.f:0/é "+strings.Repeat("x", 200), "f", `"{}"`)) + "," + resultAs("functions.f:0/é "+strings.Repeat("x", 200), "one"), map[string]int{"one": 0}, nil},
	{"a call without a result", user + "," + callsAs(callAs("c", "f", `"{}"`)) + "," + user, nil, nil},
	{"a result without a call", user + "," + resultAs("c", "one"), nil, []string{"one"}},
	{"results of a history cut short", resultAs("c", "one") + `,{"role":"assistant","content":"so"},` + user, nil, []string{"one", "so"}},
	{"two results of a call", user + "," + callsAs(callAs("c", "f", `"{}"`)) + "," + resultAs("c", "one") + "," + resultAs("c", "two"), map[string]int{"one": 0, "two": 0}, nil},
	{"a question before the result", user + "," + callsAs(callAs("c", "f", `"{}"`)) + `,{"role":"user","content":"and?"},` + resultAs("c", "one"), map[string]int{"one": 0}, []string{"and?"}},
	{"an assistant who begins", `{"role":"assistant","content":"hello"},` + user, nil, []string{"hello"}},
	{"an assistant who begins with a call", callsAs(callAs("c", "f", `"{}"`)) + "," + resultAs("c", "one"), map[string]int{"one": 0}, nil},
	{"instructions within a conversation", system("be brief") + "," + user + "," + system("be kind") + "," + system("be true") + `,{"role":"assistant","content":"so"},` + system("be quick") + "," + user, nil, []string{"be kind", "be true", "so", "be quick"}},
	{"an instruction at the end", user + `,{"role":"assistant","content":"so"},` + system("go on"), nil, []string{"so", "go on"}},
	{"an instruction behind results", user + "," + callsAs(callAs("c", "f", `"{}"`), callAs("d", "g", `"{}"`)) + "," + resultAs("c", "one") + "," + resultAs("d", "two") + "," + system("be kind"), map[string]int{"one": 0, "two": 1}, []string{"be kind"}},
	{"instructions before and between results", user + "," + callsAs(callAs("c", "f", `"{}"`), callAs("d", "g", `"{}"`)) + "," + system("be kind") + "," + resultAs("c", "one") + "," + system("be true") + "," + resultAs("d", "two"), map[string]int{"one": 0, "two": 1}, []string{"be kind", "be true"}},
	{"an instruction behind a message without content", `{"role":"user","content":" "},` + system("be kind"), nil, []string{"be kind"}},
	{"an instruction of parts", user + `,{"role":"developer","content":[{"type":"text","text":"be kind"},{"type":"text","text":" and true"}]},{"role":"system","content":" "},{"role":"system","content":[]}`, nil, []string{"be kind", " and true"}},
	{"only a system message", `{"role":"system","content":"tell a joke"}`, nil, nil},
	{"blank texts", user + `,{"role":"assistant","content":" \n"},{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"\t"},{"type":"text","text":"so"}]},` + user, nil, []string{"so"}},
	{"blanks at the end", user + `,{"role":"assistant","content":"Well, \n"}`, nil, []string{"Well,"}},
	{"one side twice", user + "," + user + `,{"role":"assistant","content":"a"},{"role":"assistant","content":"b"},` + user, nil, []string{"a", "b"}},
	{"names that are refused", user + "," + callsAs(callAs("c", "7zip_extract", `"{}"`), callAs("d", "a.b/c d", `"{}"`), callAs("e", "天気", `"{}"`), callAs("g", strings.Repeat("n", 200), `"{}"`)) +
		"," + resultAs("c", "one") + "," + resultAs("d", "two") + "," + resultAs("e", "three") + "," + resultAs("g", "four"), map[string]int{"one": 0, "two": 1, "three": 2, "four": 3}, nil},
	{"reasoning of another model", user + `,{"role":"assistant","content":"so","reasoning_content":"hm"},` + user, nil, []string{"so"}},
	{"an image in a result", user + "," + callsAs(callAs("c", "f", `"{}"`), callAs("d", "g", `"{}"`)) + `,{"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"one"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` + pixel + `"}}]},` + resultAs("d", "two"), map[string]int{"one": 0, "two": 1}, nil},
	{"a type of image that is called otherwise", `{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:IMAGE/JPG;base64,` + pixel + `"}}]}`, nil, []string{"look"}},
}

// generator makes up conversations, and notes what a server has to read in them.
type generator struct {
	*rand.Rand
	messages []string
	calls    int
	tokens   int
	pairs    map[string]int
	texts    []string
}

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// token returns a text that occurs once.
func (g *generator) token() string {
	g.tokens++
	text := fmt.Sprintf("<%d>", g.tokens)
	g.texts = append(g.texts, text)
	return text
}

func (g *generator) add(message string) { g.messages = append(g.messages, message) }

func (g *generator) body() string {
	g.pairs = make(map[string]int)
	if g.IntN(3) == 0 {
		g.add(`{"role":"system","content":"be kind"}`)
	}
	for range 1 + g.IntN(4) {
		g.users()
		g.assistant()
	}
	g.users()
	g.instruct()
	g.add(fmt.Sprintf(`{"role":"user","content":%s}`, JSON(g.token())))
	return `{"messages":[` + strings.Join(g.messages, ",") + `]}`
}

func (g *generator) users() {
	for range g.IntN(3) {
		g.instruct()
		switch g.IntN(4) {
		case 0:
			g.add(pick(g, `{"role":"user","content":""}`, `{"role":"user","content":" \n"}`, `{"role":"user","content":[]}`, `{"role":"user","content":[{"type":"text","text":" "}]}`))
		case 1:
			g.add(resultAs("lost", g.token()))
		default:
			g.add(fmt.Sprintf(`{"role":"user","content":%s}`, JSON(g.token()+pick(g, "", " ", "\n"))))
		}
	}
}

// instruct adds a system message now and then, not at the beginning: there it is
// no part of the conversation.
func (g *generator) instruct() {
	if len(g.messages) > 1 && g.IntN(4) == 0 {
		text := g.token()
		g.add(pick(g, system(text), fmt.Sprintf(`{"role":"developer","content":[{"type":"text","text":%s}]}`, JSON(text))))
	}
}

// assistant says something, or calls tools, whose results may be missing.
func (g *generator) assistant() {
	m := Object{"role": "assistant", "content": pick(g, any(nil), any(""), any(" "), any(g.token()+pick(g, "", " ")))}
	if s, _ := m["content"].(string); strings.TrimSpace(s) == "" {
		g.texts = g.texts[:len(g.texts)-1] // the token was not used
	}
	if g.IntN(3) == 0 {
		m["reasoning_content"] = "hm"
	}
	var calls []Object
	byID := make(map[string][]int)
	for range g.IntN(4) {
		id := pick(g, "call_0", "call_0", "call_1", "call_0_2", "functions.f:0", "functions/f:0", "é", strings.Repeat("i", 90))
		arguments := pick(g, any("{}"), any(""), any(nil), any("null"), any(`{"a":1}`), any(Object{"b": 2}), any(`{"cut`+g.token()), any("["+fmt.Sprint(g.tokens)+"]"))
		if s, ok := arguments.(string); !ok || !strings.Contains(s, "<") {
			g.texts = g.texts[:len(g.texts)-1]
		}
		calls = append(calls, Object{"id": id, "type": "function", "function": Object{
			"name": pick(g, "f", "g", "7zip", "a.b", "a_b", "a b", "天気", strings.Repeat("n", 80)), "arguments": arguments,
		}})
		byID[id] = append(byID[id], g.calls)
		g.calls++
	}
	if calls != nil {
		m["tool_calls"] = calls
	}
	g.add(string(JSON(m)))
	if calls == nil && g.IntN(2) == 0 {
		return
	}
	ids := make([]string, 0, len(byID))
	for _, c := range calls {
		ids = append(ids, c["id"].(string))
	}
	g.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids[:len(ids)-g.IntN(len(ids)+1)/2] {
		text := g.token()
		g.pairs[text] = byID[id][0]
		byID[id] = byID[id][1:]
		g.add(resultAs(id, text))
		g.instruct()
		if g.IntN(5) == 0 {
			g.add(fmt.Sprintf(`{"role":"user","content":%s}`, JSON(g.token())))
		}
	}
}

// tellsNamesBack checks that a client sees its own names of tools, whatever the
// server knows them by.
func tellsNamesBack(t *testing.T, d *Dialect) {
	s := d.start(t, upstream.Upstream{APIKey: configuredKey})
	names := []string{"7zip_extract", "a.b", "a b", "a/b", "a_b", "天気", strings.Repeat("n", 100) + "1", strings.Repeat("n", 100) + "2", "-x"}
	var tools []Object
	for _, name := range names {
		tools = append(tools, Object{"type": "function", "function": Object{"name": name}})
	}
	body := with(t, plainBody, string(JSON(Object{"tools": tools})))
	s.answerWhole(hi)
	if _, err := s.Complete(t.Context(), s.request(body)); err != nil {
		t.Fatal(err)
	}
	_, sent := s.sent(t)
	asked, err := s.Read(sent)
	if err != nil || len(asked.Tools) != len(names) {
		t.Fatalf("a strict server refuses it: %v\n%s", err, sent)
	}
	var parts []Part
	for i, name := range asked.Tools {
		parts = append(parts, Part{Call: i + 1, ID: fmt.Sprintf("id-%d", i), Name: name, Arguments: "{}"})
	}
	r := Reply{ID: "msg-1", Model: "model-that-answered", Parts: parts, Finish: "tool_calls", Usage: &provider.Usage{Input: 1, Output: 2}}
	s.both(t, func(t *testing.T, ask asking) {
		s.answerWhole(r)
		if strings.HasSuffix(t.Name(), "/stream") {
			s.answerStream(r, Whole)
		}
		a := ask(t.Context(), t, s, s.request(body))
		var told []string
		for _, call := range a.ToolCalls {
			told = append(told, call.Name)
		}
		if a.Err != nil || !slices.Equal(told, names) {
			t.Errorf("got %q, %v, want %q", told, a.Err, names)
		}
	})
	s.forget()
	s.answerWhole(hi)
	for i, name := range names {
		chosen := with(t, body, string(JSON(Object{"tool_choice": Object{"type": "function", "function": Object{"name": name}}})))
		if _, err := s.Complete(t.Context(), s.request(chosen)); err != nil {
			s.refused(t, requestCase{param: "tool_choice"}, err)
			continue
		}
		_, sent := s.sent(t)
		if again, err := s.Read(sent); err != nil || again.Choice != asked.Tools[i] {
			t.Errorf("chose %q, %v, want %q: %s", again.Choice, err, asked.Tools[i], sent)
		}
	}
}
