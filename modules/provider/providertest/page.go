package providertest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// doorPage has a table of what comes through every door, with a column for each type of
// provider.
const doorPage = "../../../docs/apis.md"

// lines are those of the table, and whether a dialect has it.
var lines = []struct {
	name string
	has  func(d *Dialect) bool
}{
	{"text, tools, parallel calls, stop reasons, cuts, two turns", func(*Dialect) bool { return true }}, // as doors checks
	{"images as data", takes("image")},
	{"images by URL", takes("image by URL")},
	{"files", takes("file")},
	{"answers by a schema", takes("JSON by a schema")},
	{"reasoning", has(HasReasoning)},
	{"tokens of the reasoning", has(HasReasoningCount)},
	{"cached tokens", has(HasCachedCount)},
	{"answers that a filter has ended", has(HasContentFilter)},
}

func has(f Feature) func(*Dialect) bool { return func(d *Dialect) bool { return d.has(f) } }

// takes reports whether what a case of requests asks for reaches the server.
func takes(name string) func(*Dialect) bool {
	return func(d *Dialect) bool {
		_, ok := d.Bodies[name]
		return ok || d.Bodies == nil
	}
}

// page compares the column of the dialect's type with what this suite has found.
func page(t *testing.T, d *Dialect) {
	if d.Column == "" {
		return
	}
	text, err := os.ReadFile(doorPage)
	if err != nil {
		t.Fatal(err)
	}
	table := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); len(cells) > 2 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			table[cells[0]] = cells
		}
	}
	column := slices.Index(table[""], "`"+d.Column+"`")
	if column < 0 {
		t.Fatalf("no column of %s in %s", d.Column, doorPage)
	}
	for _, l := range lines {
		want := "no"
		if l.has(d) {
			want = "yes"
		}
		if cells := table[l.name]; len(cells) <= column || cells[column] != want {
			t.Errorf("%s says %q of %q and %s, want %s", doorPage, cells, l.name, d.Column, want)
		}
	}
}
