package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	nan := math.NaN()
	for name, tc := range map[string]struct {
		values []float64
		want   Spread
	}{
		"an odd number of rounds":               {[]float64{3, 1, 2}, Spread{2, 1, 3}},
		"an even number of rounds":              {[]float64{4, 1, 2, 3}, Spread{2.5, 1, 4}},
		"a round without the figure":            {[]float64{4, nan, 2}, Spread{3, 2, 4}},
		"a ratio to nothing":                    {[]float64{1, math.Inf(1)}, Spread{1, 1, 1}},
		"an outlier does not change the median": {[]float64{1, 1, 900}, Spread{1, 1, 900}},
		"the order of rounds does not matter":   {[]float64{9, 1, 5, 3, 7}, Spread{5, 1, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := spreadOf(tc.values); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
	if spreadOf(nil).Known() {
		t.Error("a spread of nothing is known")
	}
}

// measured returns three rounds, the second of which was slow for all.
func measured() Results {
	r := Results{}
	for i, slow := range []float64{1, 10, 1} {
		r.Add("plain", Sample{"cpu": 100 * slow, "lag": 2})
		r.Add("ours", Sample{"cpu": 150 * slow, "lag": 3})
		if i < 2 {
			r.Add("direct", Sample{"lag": 1})
		}
	}
	return r
}

func TestRatio(t *testing.T) {
	r := measured()
	if got, want := r.Ratio("ours", "plain", "cpu"), (Spread{1.5, 1.5, 1.5}); got != want {
		t.Errorf("a slow round changed the ratio: got %v, want %v", got, want)
	}
	if got := r.Ratio("direct", "plain", "cpu"); got.Known() {
		t.Errorf("a ratio of an unmeasured figure: %v", got)
	}
	faster := Results{}
	for range 3 {
		faster.Add("ours", Sample{"lag": 1.5})
	}
	if got, want := faster.RatioTo(r, "ours", "ours", "lag"), (Spread{0.5, 0.5, 0.5}); got != want {
		t.Errorf("ratio to other results: got %v, want %v", got, want)
	}
}

var (
	figures = []Figure{{"cpu", "CPU a request", "µs"}, {"lag", "time a chunk", "ms"}, {"none", "not measured", "s"}}
	names   = []string{"direct", "plain", "ours"}
)

func TestTables(t *testing.T) {
	faster := Results{}
	for range 3 {
		faster.Add("ours", Sample{"lag": 1.5})
	}
	for name, tc := range map[string]struct {
		table *Table
		want  string
	}{
		"overview": {Overview(measured(), figures, names, "plain"), `
|               | direct         | plain           | ours            |
| ------------- | -------------- | --------------- | --------------- |
| CPU a request | –              | 1.00 (100 µs)   | 1.50 (150 µs)   |
| time a chunk  | 0.50 (1.00 ms) | 1.00 (2.00 ms)  | 1.50 (3.00 ms)  |
`},
		"details": {Details(measured(), figures, names, "plain"), `
|               |        | median  | min..max   | ratio | min..max   |
| ------------- | ------ | ------- | ---------- | ----- | ---------- |
| CPU a request | plain  | 100 µs  | 100..1000  | 1.00  | 1.00..1.00 |
|               | ours   | 150 µs  | 150..1500  | 1.50  | 1.50..1.50 |
| time a chunk  | direct | 1.00 ms | 1.00..1.00 | 0.50  | 0.500..0.500 |
|               | plain  | 2.00 ms | 2.00..2.00 | 1.00  | 1.00..1.00 |
|               | ours   | 3.00 ms | 3.00..3.00 | 1.50  | 1.50..1.50 |
`},
		"diff": {Diff(measured(), faster, figures, names), `
|              |      | base    | head    | head/base | min..max   |
| ------------ | ---- | ------- | ------- | --------- | ---------- |
| time a chunk | ours | 3.00 ms | 1.50 ms | 0.50      | 0.500..0.500 |
`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.table.String(); fields(got) != fields(tc.want) {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// fields returns a table without its padding.
func fields(table string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(table, "-", "")), " ")
}

func TestTableIsPadded(t *testing.T) {
	table := &Table{Head: []string{"", "µ"}}
	table.Add("long name", "1")
	want := "|           | µ   |\n| --------- | --- |\n| long name | 1   |\n"
	if got := table.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.000", 0.0564: "0.056", 0.9996: "1.00", 9.994: "9.99", 9.996: "10.0", 35: "35.0", 99.94: "99.9", 99.96: "100", 1173.2: "1173", -12: "-12.0",
	} {
		if got := number(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

func TestChart(t *testing.T) {
	svg := Chart{Figures: figures, Names: names, Ours: []string{"ours"}, Base: "plain"}.SVG(measured())

	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
	}
	for what, want := range map[string]int{
		`<rect `:                  5, // direct has no processor time
		`class="bar ours"`:        2,
		`class="title"`:           2, // one figure was not measured
		`width="490" height="15"`: 2, // the longest bars: ours, 1.5 times
		`prefers-color-scheme`:    1,
		`1.50  (150 µs)`:          1,
	} {
		if got := strings.Count(svg, what); got != want {
			t.Errorf("%s: %d times, want %d\n%s", what, got, want, svg)
		}
	}
}

func TestUpdate(t *testing.T) {
	const page = "# Title\n\nby hand\n\n<!-- bench: a -->\nold\n<!-- end: a -->\n\nmore\n\n<!-- bench: b -->\nkept\n<!-- end: b -->\nlast\n"
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second update changes nothing
		if err := Update(file, "a", "| new |\n"); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(page, "old\n", "\n| new |\n\n", 1)
		if string(got) != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	for section, broken := range map[string]string{
		"c": page,
		"a": strings.ReplaceAll(page, "<!-- end: a -->\n", ""),
	} {
		if _, err := replace(broken, section, "x"); err == nil {
			t.Errorf("section %s without its markers was replaced", section)
		}
	}
}
