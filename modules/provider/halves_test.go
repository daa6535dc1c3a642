package provider

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestHalves(t *testing.T) {
	delta := func(d, finish string) string {
		return `{"id":"\\","choices":[{"index":0,"delta":` + d + `,"finish_reason":` + finish + `}]}`
	}
	text := func(s string) string { return delta(`{"content":"`+s+`"}`, "null") }
	args := func(index, s string) string {
		return delta(`{"tool_calls":[{"index":`+index+`,"function":{"arguments":"`+s+`"}}]}`, "null")
	}
	for _, tc := range []struct {
		name     string
		in, want []string
	}{
		{"a_pair_in_two_events", []string{text(`hi \ud83d`), text(`\ude00!`)}, []string{text(`hi `), text(`\ud83d\ude00!`)}},
		{"in_capitals", []string{text(`\uD83D`), text(`\uDE00`)}, []string{text(``), text(`\uD83D\uDE00`)}},
		{"two_pairs_shifted", []string{text(`\ud83d`), text(`\ude00\ud83d`), text(`\ude01`)}, []string{text(``), text(`\ud83d\ude00`), text(`\ud83d\ude01`)}},
		{"other_members_and_empty_ones_between", []string{text(`\ud83d`), text(``), delta(`{"reasoning":"x"}`, "null"), delta(`{}`, "null"), `{"choices":[]}`, text(`\ude00`)},
			[]string{text(``), text(``), delta(`{"reasoning":"x"}`, "null"), delta(`{}`, "null"), `{"choices":[]}`, text(`\ud83d\ude00`)}},
		{"two_members", []string{delta(`{"content":"\ud83d","reasoning":"\ud83e"}`, "null"), delta(`{"reasoning":"\udd14","content":"\ude00"}`, "null")},
			[]string{delta(`{"content":"","reasoning":""}`, "null"), delta(`{"reasoning":"\ud83e\udd14","content":"\ud83d\ude00"}`, "null")}},
		{"two_choices", []string{`{"choices":[{"index":0,"delta":{"content":"\ud83d"}},{"index":1,"delta":{"content":"\ud83e"}}]}`, `{"choices":[{"index":1,"delta":{"content":"\udd14"}}]}`, `{"choices":[{"delta":{"content":"\ude00"}}]}`},
			[]string{`{"choices":[{"index":0,"delta":{"content":""}},{"index":1,"delta":{"content":""}}]}`, `{"choices":[{"index":1,"delta":{"content":"\ud83e\udd14"}}]}`, `{"choices":[{"delta":{"content":"\ud83d\ude00"}}]}`}},
		{"arguments_of_two_calls", []string{args("0", `\ud83d`), args("1", `\ud83e`), args("0", `\ude00`), args("1", `\udd14`)},
			[]string{args("0", ``), args("1", ``), args("0", `\ud83d\ude00`), args("1", `\ud83e\udd14`)}},
		{"without_the_other_half", []string{text(`\ud83d`), text(`x\ud83d`), text(`\ud83d`), text(`\u0041`)}, []string{text(``), text("\ufffdx"), text("\ufffd"), text("\ufffd" + `\u0041`)}},
		{"the_second_half_alone", []string{text(`\ude00`)}, []string{text(`\ude00`)}},
		{"an_escaped_backslash", []string{text(`\\ud83d`), text(`\\\ud83d`), text(`\ude00`)}, []string{text(`\\ud83d`), text(`\\`), text(`\ud83d\ude00`)}},
		{"at_the_finish", []string{text(`\ud83d`), delta(`{}`, `"stop"`), delta(`{}`, `"stop"`)}, []string{text(``), delta(`{"content":"`+"\ufffd"+`"}`, `"stop"`), delta(`{}`, `"stop"`)}},
		{"at_the_finish_beside_another_member", []string{text(`\ud83d`), delta(`{"reasoning":"\ud83d"}`, `"stop"`)}, []string{text(``), delta(`{"content":"`+"\ufffd"+`","reasoning":"`+"\ufffd"+`"}`, `"stop"`)}},
		{"within_the_finish", []string{text(`\ud83d`), delta(`{"content":""}`, `"stop"`)}, []string{text(``), delta(`{"content":"`+"\ufffd"+`"}`, `"stop"`)}},
		{"arguments_at_the_finish", []string{args("0", `\ud83d`), delta(`{}`, `"stop"`)}, []string{args("0", ``), delta(`{}`, `"stop"`)}},
		{"bytes_of_a_letter", []string{text("a\xf0\x9f"), text("\x98\x80b\xc3"), text("\xbc")}, []string{text("a"), text("\xf0\x9f\x98\x80b"), text("ü")}},
		{"bytes_without_the_others", []string{text("a\xf0\x9f"), text("b")}, []string{text("a"), text("\ufffdb")}},
		{"bytes_that_are_no_letter", []string{text("a\xff"), text("\x80")}, []string{text("a\xff"), text("\x80")}},
		{"anthropic", []string{`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ud83d"}}`, `{"type":"content_block_delta","index":1,"delta":{"text":"a"}}`, `{"type":"content_block_delta","index":0,"delta":{"text":"\ude00"}}`},
			[]string{`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`, `{"type":"content_block_delta","index":1,"delta":{"text":"a"}}`, `{"type":"content_block_delta","index":0,"delta":{"text":"\ud83d\ude00"}}`}},
		{"not_json", []string{text(`\ud83d`), `{"choices":[{"index":0,"delta":{"content":"\ude00`, text(`\ude00`)}, []string{text(``), `{"choices":[{"index":0,"delta":{"content":"\ude00`, text(`\ud83d\ude00`)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h Halves
			for i, in := range tc.in {
				if got := string(h.Join([]byte(in))); got != tc.want[i] {
					t.Errorf("event %d\ngot  %q\nwant %q", i, got, tc.want[i])
				}
			}
		})
	}
	t.Run("other_events_are_left_alone", func(t *testing.T) {
		var h Halves
		raw := []byte(regularChunk)
		if n := testing.AllocsPerRun(100, func() { h.Join(raw) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
	t.Run("what_waits_is_bounded", func(t *testing.T) {
		var h Halves
		for i := range 10 * maxHalves {
			h.Join(fmt.Appendf(nil, `{"a":{"%d":"\ud83d"}}`, i))
		}
		if len(h.open) > maxHalves {
			t.Errorf("%d halves wait", len(h.open))
		}
	})
}

// TestHalvesProperty cuts texts anywhere, also within a character, and reads the
// pieces back.
func TestHalvesProperty(t *testing.T) {
	letters := []string{"a", "é", "€", "😀", "🤔", `\"`, `\\`, `\n`, "\u2028"}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 2))
		var units []string // what a text may be cut between
		want := ""
		for range r.IntN(12) {
			l := letters[r.IntN(len(letters))]
			var plain string
			if err := json.Unmarshal([]byte(`"`+l+`"`), &plain); err != nil {
				t.Fatal(err)
			}
			want += plain
			switch {
			case l[0] == '\\':
				units = append(units, l)
			case r.IntN(2) == 0:
				for i := range len(l) {
					units = append(units, l[i:i+1])
				}
			default:
				for _, u := range utf16s(plain) {
					units = append(units, fmt.Sprintf(`\u%04x`, u))
				}
			}
		}
		var h Halves
		got := ""
		for len(units) > 0 {
			n := 1 + r.IntN(len(units))
			event := `{"choices":[{"index":0,"delta":{"role":"assistant","content":"` + strings.Join(units[:n], "") + `"}}]}`
			f, ok := ParseChunk(h.Join([]byte(event)))
			if !ok {
				t.Fatalf("seed %d: %s is no chunk", seed, event)
			}
			got += f.Text
			units = units[n:]
		}
		if got != want || h.Open() {
			t.Fatalf("seed %d: got %q, want %q", seed, got, want)
		}
	}
}

func utf16s(s string) (units []uint16) {
	for _, r := range s {
		if r > 0xffff {
			r -= 0x10000
			units = append(units, uint16(0xd800+r>>10), uint16(0xdc00+r&0x3ff))
			continue
		}
		units = append(units, uint16(r))
	}
	return units
}

// FuzzHalves holds that events stay valid, and that those without a half are left
// alone.
func FuzzHalves(f *testing.F) {
	f.Add(`{"choices":[{"index":0,"delta":{"content":"\ud83d"}}]}`, `{"choices":[{"index":0,"delta":{"content":"\ude00"},"finish_reason":"stop"}]}`)
	f.Add(`{"choices":[{"delta":{"tool_calls":[{"index":"1","function":{"arguments":"\ud83d"}}]}}]}`, `{"choices":[{"delta":{"content":[{"text":"\\\ud83d"}]}}]}`)
	f.Add("{\"a\":\"\xf0\x9f\"}", "{\"a\":\"\x98\x80\"}")
	f.Fuzz(func(t *testing.T, one, two string) {
		var h Halves
		for _, event := range []string{one, two} {
			open := h.Open()
			got := h.Join([]byte(event))
			if json.Valid([]byte(event)) && !json.Valid(got) {
				t.Fatalf("%q becomes %q", event, got)
			}
			if !open && !hasHalf([]byte(event)) && string(got) != event {
				t.Errorf("%q becomes %q", event, got)
			}
			if gjson.Get(event, "choices.#").Int() != gjson.GetBytes(got, "choices.#").Int() {
				t.Errorf("%q becomes %q", event, got)
			}
		}
	})
}
