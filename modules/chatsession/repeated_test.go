package chatsession

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func TestRepeated(t *testing.T) {
	for _, tc := range []struct {
		name, past, sent string
		want             int
	}{
		{"a_new_question", "u:1 a:2", "u:3", 0},
		{"an_answered_question_is_a_new_one", "u:1 a:2", "u:1", 0},
		{"an_unanswered_question", "u:1 a:2 u:3", "u:3", 1},
		{"another_one_after_an_unanswered", "u:1", "u:2", 0},
		{"unanswered_results", "u:1 a:+c1,c2 t:r1-c1 t:r2-c2", "t:r1-c1 t:r2-c2", 2},
		{"other_results", "u:1 a:+c1 t:r1-c1", "t:r1-c2", 0},
		{"the_whole_conversation", "u:1 a:2 u:3 a:4", "u:1 a:2 u:3 a:4 u:5", 4},
		{"the_end_of_it", "u:1 a:2 u:3 a:4", "u:3 a:4 u:5", 2},
		{"the_whole_with_calls", "u:1 a:+c1", "u:1 a:+c1 t:r-c1", 2},
		{"more_than_there_is", "a:4", "u:3 a:4 u:5", 0},
		{"the_longest", "u:1 u:1", "u:1 u:1", 2},
		{"nothing", "", "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			past := conversation(t, tc.past)
			got, from := repeated(past, conversation(t, tc.sent))
			if got != tc.want || from != len(past)-tc.want {
				t.Errorf("got %d from %d, want %d of %d", got, from, tc.want, len(past))
			}
		})
	}
}

// TestRepeatedWithoutTheOldest has sessions that have lost their oldest messages.
func TestRepeatedWithoutTheOldest(t *testing.T) {
	for _, tc := range []struct {
		name, past, sent string
		want             int
	}{
		{"the_whole_conversation", "u:3 a:4", "u:1 a:2 u:3 a:4 u:5", 4},
		{"nothing_new", "u:3 a:4", "u:1 a:2 u:3 a:4", 4},
		{"the_end_of_it", "u:3 a:4 u:5 a:6", "u:5 a:6 u:7", 2},
		{"another_conversation", "u:3 a:4", "u:1 a:2 u:3 a:5 u:5", 0},
		{"what_repeats_is_found_where_it_is_last", "u:1 a:1", "u:1 a:1 u:1 a:1 u:2", 4},
		{"a_part_of_what_is_there", "u:3 a:4 u:5", "u:2 u:3", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			past := conversation(t, tc.past)
			for i, m := range past {
				m.Seq = uint64(i) + 3
			}
			if got, _ := repeated(past, conversation(t, tc.sent)); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// TestRepeatedProperty holds the search against the definition.
func TestRepeatedProperty(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 3))
		var all [2][]*store.Message
		for i := range all {
			for range r.IntN(9) {
				all[i] = append(all[i], newMessage(roleUser, string(rune('a'+r.IntN(2)))))
			}
		}
		past, sent, want := all[0], all[1], 0
		for n := range min(len(past), len(sent)) + 1 {
			if slices.EqualFunc(past[len(past)-n:], sent[:n], func(a, b *store.Message) bool { return a.Content == b.Content }) {
				want = n
			}
		}
		if got, from := repeated(past, sent); got != want || from != len(past)-want {
			t.Fatalf("%s and %s: got %d, want %d", inShort(past), inShort(sent), got, want)
		}
	}
}

// TestRepeatedUnheard has system messages, "s:", and answers that are only the work of a
// server's tools, "w:" and the ids of their calls, or nothing.
func TestRepeatedUnheard(t *testing.T) {
	for _, tc := range []struct {
		name, past, sent string
		again, from      int
	}{
		{"a_pause_is_continued", "u:1 w:s1", "u:1 w:s1", 2, 0},
		{"with_the_pause_alone", "u:0 a:0 u:1 w:s1", "w:s1", 1, 3},
		{"twice_in_a_row", "u:1 w:s1 w:s2", "u:1 w:s1 w:s2", 3, 0},
		{"joined_to_one", "u:1 w:s1 w:s2", "u:1 w:s1,s2", 2, 0},
		{"joined_to_one_alone", "u:1 w:s1 w:s2", "w:s1,s2", 1, 1},
		{"the_last_of_two", "u:1 w:s1 w:s2", "u:1 w:s2", 2, 0},
		{"the_last_of_two_alone", "u:1 w:s1 w:s2", "w:s2", 1, 2},
		{"the_next_question", "u:1 w:s1", "u:1 w:s1 u:2", 2, 0},
		{"the_next_question_behind_the_pause_alone", "u:1 w:s1", "w:s1 u:2", 1, 1},
		{"joined_to_what_follows", "u:1 w:s1 a:2", "u:1 a:2 u:3", 2, 0},
		{"behind_what_follows", "u:1 w:s1 a:2", "u:1 w:s1 a:2 u:3", 3, 0},
		{"another_pause", "u:1 w:s1", "u:1 w:s2", 1, 0},
		{"a_question_that_was_answered_so", "u:1 w:s1", "u:1", 0, 2},
		{"an_answer_of_thoughts_alone", "u:1 w:", "u:1 w: u:2", 2, 0},
		{"an_answer_of_thoughts_left_out", "u:1 w:", "u:1 u:2", 1, 0},
		{"another_question", "u:1 w:s1", "u:2", 0, 2},
		{"nothing_was_said", "", "w:s1", 0, 0},

		{"a_system_message", "u:1 s:x a:1", "u:1 s:x a:1 u:2", 3, 0},
		{"a_system_message_left_out", "u:1 s:x a:1", "u:1 a:1 u:2", 2, 0},
		{"another_system_message", "u:1 s:x a:1", "u:1 s:y a:1 u:2", 3, 0},
		{"a_system_message_that_is_new", "u:1 a:1", "u:1 a:1 s:x u:2", 2, 0},
		{"and_behind_the_question", "u:1 s:x a:1", "u:1 s:x a:1 u:2 s:x", 3, 0},
		{"a_question_with_it_asked_again", "u:0 a:0 u:1 s:x", "u:1 s:x", 2, 2},
		{"a_question_asked_again_without_it", "u:0 a:0 u:1 s:x", "u:1", 1, 2},
		{"one_that_the_conversation_begins_with", "s:x u:1 a:1", "s:x u:1 a:1 u:2", 3, 0},
		{"one_that_leads_to_the_end_of_it", "u:0 a:0 s:x u:1 a:1", "s:x u:1 a:1 u:2", 3, 2},
		{"another_in_front_of_the_end_of_it", "u:0 a:0 s:x u:1 a:1", "s:y u:1 a:1 u:2", 3, 3},
		{"the_same_for_another_question", "u:1 s:x", "u:2 s:x", 0, 2},
		{"behind_a_result", "u:1 a:+c1 t:r-c1 s:x a:1", "u:1 a:+c1 t:r-c1 s:x a:1 u:2", 5, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if again, from := repeated(conversation(t, tc.past), conversation(t, tc.sent)); again != tc.again || from != tc.from {
				t.Errorf("got %d from %d, want %d from %d", again, from, tc.again, tc.from)
			}
		})
	}
}
