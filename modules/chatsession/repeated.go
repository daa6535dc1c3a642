package chatsession

import (
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// repeated returns how many of the sent messages the session already has, and the place of
// the first of them in the past: a question without an answer that is asked again, or a
// conversation that the client sends as a whole each time. The session ends with them. If it
// has lost its oldest messages, or there is no room for them, then the sent ones may begin
// earlier.
//
// Messages that are not heard do not have to be the same: a client may leave them out, or
// join the pieces of an answer that has paused.
func repeated(past, sent []*store.Message) (again, from int) {
	was, is := heard(past), heard(sent)
	n, from := matching(past, sent, was, is)
	at, behind := 0, past
	if n > 0 {
		at = is[n-1] + 1
	}
	if len(was) > 0 {
		behind = past[was[len(was)-1]+1:]
	}
	known := tracesOf(behind)
	for again = at; again < len(sent) && !isHeard(sent[again]) && known.all(sent[again]); again++ {
	}
	if n > 0 && again == at && at == len(sent) && slices.ContainsFunc(behind, isAnswer) {
		return 0, len(past) // the question has an answer, though one without words
	}
	lead := sent[:again]
	if n > 0 {
		lead = sent[:is[0]]
	}
	return again, led(past, from, tracesOf(lead))
}

// heard returns the places of the messages that are heard.
func heard(msgs []*store.Message) []int {
	var list []int
	for i, m := range msgs {
		if isHeard(m) {
			list = append(list, i)
		}
	}
	return list
}

// matching returns how many of the sent messages that are heard the session has, and the
// place of the first of them in the past.
func matching(past, sent []*store.Message, was, is []int) (n, from int) {
	if len(was) == 0 || len(is) == 0 {
		return 0, len(past)
	}
	said := meaningsAt(sent, is)
	if past[0].Seq > 1 && len(was) < len(is) {
		if _, end := overlap(said, meaningsAt(past, was)); end > 0 {
			return end, 0
		}
	}
	last := was[max(0, len(was)-len(is)):]
	if n, _ = overlap(meaningsAt(past, last), said); n == 0 {
		return 0, len(past)
	}
	return n, was[len(was)-n]
}

// led returns where those of the past begin that lead to a message: those right before it
// that have one of the traces.
func led(past []*store.Message, to int, by traces) int {
	begin := to
	for begin > 0 && !isHeard(past[begin-1]) {
		begin--
	}
	for i, m := range past[begin:to] {
		if by.some(m) {
			return begin + i
		}
	}
	return to
}

// overlap returns how many of the first messages of b are the last ones of a. end
// is where the last occurrence of all of b ends in a, or 0. It compares each
// message a constant number of times (Knuth, Morris and Pratt).
func overlap(a, b []meaning) (n, end int) {
	// shorter[i] is the length of the longest beginning of b that b[:i+1] ends
	// with, other than itself.
	shorter := make([]int, len(b))
	for i := 1; i < len(b); i++ {
		n = next(b, shorter, n, b[i])
		shorter[i] = n
	}
	n = 0
	for i, m := range a {
		if n == len(b) {
			n = shorter[n-1]
		}
		n = next(b, shorter, n, m)
		if n == len(b) {
			end = i + 1
		}
	}
	return n, end
}

// next returns the length of the longest beginning of b that ends with m, after
// one of length n.
func next(b []meaning, shorter []int, n int, m meaning) int {
	for n > 0 && b[n] != m {
		n = shorter[n-1]
	}
	if b[n] == m {
		n++
	}
	return n
}
