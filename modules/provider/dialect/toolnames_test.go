package dialect

import (
	"strconv"
	"strings"
	"testing"
)

// TestUnique takes long names of one beginning twice each. Every number would be tried
// for each of them.
func TestUnique(t *testing.T) {
	var u unique
	seen := make(map[string]bool)
	n := 0
	take := func() {
		name := strings.Repeat("x", maxName-3) + strconv.FormatInt(36*36+int64(n), 36) // three digits
		n++
		for range 2 {
			got := u.take(name)
			if seen[got] || len(got) > maxName {
				t.Fatalf("%s became %s", name, got)
			}
			seen[got] = true
		}
	}
	for range 1000 {
		take()
	}
	if allocs := testing.AllocsPerRun(10, take); allocs > 50 {
		t.Errorf("%v allocations a name", allocs)
	}
	if got := u.take("x"); got != "x" {
		t.Errorf("x became %s", got)
	}
	if got := u.take("x"); got != "x_2" {
		t.Errorf("x became %s", got)
	}
}
