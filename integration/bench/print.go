package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// print writes the medians, and their ratios to plain reverse_proxy.
func print(w io.Writer, ways []contender, results map[string][]sample) error {
	names := []string{}
	for _, rounds := range results {
		for _, s := range rounds {
			for name := range s {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, name := range names {
		fmt.Fprintf(t, "%s\tmedian\tmin\tmax\tratio\n", name)
		for _, way := range ways {
			var values, ratios []float64
			for i, s := range results[way.name] {
				v, ok := s[name]
				if !ok {
					continue
				}
				values = append(values, v)
				if base := results[plain]; len(base) > i && base[i][name] > 0 {
					ratios = append(ratios, v/base[i][name])
				}
			}
			if len(values) == 0 {
				continue
			}
			fmt.Fprintf(t, "  %s\t%.2f\t%.2f\t%.2f\t", way.name, median(values), slices.Min(values), slices.Max(values))
			if len(ratios) > 0 {
				fmt.Fprintf(t, "%.2f (%.2f..%.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))
			}
			fmt.Fprintln(t)
		}
	}
	return t.Flush()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
