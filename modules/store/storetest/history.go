package storetest

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var historyTests = []test{
	{"ranges_pick_the_newest_or_the_oldest", historyRanges},
	{"paging_back_reads_everything_once", historyBack},
	{"paging_forward_reads_everything_once", historyForward},
}

func historyRanges(x *subject) {
	x.numbers(key(1), create, 10)
	for _, tc := range []struct {
		r           store.Range
		first, last int // 0 for none
		more        bool
	}{
		{store.Range{Limit: 3}, 8, 10, true},
		{store.Range{Limit: 10}, 1, 10, false},
		{store.Range{Limit: 99}, 1, 10, false},
		{store.Range{Limit: 3, Before: 8}, 5, 7, true},
		{store.Range{Limit: 3, Before: 4}, 1, 3, false},
		{store.Range{Limit: 3, Before: 3}, 1, 2, false},
		{store.Range{Limit: 3, Before: 1}, 0, 0, false},
		{store.Range{Limit: 3, Before: 99}, 8, 10, true},
		{store.Range{Limit: 3, After: 2}, 3, 5, true},
		{store.Range{Limit: 3, After: 7}, 8, 10, false},
		{store.Range{Limit: 3, After: 9}, 10, 10, false},
		{store.Range{Limit: 3, After: 10}, 0, 0, false},
		{store.Range{Limit: 3, After: 99}, 0, 0, false},
		{store.Range{Limit: 3, After: math.MaxUint64}, 0, 0, false},
		{store.Range{Limit: 3, After: 2, Before: 9}, 6, 8, true},
		{store.Range{Limit: 9, After: 2, Before: 9}, 3, 8, false},
		{store.Range{Limit: 9, After: 8, Before: 3}, 0, 0, false},
	} {
		msgs, more := x.history(tenantA, key(1), tc.r)
		var want []string
		for i := tc.first; i > 0 && i <= tc.last; i++ {
			want = append(want, strconv.Itoa(i))
		}
		if got := contents(msgs); !slices.Equal(got, want) || more != tc.more {
			x.Errorf("%+v: %v, more %v, want %v, more %v", tc.r, got, more, want, tc.more)
		}
	}
}

func historyBack(x *subject) {
	const n = 23
	x.numbers(key(1), create, n)
	want := n
	for r := (store.Range{Limit: 5}); ; {
		msgs, more := x.history(tenantA, key(1), r)
		for _, m := range slices.Backward(msgs) {
			if m.Content != strconv.Itoa(want) {
				x.Fatalf("%s where %d should be", m.Content, want)
			}
			want--
		}
		if !more {
			break
		}
		r.Before = msgs[0].Seq
	}
	if want != 0 {
		x.Fatalf("%d messages were left out", want)
	}
}

func historyForward(x *subject) {
	const n = 23
	x.numbers(key(1), store.AppendOptions{Create: true, MaxMessages: 20}, n)
	want := 4
	// After 0 is no bound, and these would be the newest ones.
	for r := (store.Range{Limit: 5, After: 1}); ; {
		msgs, more := x.history(tenantA, key(1), r)
		for _, m := range msgs {
			if m.Content != strconv.Itoa(want) {
				x.Fatalf("%s where %d should be", m.Content, want)
			}
			want++
		}
		if !more {
			break
		}
		r.After = msgs[len(msgs)-1].Seq
	}
	if want != n+1 {
		x.Fatalf("ended before %d", want)
	}
}

var listTests = []test{
	{"newest_first", listOrder},
	{"describes_a_session", listDescribes},
	{"a_cursor_reads_everything_once", listPaging},
	{"a_cursor_works_with_equal_times", listEqualTimes},
	{"a_cursor_outlives_its_session", listCursorGone},
}

func listOrder(x *subject) {
	for n := range 5 {
		x.append(tenantA, key(n), create, "x")
		x.clock.advance(time.Second)
	}
	x.append(tenantA, key(2), create, "again")
	list, more := x.list(tenantA, user, nil, 10)
	x.equal("list", ids(list), []string{sid(2), sid(4), sid(3), sid(1), sid(0)})
	if more {
		x.Error("more beyond the end")
	}
	list, more = x.list(tenantA, user, nil, 2)
	x.equal("list", ids(list), []string{sid(2), sid(4)})
	if !more {
		x.Error("no more where there is")
	}
}

func listDescribes(x *subject) {
	start := x.clock.Now()
	x.append(tenantA, key(1), store.AppendOptions{Create: true, Title: "\u00dcber <alles>"}, "1", "2")
	x.clock.advance(90*time.Second + 7*time.Millisecond)
	x.append(tenantA, key(1), create, "3")
	list, _ := x.list(tenantA, user, nil, 10)
	s := list[0]
	if s.ID != sid(1) || s.Title != "\u00dcber <alles>" || s.Messages != 3 ||
		!s.CreatedAt.Equal(start) || !s.UpdatedAt.Equal(x.clock.Now()) {
		x.Errorf("got %+v", s)
	}
}

// pages reads a list page by page and checks that no page is empty.
func (x *subject) pages(limit int) (all []string) {
	x.Helper()
	var after *store.Cursor
	for {
		list, more := x.list(tenantA, user, after, limit)
		all = append(all, ids(list)...)
		if !more {
			return all
		}
		if len(list) != limit {
			x.Fatalf("a page of %d with more to come, want %d", len(list), limit)
		}
		last := list[len(list)-1]
		after = &store.Cursor{UpdatedAt: last.UpdatedAt, ID: last.ID}
	}
}

func listPaging(x *subject) {
	for n := range 20 {
		x.append(tenantA, key(n), create, "x")
		x.clock.advance(time.Millisecond)
	}
	whole, _ := x.list(tenantA, user, nil, 100)
	for _, limit := range []int{1, 3, 7, 20, 21} {
		x.equal("pages", x.pages(limit), ids(whole))
	}
}

func listEqualTimes(x *subject) {
	for n := range 20 {
		x.append(tenantA, key(n), create, "x")
		if n%7 == 6 {
			x.clock.advance(time.Millisecond)
		}
	}
	whole, _ := x.list(tenantA, user, nil, 100)
	if len(whole) != 20 {
		x.Fatalf("%d sessions, want 20", len(whole))
	}
	for _, limit := range []int{1, 2, 6, 19} {
		x.equal("pages", x.pages(limit), ids(whole))
	}
}

func listCursorGone(x *subject) {
	for n := range 5 {
		x.append(tenantA, key(n), create, "x")
		x.clock.advance(time.Second)
	}
	list, _ := x.list(tenantA, user, nil, 2)
	cursor := &store.Cursor{UpdatedAt: list[1].UpdatedAt, ID: list[1].ID}
	x.ok(x.Delete(x.ctx, tenantA, key(3)))
	list, _ = x.list(tenantA, user, cursor, 10)
	x.equal("after a deleted session", ids(list), []string{sid(2), sid(1), sid(0)})
	x.append(tenantA, key(1), create, "newest now")
	list, _ = x.list(tenantA, user, cursor, 10)
	x.equal("after one moved up", ids(list), []string{sid(2), sid(0)})
}
