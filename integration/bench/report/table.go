package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Table is a Markdown table, padded to be readable in a terminal too.
type Table struct {
	Head []string
	Rows [][]string
}

func (t *Table) Add(cells ...string) {
	t.Rows = append(t.Rows, cells)
}

func (t *Table) String() string {
	widths := make([]int, len(t.Head))
	rule := make([]string, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
	}
	var b strings.Builder
	for _, row := range append([][]string{t.Head, rule}, t.Rows...) {
		for i, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+1))
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// Overview has a row per figure and a column per contender, with its ratio to the
// base and its median.
func Overview(r Results, figures []Figure, names []string, base string) *Table {
	t := &Table{Head: append([]string{""}, names...)}
	for _, f := range figures {
		row := []string{f.Name}
		known := false
		for _, name := range names {
			value, ratio := r.Spread(name, f.Key), r.Ratio(name, base, f.Key)
			known = known || value.Known()
			switch {
			case !value.Known():
				row = append(row, "–")
			case !ratio.Known():
				row = append(row, number(value.Median)+" "+f.Unit)
			default:
				row = append(row, fmt.Sprintf("%.2f (%s %s)", ratio.Median, number(value.Median), f.Unit))
			}
		}
		if known {
			t.Add(row...)
		}
	}
	return t
}

// Details has a row per figure of each contender, with the spread.
func Details(r Results, figures []Figure, names []string, base string) *Table {
	t := &Table{Head: []string{"", "", "median", "min..max", "ratio", "min..max"}}
	for _, f := range figures {
		title := f.Name
		for _, name := range names {
			value, ratio := r.Spread(name, f.Key), r.Ratio(name, base, f.Key)
			if !value.Known() {
				continue
			}
			t.Add(title, name, number(value.Median)+" "+f.Unit, value.between(), ratio.ratio(), ratio.between())
			title = ""
		}
	}
	return t
}

// Diff has a row per figure of each contender: its value in the base, its value in
// the head, and their ratio.
func Diff(base, head Results, figures []Figure, names []string) *Table {
	t := &Table{Head: []string{"", "", "base", "head", "head/base", "min..max"}}
	for _, f := range figures {
		title := f.Name
		for _, name := range names {
			was, is := base.Spread(name, f.Key), head.Spread(name, f.Key)
			if !was.Known() || !is.Known() {
				continue
			}
			ratio := head.RatioTo(base, name, name, f.Key)
			t.Add(title, name, number(was.Median)+" "+f.Unit, number(is.Median)+" "+f.Unit, ratio.ratio(), ratio.between())
			title = ""
		}
	}
	return t
}

func (s Spread) ratio() string {
	if !s.Known() {
		return "–"
	}
	return fmt.Sprintf("%.2f", s.Median)
}

func (s Spread) between() string {
	if !s.Known() {
		return "–"
	}
	return number(s.Min) + ".." + number(s.Max)
}

// number formats three digits, or all of those before the point.
func number(v float64) string {
	switch abs := max(v, -v); {
	case abs < 0.9995:
		return fmt.Sprintf("%.3f", v)
	case abs >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case abs >= 9.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
