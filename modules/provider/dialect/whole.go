package dialect

import "strings"

// Whole is an answer that is put together from all that a model produced. The
// zero Whole is an empty answer.
type Whole struct {
	text, refusal, reasoning strings.Builder
	calls                    []Call
	arguments                []*strings.Builder // of each call
	thinking                 []ThinkingBlock
}

// Add adds more output.
func (w *Whole) Add(o Output) {
	w.text.WriteString(o.Text)
	w.refusal.WriteString(o.Refusal)
	w.reasoning.WriteString(o.Reasoning)
	w.thinking = append(w.thinking, o.Thinking...)
	for _, c := range o.Calls {
		if c.Index == len(w.calls) {
			w.calls = append(w.calls, c)
			w.arguments = append(w.arguments, new(strings.Builder))
		}
		w.arguments[c.Index].WriteString(c.Arguments)
	}
}

func (w *Whole) output() Output {
	for i := range w.calls {
		w.calls[i].Arguments = w.arguments[i].String()
	}
	return Output{
		Text:      w.text.String(),
		Refusal:   w.refusal.String(),
		Reasoning: w.reasoning.String(),
		Calls:     w.calls,
		Thinking:  w.thinking,
	}
}
