package chatsession

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestItemsAreReadOnce refers to an item of a long response. To parse the response again
// would allocate, for each of the references that a request may have.
func TestItemsAreReadOnce(t *testing.T) {
	id := strings.Repeat("0", keptIDSize)
	var items []string
	for i := range 1000 {
		items = append(items, fmt.Sprintf(`{"id":"msg_%s%d"}`, id, i))
	}
	r := itemReader{outputs: map[string]map[string]gjson.Result{
		keptPrefix + id: itemsOf([]byte(`{"output":[` + strings.Join(items, ",") + `]}`)),
	}}
	last := "msg_" + id + "999"
	allocs := testing.AllocsPerRun(10, func() {
		if item, err := r.item(last, "input.0.id"); err != nil || item.Get("id").Str != last {
			t.Fatalf("found %s, %v", item.Raw, err)
		}
	})
	if allocs > 2 {
		t.Errorf("%v allocations a reference", allocs)
	}
}
