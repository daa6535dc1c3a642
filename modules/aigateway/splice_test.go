package aigateway

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// received is what a client has of an answer.
type received struct {
	text, reasoning string
	calls           string // arguments of tool calls
	finished        int
	ids             map[string]bool
	roles           int
	empty           int // chunks that hold nothing at all
}

func (r *received) add(raw []byte) {
	if r.ids == nil {
		r.ids = make(map[string]bool)
	}
	r.ids[gjson.GetBytes(raw, "id").Str] = true
	choice := gjson.GetBytes(raw, "choices.0")
	delta := choice.Get("delta")
	text, reasoning := delta.Get("content").Str, delta.Get("reasoning_content").Str
	calls := delta.Get("tool_calls.0.function.arguments").Str
	r.text += text
	r.reasoning += reasoning
	r.calls += calls
	if delta.Get("role").Exists() {
		r.roles++
	}
	if choice.Get("finish_reason").Str != "" {
		r.finished++
	} else if text+reasoning+calls == "" && !gjson.GetBytes(raw, "usage").Exists() {
		r.empty++
	}
}

// splice gives a client a first answer, which is cut, and then a second one
// made with these steps. It returns how that ended.
func splice(t testing.TB, first, second []step, goOn func(*sent, chunks) *spliced) (*received, error) {
	t.Helper()
	var s sent
	got := new(received)
	for _, do := range first {
		c, err := do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.note(c)
		got.add(c.Raw)
	}
	in := goOn(&s, &playing{ctx: t.Context(), reply: reply{steps: second}})
	for {
		c, err := in.Next()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got.add(c.Raw)
	}
}

func withID(id string, do step) step {
	return func(ctx context.Context) (*provider.Chunk, error) {
		c, err := do(ctx)
		c.Raw = []byte(strings.Replace(string(c.Raw), "id-1", id, 1))
		return c, err
	}
}

func TestSplice(t *testing.T) {
	role := delta(`"role":"assistant","content":""`)
	thinks := func(s string) step { return delta(`"reasoning_content":"` + s + `"`) }
	measured := func(s string) step {
		return chunk(`[{"index":0,"delta":{"content":"`+s+`"},"logprobs":{"content":[{"token":"`+s+`"}]}}]`, "")
	}
	for _, tc := range []struct {
		name          string
		first, second []step
		want          received // of the whole; text and reasoning of the first where it diverges
		diverges      bool
	}{
		{name: "the_same_in_other_pieces", first: []step{role, text("Once "), text("up")},
			second: []step{role, text("On"), text("ce upon"), text(" a time"), finish("stop"), end}, want: received{text: "Once upon a time", roles: 1}},
		{name: "nothing_is_missing", first: []step{text("Once")}, second: []step{text("Once"), finish("stop"), end}, want: received{text: "Once"}},
		{name: "the_finish_comes_with_the_last_text", first: []step{text("Once")},
			second: []step{chunk(`[{"index":0,"delta":{"content":"Once"},"finish_reason":"stop"}]`, ""), end}, want: received{text: "Once"}},
		{name: "it_finishes_too_early", first: []step{text("Once ")}, second: []step{text("Once"), finish("length"), end}, want: received{text: "Once "}, diverges: true},
		{name: "it_ends_too_early", first: []step{text("Once ")}, second: []step{text("Once"), end}, want: received{text: "Once "}, diverges: true},
		{name: "another_text", first: []step{text("Once ")}, second: []step{text("On"), text("ly"), finish("stop"), end}, want: received{text: "Once "}, diverges: true},
		{name: "another_choice_is_another_answer", first: []step{text("Once ")},
			second: []step{chunk(`[{"index":1,"delta":{"content":"Once"}}]`, ""), text("Once upon"), finish("stop"), end}, want: received{text: "Once "}, diverges: true},
		{name: "a_tool_call_within_what_was_sent", first: []step{text("Once ")},
			second: []step{text("Once"), delta(`"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]`), end}, want: received{text: "Once "}, diverges: true},
		{name: "a_tool_call_behind_it", first: []step{text("Once ")},
			second: []step{text("Once "), delta(`"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]`), finish("tool_calls"), end}, want: received{text: "Once ", calls: "{}"}},
		{name: "a_tool_call_beside_thoughts", first: []step{text("Once ")},
			second: []step{text("Once "), delta(`"reasoning_content":"Hm","tool_calls":[{"index":0,"function":{"arguments":"{}"}}]`), finish("tool_calls"), end}, want: received{text: "Once ", calls: "{}"}},
		{name: "other_thoughts_before_the_same_text", first: []step{thinks("Hm"), text("Once ")},
			second: []step{thinks("Well"), text("Once upon"), thinks("so"), finish("stop"), end}, want: received{text: "Once upon", reasoning: "Hm"}},
		{name: "the_same_thoughts", first: []step{thinks("Hm")},
			second: []step{thinks("H"), thinks("mm"), text("Once"), finish("stop"), end}, want: received{text: "Once", reasoning: "Hmm"}},
		{name: "text_in_the_middle_of_thoughts", first: []step{thinks("Hm")},
			second: []step{thinks("H"), text("Once"), thinks("m"), finish("stop"), end}, want: received{reasoning: "Hm"}, diverges: true},
		{name: "half_a_letter", first: []step{delta(`"content":"gr` + "\xc3" + `"`)},
			second: []step{text("grün"), finish("stop"), end}, want: received{text: "gr\xc3"}, diverges: true},
		{name: "probabilities_of_whole_tokens", first: []step{measured("Once")},
			second: []step{measured("Once"), measured(" upon"), finish("stop"), end}, want: received{text: "Once upon"}},
		{name: "probabilities_of_half_a_token", first: []step{measured("On")},
			second: []step{measured("Once"), measured(" upon"), finish("stop"), end}, want: received{text: "On"}, diverges: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, do := range tc.second {
				if i < len(tc.second)-1 {
					tc.second[i] = withID("id-2", do)
				}
			}
			got, err := splice(t, tc.first, tc.second, (*sent).again)
			if errors.Is(err, errDiverged) != tc.diverges || err != nil && !tc.diverges {
				t.Errorf("it ends with %v", err)
			}
			if got.text != tc.want.text || got.reasoning != tc.want.reasoning || got.calls != tc.want.calls || got.roles != tc.want.roles {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if !tc.diverges && got.finished != 1 || len(got.ids) != 1 {
				t.Errorf("finished %d times, with ids %v", got.finished, got.ids)
			}
			if got.empty > tc.want.roles {
				t.Errorf("%d chunks hold nothing", got.empty)
			}
		})
	}
}

// TestSealedReasoning tells reasoning that stands in the middle of an answer, which another
// one may go on, from signatures of the whole.
func TestSealedReasoning(t *testing.T) {
	for block, fixed := range map[string]bool{
		`{"type":"reasoning","index":1,"item":{"type":"reasoning","id":"rs_1","encrypted_content":"g"}}`: false,
		`{"type":"thinking","thinking":"Hm","signature":"s"}`:                                            true,
	} {
		var s sent
		for _, do := range []step{delta(`"reasoning_content":"Hm"`), delta(`"thinking_blocks":[` + block + `]`), text("Once ")} {
			c, err := do(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.note(c)
		}
		if s.fixed != fixed {
			t.Errorf("%s: fixed %t", block, s.fixed)
		}
	}
}

// TestSentBound has an answer that is too long to be asked for again: no more of it is held.
func TestSentBound(t *testing.T) {
	var s sent
	for name, chunk := range map[string]*provider.Chunk{
		"text":      {Facts: provider.Facts{Text: strings.Repeat("x", 64<<10), Content: true}},
		"reasoning": {Facts: provider.Facts{Reasoning: strings.Repeat("x", 64<<10), Content: true}},
	} {
		s = sent{}
		for range 64 {
			s.note(chunk)
			if n := s.text.Len() + s.reasoning.Len(); n > maxSent {
				t.Fatalf("%s: %d bytes are held", name, n)
			}
		}
		if !s.fixed {
			t.Errorf("%s: it is to be continued", name)
		}
	}
}

// TestContinued has second answers that begin where the first one broke off,
// but for white space at its end, which they may give again.
func TestContinued(t *testing.T) {
	for _, tc := range []struct {
		name, first string
		second      []step
		want        string
		diverges    bool
	}{
		{"behind_a_word", "Once", []step{text(" upon"), finish("stop"), end}, "Once upon", false},
		{"behind_a_space", "Once ", []step{text(" upon"), finish("stop"), end}, "Once upon", false},
		{"within_white_space", "Once\n", []step{text("\n\n"), text("upon"), finish("stop"), end}, "Once\n\nupon", false},
		{"other_white_space", "Once ", []step{text("\nupon"), finish("stop"), end}, "Once ", true},
		{"nothing_more", "Once", []step{finish("stop"), end}, "Once", false},
		{"its_thoughts_are_its_own", "Once", []step{delta(`"reasoning_content":"Hm"`), text(" upon"), finish("stop"), end}, "Once upon", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := splice(t, []step{text(tc.first)}, tc.second, func(s *sent, in chunks) *spliced {
				return s.onward(in, len(strings.TrimSpace(tc.first)))
			})
			if errors.Is(err, errDiverged) != tc.diverges || got.text != tc.want || got.reasoning != "" || got.empty > 0 {
				t.Errorf("got %+v, %v, want %q", got, err, tc.want)
			}
		})
	}
}

// pieces cuts a text into chunks at random.
func pieces(r *rand.Rand, s string, piece func(string) step) (list []step) {
	for s != "" {
		n := 0
		for letters := 1 + r.IntN(4); letters > 0 && n < len(s); letters-- {
			_, size := utf8.DecodeRuneInString(s[n:])
			n += size
		}
		list = append(list, piece(s[:n]))
		s = s[n:]
	}
	return list
}

// FuzzSplice cuts an answer anywhere, and gives another one in any pieces:
// what the client gets is one of the two, and never a seam.
func FuzzSplice(f *testing.F) {
	f.Add("Let me see.", "Once upon a time", "Let me see.", "Once upon a time", uint64(1), uint(5))
	f.Add("", "grün, grün", "", "grün, grau", uint64(2), uint(3))
	f.Add("aaaa", "", "aaab", "aaaa", uint64(3), uint(2))
	f.Add("", "aaaaaaaa", "x", "aaaaaaaaaaaa", uint64(4), uint(9))
	f.Add("a", "a", "", "aa", uint64(5), uint(1))
	f.Fuzz(func(t *testing.T, think1, text1, think2, text2 string, seed uint64, cut uint) {
		r := rand.New(rand.NewPCG(seed, 0))
		for _, s := range []*string{&think1, &text1, &think2, &text2} {
			*s = strings.ToValidUTF8(*s, "?")
		}
		says := func(s string) step { return delta(`"content":` + string(provider.Encode(s))) }
		thinks := func(s string) step { return delta(`"reasoning_content":` + string(provider.Encode(s))) }
		first := append(pieces(r, think1, thinks), pieces(r, text1, says)...)
		first = first[:min(int(cut%64), len(first))]
		second := append(append(pieces(r, think2, thinks), pieces(r, text2, says)...), finish("stop"), end)

		before, _ := splice(t, first, []step{end}, (*sent).again)
		got, err := splice(t, first, second, (*sent).again)
		var same bool
		want := received{text: text2, reasoning: before.reasoning}
		if before.text != "" {
			same = strings.HasPrefix(text2, before.text)
		} else {
			same = strings.HasPrefix(think2, before.reasoning)
			want.reasoning = think2
		}
		if !same {
			want = received{text: before.text, reasoning: before.reasoning}
		}
		if (err == nil) != same || err != nil && !errors.Is(err, errDiverged) {
			t.Errorf("it ends with %v", err)
		}
		if got.text != want.text || got.reasoning != want.reasoning {
			t.Errorf("the client has %q and %q, then comes %q and %q: it gets %q and %q", before.reasoning, before.text, think2, text2, got.reasoning, got.text)
		}
		if same && got.finished != 1 || !same && got.finished != 0 {
			t.Errorf("finished %d times", got.finished)
		}
	})
}
