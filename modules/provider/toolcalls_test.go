package provider

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// assembled are the calls that the tool_calls of chunks make, or [].
func assembled(t testing.TB, chunks ...string) string {
	t.Helper()
	var c ToolCalls
	for _, chunk := range chunks {
		c.AddParts(gjson.Parse(chunk))
	}
	b, err := json.Marshal(&c)
	if err != nil {
		t.Fatalf("%v: %s", err, c.AppendJSON(nil))
	}
	return string(b)
}

func TestToolCalls(t *testing.T) {
	const (
		f   = `{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}`
		g   = `{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}`
		gx  = `{"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}`
		fa  = `{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}`
		ff  = `{"id":"b","type":"function","function":{"name":"f","arguments":"{\"x\":2}"}}`
		f0  = `{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`
		g1  = `{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}`
		fNo = `{"id":"","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}`
		gNo = `{"id":"","type":"function","function":{"name":"g","arguments":"{}"}}`
	)
	for _, tc := range []struct {
		name   string
		chunks []string
		want   string
	}{
		{"none", []string{`[]`, `null`, `{}`, `"x"`, `[1,null,"x",[]]`}, ``},
		{"by_index", []string{"[" + f0 + "]", `[{"index":0,"function":{"arguments":"{\"x\""}}]`, `[{"index":0,"function":{"arguments":":1}"}}]`}, f},
		{"interleaved", []string{
			"[" + f0 + "," + g1 + "]", `[{"index":1,"function":{"arguments":"{"}}]`,
			`[{"index":0,"function":{"arguments":"{\"x\":1}"}},{"index":1,"function":{"arguments":"}"}}]`,
		}, f + "," + g},
		{"one_index_for_all", []string{`[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]`, `[{"index":0,"id":"b","function":{"name":"g","arguments":"{\"x\""}}]`, `[{"index":0,"function":{"arguments":":1}"}}]`}, fa + "," + gx},
		{"one_index_and_one_chunk", []string{`[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":0,"id":"b","function":{"name":"g","arguments":"{\"x\":1}"}}]`}, fa + "," + gx},
		{"one_index_and_one_name", []string{`[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]`, `[{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":2}"}}]`}, f + "," + ff},
		{"one_index_and_interleaved_by_id", []string{"[" + f0 + "]", `[{"index":0,"id":"b","function":{"name":"g","arguments":"{"}}]`, `[{"index":0,"id":"a","function":{"arguments":"{\"x\":1}"}}]`, `[{"index":0,"id":"b","function":{"arguments":"}"}}]`}, f + "," + g},
		{"one_index_without_ids", []string{`[{"index":0,"function":{"name":"f","arguments":"{\"x\":1}"}}]`, `[{"index":0,"function":{"name":"g","arguments":"{}"}}]`}, fNo + "," + gNo},
		{"one_index_without_ids_one_name", []string{`[{"index":0,"function":{"name":"f","arguments":"{\"x\":1}"}}]`, `[{"index":0,"function":{"name":"f","arguments":"{\"x\":1}"}}]`}, fNo + "," + fNo},
		{"one_id_for_all", []string{`[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}},{"index":1,"id":"a","function":{"name":"f","arguments":"{}"}}]`}, f + "," + fa},
		{"one_id_and_pieces_by_index", []string{"[" + f0 + "]", `[{"index":1,"id":"a","function":{"name":"f"}}]`, `[{"index":0,"function":{"arguments":"{\"x\":1}"}}]`, `[{"index":1,"id":"a","function":{"arguments":"{}"}}]`}, f + "," + fa},
		{"the_name_in_every_part", []string{`[{"index":0,"id":"a","function":{"name":"read_file","arguments":"{"}}]`, `[{"index":0,"function":{"name":"read_file","arguments":"\"x\":"}}]`, `[{"index":0,"function":{"name":"read_file","arguments":"1}"}}]`},
			`{"id":"a","type":"function","function":{"name":"read_file","arguments":"{\"x\":1}"}}`},
		{"everything_in_every_part", []string{`[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\""}}]`, `[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":":1}"}}]`, `[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]`}, f},
		{"another_id_in_every_part", []string{"[" + f0 + "]", `[{"index":0,"id":"x","function":{"name":"","arguments":"{\"x\""}}]`, `[{"index":0,"id":"y","function":{"arguments":":1}"}}]`}, f},
		{"the_name_in_pieces", []string{`[{"index":0,"id":"a","function":{"name":"edit_ex"}}]`, `[{"index":0,"function":{"name":"isting_file"}}]`, `[{"index":0,"function":{"arguments":"{}"}}]`},
			`{"id":"a","type":"function","function":{"name":"edit_existing_file","arguments":"{}"}}`},
		{"the_name_as_far_as_known", []string{`[{"index":0,"id":"a","function":{"name":"edit"}}]`, `[{"index":0,"function":{"name":"edit_file"}}]`, `[{"index":0,"function":{"name":"edit_file","arguments":"{}"}}]`},
			`{"id":"a","type":"function","function":{"name":"edit_file","arguments":"{}"}}`},
		{"the_name_late", []string{`[{"index":0,"id":"a","function":{"name":"","arguments":"{\"x\""}}]`, `[{"index":0,"function":{"name":"f","arguments":":1}"}}]`}, f},
		{"without_index", []string{`[{"id":"a","function":{"name":"f","arguments":"{\"x\""}}]`, `[{"function":{"arguments":":1}"}}]`, `[{"id":"b","function":{"name":"g","arguments":"{}"}}]`}, f + "," + g},
		{"without_index_one_chunk", []string{`[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","function":{"name":"g","arguments":"{}"}}]`}, f + "," + g},
		{"without_index_and_id", []string{`[{"function":{"name":"f","arguments":"{\"x\""}}]`, `[{"function":{"arguments":":1}"}}]`, `[{"function":{"name":"g","arguments":"{}"}}]`}, fNo + "," + gNo},
		{"without_index_and_id_one_chunk", []string{`[{"function":{"name":"f","arguments":"{\"x\":1}"}},{"function":{"name":"g","arguments":"{}"}}]`}, fNo + "," + gNo},
		{"the_index_is_null_or_below_0", []string{`[{"index":null,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]`, `[{"index":-1,"function":{"arguments":":1}"}}]`}, f},
		{"the_index_is_a_string", []string{`[{"index":"0","id":"a","function":{"name":"f"}},{"index":"1","id":"b","function":{"name":"g","arguments":"{"}}]`, `[{"index":"0","function":{"arguments":"{\"x\":1}"}}]`, `[{"index":1,"function":{"arguments":"}"}}]`}, f + "," + g},
		{"the_index_comes_late", []string{`[{"id":"a","function":{"name":"f"}}]`, `[{"index":0,"function":{"arguments":"{\"x\""}}]`, `[{"index":0,"function":{"arguments":":1}"}}]`}, f},
		{"holes", []string{`[{"index":3,"id":"a","function":{"name":"f"}}]`, `[{"index":7,"id":"b","function":{"name":"g"}}]`, `[{"index":3,"function":{"arguments":"{\"x\":1}"}}]`}, f + "," + g},
		{"the_id_comes_late", []string{`[{"index":0,"function":{"name":"f","arguments":"{"}}]`, `[{"index":0,"id":"a","function":{"arguments":"\"x\":1}"}}]`}, f},
		{"the_id_comes_late_without_index", []string{`[{"function":{"name":"f","arguments":"{"}}]`, `[{"id":"a","function":{"arguments":"\"x\":1}"}}]`, `[{"function":{"arguments":" "}}]`},
			`{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1} "}}`},
		{"arguments_as_an_object", []string{`[{"index":0,"id":"a","function":{"name":"f","arguments":{"x": 1}}}]`}, f},
		{"arguments_as_an_object_in_every_part", []string{`[{"index":0,"id":"a","function":{"name":"f","arguments":{"x": 1}}}]`, `[{"index":0,"id":"a","function":{"name":"f","arguments":{"x":1}}}]`}, f},
		{"arguments_of_null", []string{`[{"index":0,"id":"a","function":{"name":"f","arguments":null}}]`, `[{"index":0,"function":{"arguments":"{\"x\":1}"}}]`, `[{"index":0,"function":{"arguments":null}}]`}, f},
		{"no_arguments", []string{`[{"index":0,"id":"a","function":{"name":"f"}}]`, `[{"index":0,"function":{"arguments":" "}}]`}, fa},
		{"the_beginning_of_another_object_in_a_string", []string{`[{"index":0,"function":{"name":"f","arguments":"{\"x\":\"}"}}]`, `[{"index":0,"function":{"name":"f","arguments":"{\\\"\"}"}}]`},
			`{"id":"","type":"function","function":{"name":"f","arguments":"{\"x\":\"}{\\\"\"}"}}`},
		{"a_custom_tool", []string{`[{"index":0,"id":"a","type":"custom","custom":{"name":"run","input":""}}]`, `[{"index":0,"custom":{"name":"run","input":"{}"}}]`, `[{"index":0,"custom":{"name":"run","input":"{"}}]`},
			`{"id":"a","type":"custom","custom":{"name":"run","input":"{}{"}}`},
		{"a_custom_tool_beside_an_empty_function", []string{`[{"index":0,"id":"a","type":"custom","custom":{"name":"run","input":"ls"},"function":{"name":"","arguments":""}}]`},
			`{"id":"a","type":"custom","custom":{"name":"run","input":"ls"}}`},
		{"extensions_are_the_last_word", []string{
			`[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"},"signature":"s","extra_content":{"a":"1"}}]`, `[{"index":0,"extra_content":{"a":"2"},"signature":null}]`,
		}, `{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"},"extra_content":{"a":"2"},"signature":"s"}`},
		{"cut_before_the_name", []string{`[{"index":0,"id":"c","function":{"arguments":"{"}}]`, `[{"index":1,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]`}, f},
		{"half_a_letter", []string{"[{\"index\":0,\"id\":\"\xff\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]"}, strings.Replace(fa, `"a"`, "\"\ufffd\"", 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := assembled(t, tc.chunks...); got != "["+tc.want+"]" {
				t.Errorf("got  %s\nwant [%s]", got, tc.want)
			}
		})
	}

	t.Run("a_document", func(t *testing.T) {
		for in, want := range map[string]string{
			f + "," + g: f + "," + g,
			// each element is a call of its own
			fa + "," + fa: fa + "," + fa,
			`{"index":0,"id":"a","function":{"name":"f","arguments":null}},{"index":0,"function":{"name":"g"}}`: fa + "," + gNo,
			`{"id":"a","function":{"name":"f","arguments":{"x":1}}}`:                                            f,
		} {
			var c ToolCalls
			c.AddWhole(gjson.Parse("[" + in + "]"))
			if got := string(c.AppendJSON(nil)); got != "["+want+"]" {
				t.Errorf("got  %s\nwant [%s]", got, want)
			}
		}
	})
	t.Run("calls_are_bounded", func(t *testing.T) {
		var c ToolCalls
		for i := range maxCalls + 10 {
			c.AddParts(gjson.Parse(fmt.Sprintf(`[{"index":%d,"id":"c%d","function":{"name":"f","arguments":"{}"}}]`, i, i)))
		}
		size := c.Size()
		c.AddParts(gjson.Parse(fmt.Sprintf(`[{"index":%d,"function":{"arguments":"x"}}]`, maxCalls+1)))
		if c.Len() != maxCalls || c.Size() != size {
			t.Errorf("%d calls, %d bytes and then %d", c.Len(), size, c.Size())
		}
	})
}

// writeParts writes calls as a server's chunks, in a random manner of those that
// are without doubt.
func writeParts(r *rand.Rand, calls []madeCall) []string {
	indexed, repeats, oneIndex := r.IntN(4) > 0, r.IntN(2) == 0, r.IntN(3) == 0
	base := int64(r.IntN(3))
	var chunks []string
	queues := make([][]string, len(calls))
	for i, call := range calls {
		args := inPieces(r, call.args)
		for j, a := range args {
			part := map[string]any{}
			if indexed {
				index := base + int64(2*i)
				if oneIndex {
					index = 0
				}
				part["index"] = index
				if r.IntN(4) == 0 {
					part["index"] = fmt.Sprint(index)
				}
			}
			fn := map[string]any{"arguments": a}
			if j == 0 || repeats {
				part["id"], part["type"], fn["name"] = call.id, "function", call.name
			}
			part["function"] = fn
			b, err := json.Marshal(part)
			if err != nil {
				panic(err)
			}
			queues[i] = append(queues[i], string(b))
		}
	}
	// Parts may mix where each names its call, once all have begun in order.
	mixed := repeats || indexed && !oneIndex
	if mixed {
		for i := range queues {
			chunks = append(chunks, "["+queues[i][0]+"]")
			queues[i] = queues[i][1:]
		}
	}
	for {
		var left []int
		for i, q := range queues {
			if len(q) > 0 {
				left = append(left, i)
			}
		}
		if len(left) == 0 {
			return chunks
		}
		i := left[0]
		if mixed {
			i = left[r.IntN(len(left))]
		}
		chunks = append(chunks, "["+queues[i][0]+"]")
		queues[i] = queues[i][1:]
	}
}

type madeCall struct{ id, name, args string }

// inPieces cuts s into pieces.
func inPieces(r *rand.Rand, s string) []string {
	list := []string{""}
	for len(s) > 0 {
		n := 1 + r.IntN(len(s))
		list = append(list, s[:n])
		s = s[n:]
	}
	return list[r.IntN(2):]
}

// TestToolCallsProperty holds that calls are the same, however a server writes
// them.
func TestToolCallsProperty(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var calls []madeCall
		var want []string
		for i := range 1 + r.IntN(4) {
			c := madeCall{fmt.Sprintf("call_%d", i), []string{"f", "g", "read_file"}[r.IntN(3)], []string{`{}`, `{"x":1}`, `{"a":{"b":["}{",1]},"c":"\""}`, `{"cut": "of`}[r.IntN(4)]}
			calls = append(calls, c)
			want = append(want, fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":%q,"arguments":%s}}`, c.id, c.name, quoteJSON(c.args)))
		}
		chunks := writeParts(r, calls)
		if got := assembled(t, chunks...); got != "["+strings.Join(want, ",")+"]" {
			t.Fatalf("seed %d: %s\ngot  %s\nwant %s", seed, strings.Join(chunks, "\n"), got, want)
		}
	}
}

func quoteJSON(s string) string { return string(appendQuoted(nil, s)) }

// FuzzToolCalls holds that calls are valid whatever a server sends, and that
// they stay the same when they are read again, as a document and as chunks.
func FuzzToolCalls(f *testing.F) {
	f.Add(`[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]`, `[{"index":0,"function":{"arguments":"}"}}]`)
	f.Add(`[{"id":"a","type":"custom","custom":{"name":"f","input":"x"}}]`, `[{"index":"0","id":"b","function":{"name":"g","arguments":{"x":1}},"signature":[1]}]`)
	f.Fuzz(func(t *testing.T, one, two string) {
		if !json.Valid([]byte(one)) || !json.Valid([]byte(two)) {
			return
		}
		var stream ToolCalls
		stream.AddParts(gjson.Parse(one))
		stream.AddParts(gjson.Parse(two))
		b := stream.AppendJSON(nil)
		if b == nil {
			return
		}
		if !json.Valid(b) {
			t.Fatalf("not valid: %s", b)
		}
		var whole ToolCalls
		whole.AddWhole(gjson.ParseBytes(b))
		if again := string(whole.AppendJSON(nil)); again != string(b) {
			t.Errorf("%s\nread as a document: %s", b, again)
		}
	})
}

// TestEnded has the parts of two calls, and whether each is a whole object behind them.
func TestEnded(t *testing.T) {
	var c CallTracker
	for _, step := range []struct {
		part string
		want [2]bool
	}{
		{`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\"}"}}`, [2]bool{}},
		{`{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}`, [2]bool{false, true}},
		{`{"index":0,"function":{"arguments":"\"}"}}`, [2]bool{true, true}},
	} {
		c.Part(gjson.Parse(step.part), true)
		if got := [2]bool{c.Ended(0), c.Ended(1)}; got != step.want {
			t.Errorf("behind %s: %v, want %v", step.part, got, step.want)
		}
	}
}
