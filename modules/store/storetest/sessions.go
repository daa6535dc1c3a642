package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var sessionTests = []test{
	{"a_message_comes_back_as_it_was_stored", messageRoundTrip},
	{"a_raw_message_comes_back_byte_for_byte", rawRoundTrip},
	{"a_large_message_is_stored_whole", largeMessage},
	{"append_without_create_needs_a_session", appendUnknown},
	{"only_the_first_append_sets_the_title", titleOnce},
	{"seq_counts_from_1_without_gaps", seqCounts},
	{"many_messages_in_one_append", appendMany},
	{"only_the_newest_are_kept", pruneToN},
	{"a_lower_maximum_prunes_at_the_next_append", pruneLater},
	{"concurrent_writers_lose_nothing", concurrentWriters},
	{"concurrent_writers_with_pruning_keep_the_newest", concurrentPruning},
	{"retract_removes_the_newest_message_only", retractNewest},
	{"retract_takes_back_all_of_an_append", retractMany},
	{"retract_of_the_last_message_removes_the_session", retractLast},
	{"a_cancelled_call_changes_nothing", cancelledCall},
}

func messageRoundTrip(x *subject) {
	in := &store.Message{
		ID: "0198f1a2-0000-7000-8000-000000000001", Role: "assistant",
		Content: "zero \x00 byte, <b>&amp;</b>, \u2028, \U0001F600, \"quotes\"\n",
		Time:    x.clock.Now().Add(123 * time.Millisecond), TokenCount: 42, ModelID: "fast", Status: store.StatusPartial,
	}
	x.ok(x.Append(x.ctx, tenantA, key(1), create, in))
	if in.Seq != 1 {
		x.Errorf("seq is %d, want 1", in.Seq)
	}
	msgs, more := x.history(tenantA, key(1), store.Range{Limit: 5})
	if len(msgs) != 1 || more {
		x.Fatalf("%d messages, more %v", len(msgs), more)
	}
	got := msgs[0]
	if !got.Time.Equal(in.Time) {
		x.Errorf("time is %v, want %v", got.Time, in.Time)
	}
	got.Time = in.Time
	if !reflect.DeepEqual(got, *in) {
		x.Errorf("got %+v, want %+v", got, *in)
	}
}

func rawRoundTrip(x *subject) {
	raws := []string{
		`{"role":"user","content":[{"type":"text","text":"<b>&amp;</b> \u003c   \ud83d\ude00 😀"}]}`,
		`{"z":1e400,"a":-0.0,"content":null,"":[{},"b c"]}`,
		`{"content":"` + strings.Repeat("<", 10<<20) + `"}`,
	}
	var in []*store.Message
	for _, raw := range raws {
		m := x.message("beside it")
		m.Raw = json.RawMessage(raw)
		in = append(in, m)
	}
	x.ok(x.Append(x.ctx, tenantA, key(1), create, append(in, x.message("without"))...))
	msgs, _ := x.history(tenantA, key(1), store.Range{Limit: 10})
	if len(msgs) != len(raws)+1 {
		x.Fatalf("%d messages", len(msgs))
	}
	for i, raw := range raws {
		if string(msgs[i].Raw) != raw || msgs[i].Content != "beside it" {
			x.Errorf("%.200s came back for %.200s", msgs[i].Raw, raw)
		}
	}
	if last := msgs[len(raws)]; last.Raw != nil || last.Content != "without" {
		x.Errorf("a message without came back as %+v", last)
	}
}

func largeMessage(x *subject) {
	large := strings.Repeat("0123456789abcdef", 8<<20/16)
	x.append(tenantA, key(1), create, "before", large, "after")
	x.append(tenantA, key(1), create, large)
	msgs, _ := x.history(tenantA, key(1), store.Range{Limit: 10})
	if len(msgs) != 4 || msgs[1].Content != large || msgs[3].Content != large || msgs[2].Content != "after" {
		x.Fatal("a message of 8 MiB did not come back")
	}
}

func appendUnknown(x *subject) {
	x.wantErr(x.Append(x.ctx, tenantA, key(1), store.AppendOptions{}, x.message("x")), store.ErrNotFound)
	x.wantNoSession(tenantA, key(1))
	x.append(tenantA, key(1), create, "1")
	x.append(tenantA, key(1), store.AppendOptions{}, "2")
	x.wantContents(tenantA, key(1), "1", "2")
}

func titleOnce(x *subject) {
	x.append(tenantA, key(1), store.AppendOptions{Create: true, Title: "first"}, "1")
	x.append(tenantA, key(1), store.AppendOptions{Create: true, Title: "second"}, "2")
	list, _ := x.list(tenantA, user, nil, 1)
	if list[0].Title != "first" {
		x.Errorf("title is %q", list[0].Title)
	}
}

func seqCounts(x *subject) {
	a, b := x.message("1"), x.message("2")
	x.ok(x.Append(x.ctx, tenantA, key(1), create, a, b))
	c := x.message("3")
	x.ok(x.Append(x.ctx, tenantA, key(1), create, c))
	if a.Seq != 1 || b.Seq != 2 || c.Seq != 3 {
		x.Errorf("seqs are %d, %d, %d", a.Seq, b.Seq, c.Seq)
	}
	msgs, _ := x.history(tenantA, key(1), store.Range{Limit: 10})
	for i, m := range msgs {
		if m.Seq != uint64(i+1) || m.Content != strconv.Itoa(i+1) {
			x.Errorf("message %d is %d %q", i+1, m.Seq, m.Content)
		}
	}
}

func appendMany(x *subject) {
	const n = 500
	var want []string
	for i := range n {
		// Together more than an embedded store takes in one transaction.
		want = append(want, strconv.Itoa(i)+strings.Repeat(".", 12_000))
	}
	x.append(tenantA, key(1), create, want...)
	x.wantContents(tenantA, key(1), want...)
	x.append(tenantA, key(2), store.AppendOptions{Create: true, MaxMessages: 3}, want...)
	x.wantContents(tenantA, key(2), want[n-3:]...)
}

func pruneToN(x *subject) {
	x.numbers(key(1), store.AppendOptions{Create: true, MaxMessages: 5}, 12)
	x.wantContents(tenantA, key(1), "8", "9", "10", "11", "12")
	msgs, more := x.history(tenantA, key(1), store.Range{Limit: 5})
	if msgs[0].Seq != 8 || more {
		x.Errorf("oldest is %d, more %v", msgs[0].Seq, more)
	}
	list, _ := x.list(tenantA, user, nil, 1)
	if list[0].Messages != 5 {
		x.Errorf("%d messages counted, want 5", list[0].Messages)
	}
}

func pruneLater(x *subject) {
	x.numbers(key(1), create, 20)
	x.append(tenantA, key(1), store.AppendOptions{MaxMessages: 3}, "21")
	x.wantContents(tenantA, key(1), "19", "20", "21")
	x.append(tenantA, key(1), store.AppendOptions{}, "22")
	x.wantContents(tenantA, key(1), "19", "20", "21", "22")
}

const writers, perWriter = 100, 5

// write lets writers append to one session, each its own messages.
func (x *subject) write(opts store.AppendOptions) {
	x.Helper()
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range perWriter {
				m := x.message(fmt.Sprintf("%d.%d", w, i))
				if err := x.Append(x.ctx, tenantA, key(1), opts, m); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for w, err := range errs {
		if err != nil {
			x.Fatalf("writer %d: %v", w, err)
		}
	}
}

func concurrentWriters(x *subject) {
	x.write(create)
	msgs, more := x.history(tenantA, key(1), store.Range{Limit: writers * perWriter})
	if len(msgs) != writers*perWriter || more {
		x.Fatalf("%d messages, more %v, want %d", len(msgs), more, writers*perWriter)
	}
	next := make(map[string]int)
	for i, m := range msgs {
		if m.Seq != uint64(i+1) {
			x.Fatalf("message %d has seq %d", i+1, m.Seq)
		}
		w, n, _ := strings.Cut(m.Content, ".")
		if n != strconv.Itoa(next[w]) {
			x.Fatalf("writer %s: message %s where %d should be", w, n, next[w])
		}
		next[w]++
	}
	list, _ := x.list(tenantA, user, nil, 10)
	if len(list) != 1 || list[0].Messages != writers*perWriter {
		x.Fatalf("list: %+v", list)
	}
}

func concurrentPruning(x *subject) {
	const keep = 7
	x.write(store.AppendOptions{Create: true, MaxMessages: keep})
	msgs, _ := x.history(tenantA, key(1), store.Range{Limit: 1000})
	var seqs []uint64
	for _, m := range msgs {
		seqs = append(seqs, m.Seq)
	}
	var want []uint64
	for seq := writers*perWriter - keep + 1; seq <= writers*perWriter; seq++ {
		want = append(want, uint64(seq))
	}
	if !slices.Equal(seqs, want) {
		x.Fatalf("kept %v, want %v", seqs, want)
	}
}

func retractNewest(x *subject) {
	start := x.clock.Now()
	x.append(tenantA, key(1), create, "1")
	x.clock.advance(time.Minute)
	x.append(tenantA, key(2), create, "between")
	x.clock.advance(time.Minute)
	x.append(tenantA, key(1), create, "2")

	x.ok(x.Retract(x.ctx, tenantA, key(1), 1, 1)) // not the newest
	x.ok(x.Retract(x.ctx, tenantA, key(1), 3, 3)) // not there
	x.ok(x.Retract(x.ctx, tenantA, key(1), 0, 0))
	x.wantContents(tenantA, key(1), "1", "2")

	x.ok(x.Retract(x.ctx, tenantA, key(1), 2, 2))
	x.wantContents(tenantA, key(1), "1")
	list, _ := x.list(tenantA, user, nil, 10)
	x.equal("list", ids(list), []string{sid(2), sid(1)})
	if !list[1].UpdatedAt.Equal(start) || list[1].Messages != 1 {
		x.Errorf("retracted session: %+v", list[1])
	}

	m := x.message("2 again")
	x.ok(x.Append(x.ctx, tenantA, key(1), create, m))
	if m.Seq != 2 {
		x.Errorf("seq after a retraction is %d, want 2", m.Seq)
	}
	x.wantContents(tenantA, key(1), "1", "2 again")
}

// retractMany takes back what was appended together, and appends it again.
func retractMany(x *subject) {
	x.append(tenantA, key(1), create, "1", "2")
	const many = 2000
	var list []*store.Message
	for i := range many {
		list = append(list, x.message(strconv.Itoa(3+i)))
	}
	for range 2 {
		x.ok(x.Append(x.ctx, tenantA, key(1), create, list...))
		x.wantCount(key(1), 2+many)
		x.ok(x.Retract(x.ctx, tenantA, key(1), 3, 1+many)) // not the newest
		x.ok(x.Retract(x.ctx, tenantA, key(1), 4+many, 2+many))
		x.wantCount(key(1), 2+many)
		x.ok(x.Retract(x.ctx, tenantA, key(1), 3, 2+many))
		x.wantContents(tenantA, key(1), "1", "2")
	}
	x.ok(x.Retract(x.ctx, tenantA, key(1), 1, 2))
	x.wantNoSession(tenantA, key(1))

	// of a session that was pruned meanwhile
	pruned := store.AppendOptions{Create: true, MaxMessages: 2}
	x.append(tenantA, key(1), pruned, "1", "2", "3", "4")
	x.ok(x.Retract(x.ctx, tenantA, key(1), 2, 4))
	x.wantNoSession(tenantA, key(1))
}

func retractLast(x *subject) {
	x.append(tenantA, key(1), create, "1")
	x.ok(x.Retract(x.ctx, tenantA, key(1), 1, 1))
	x.wantNoSession(tenantA, key(1))
	list, _ := x.list(tenantA, user, nil, 10)
	x.equal("list", ids(list), nil)
	x.ok(x.Retract(x.ctx, tenantA, key(1), 1, 1))
	x.append(tenantA, key(1), store.AppendOptions{Create: true, Title: "new"}, "new")
	x.wantContents(tenantA, key(1), "new")
	list, _ = x.list(tenantA, user, nil, 10)
	if list[0].Title != "new" {
		x.Errorf("title is %q", list[0].Title)
	}
}

func cancelledCall(x *subject) {
	x.append(tenantA, key(1), create, "1")
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	x.wantErr(x.Append(ctx, tenantA, key(1), create, x.message("2")), context.Canceled)
	x.wantErr(x.Delete(ctx, tenantA, key(1)), context.Canceled)
	x.wantErr(x.EraseTenant(ctx, tenantA), context.Canceled)
	_, _, err := x.History(ctx, tenantA, key(1), store.Range{Limit: 1})
	x.wantErr(err, context.Canceled)
	x.wantContents(tenantA, key(1), "1")
}
