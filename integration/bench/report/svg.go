package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Chart is a bar chart of ratios to the base, with a group per figure and a bar per
// contender.
type Chart struct {
	Figures []Figure
	Names   []string
	Ours    []string // drawn in our colour
	Base    string
}

const (
	chartWidth = 760
	barLeft    = 150 // left end of the bars
	barRight   = 640 // right end of the longest
	barHeight  = 15
	barStep    = 20
	titleStep  = 34
)

// chartStyle follows the reader's light or dark mode. The background is the
// page's.
const chartStyle = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
.value { font-variant-numeric: tabular-nums; }
.bar { fill: #8c959f; }
.ours { fill: #0969da; }
.one { stroke: #1f2328; stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.bar { fill: #6e7681; }
.ours { fill: #4493f8; }
.one { stroke: #e6edf3; }
}
</style>
`

// bar is a bar of a chart, with its median and unit as text.
type bar struct {
	name, class, value string
	ratio              float64
}

type group struct {
	title string
	bars  []bar
}

// SVG draws the chart.
func (c Chart) SVG(r Results) string {
	groups := c.groups(r)
	longest, height := 1.0, 24
	for _, g := range groups {
		height += titleStep + barStep*len(g.bars)
		for _, b := range g.bars {
			longest = max(longest, b.ratio)
		}
	}
	scale := float64(barRight-barLeft) / longest

	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img" aria-label="%s">`+"\n",
		chartWidth, height, html.EscapeString("Ratios to "+c.Base+", shorter is better"))
	s.WriteString(chartStyle)
	one := math.Round((barLeft+scale)*10) / 10
	y := 0
	for _, g := range groups {
		y += titleStep
		fmt.Fprintf(&s, `<text class="title" x="0" y="%d">%s</text>`+"\n", y-10, html.EscapeString(g.title))
		for _, b := range g.bars {
			fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text>`, barLeft-8, y+12, html.EscapeString(b.name))
			width := math.Round(b.ratio*scale*10) / 10
			fmt.Fprintf(&s, `<rect class="%s" x="%d" y="%d" width="%g" height="%d" rx="2"/>`, b.class, barLeft, y, width, barHeight)
			fmt.Fprintf(&s, `<text class="value" x="%g" y="%d">%s</text>`+"\n", max(barLeft+width, one)+6, y+12, html.EscapeString(b.value))
			y += barStep
		}
		fmt.Fprintf(&s, `<line class="one" x1="%g" x2="%[1]g" y1="%d" y2="%d"/>`+"\n", one, y-barStep*len(g.bars)-3, y-2)
	}
	fmt.Fprintf(&s, `<text x="%d" y="%d">ratio to %s; shorter is better</text>`+"\n</svg>\n", barLeft, y+18, html.EscapeString(c.Base))
	return s.String()
}

// groups returns the figures that were measured.
func (c Chart) groups(r Results) []group {
	var groups []group
	for _, f := range c.Figures {
		g := group{title: f.Name}
		for _, name := range c.Names {
			ratio := r.Ratio(name, c.Base, f.Key)
			if !ratio.Known() {
				continue
			}
			value := fmt.Sprintf("%.2f  (%s %s)", ratio.Median, number(r.Spread(name, f.Key).Median), f.Unit)
			g.bars = append(g.bars, bar{name, c.class(name), value, ratio.Median})
		}
		if g.bars != nil {
			groups = append(groups, g)
		}
	}
	return groups
}

func (c Chart) class(name string) string {
	if slices.Contains(c.Ours, name) {
		return "bar ours"
	}
	return "bar"
}
