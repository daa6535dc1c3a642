package provider

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestAbridger(t *testing.T) {
	long := strings.Repeat("A", 1<<20)
	quotes := strings.Repeat(`\"\\`, maxKept) + `,\"usage\":{\"input_tokens\":1}`
	for _, tc := range []struct {
		name, doc string
		usage     *Usage
		output    int
	}{
		{"completion", `{"model":"m","choices":[{"text":"Hello","finish_reason":"stop"},{"text":"!"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`, &Usage{Input: 3, Output: 4}, 6},
		{"image", `{"created":1,"data":[{"b64_json":"` + long + `"}],"usage":{"input_tokens":3,"output_tokens":400,"input_tokens_details":{"cached_tokens":2}}}`, &Usage{Input: 3, Output: 400, Cached: 2}, 0},
		{"images", `{"data":[` + strings.Repeat(`{"b64_json":"`+long+`"},`, 3) + `{"url":"x"}],"usage":{"input_tokens":3,"output_tokens":400}}`, &Usage{Input: 3, Output: 400}, 0},
		{"transcript", `{"text":"Hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}`, &Usage{Input: 14, Output: 45}, 5},
		{"transcript by the second", `{"text":"Hello","usage":{"type":"duration","seconds":3}}`, nil, 5},
		{"rerank", `{"results":[{"index":0,"document":{"text":"not output"}}],"usage":{"total_tokens":7}}`, &Usage{Input: 7}, 0},
		{"moderation", `{"results":[{"flagged":false}]}`, nil, 0},
		{"long text", `{"choices":[{"text":"` + long + `"}]}`, nil, 1 << 20},
		{"escapes in a long text", `{"b64":"` + quotes + `","usage":{"input_tokens":5,"output_tokens":6}}`, &Usage{Input: 5, Output: 6}, 0},
		{"escapes in a short one", `{"b64":"\\\"usage\":{\\","usage":{"input_tokens":5}}`, &Usage{Input: 5}, 0},
		{"more than is kept", `{"data":[` + strings.Repeat(`[],`, maxAbridged) + `1],"usage":{"input_tokens":5}}`, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, size := range []int{7, 4096, len(tc.doc)} {
				var a Abridger
				a.write(t, tc.doc[:len(tc.doc)-1], size)
				if a.Whole() {
					t.Error("a document without its end is whole")
				}
				a.write(t, "}\n", 1)
				if !a.Whole() {
					t.Error("the document is not whole")
				}
				if len(a.doc) > maxAbridged || !a.over && !gjson.ValidBytes(a.doc) {
					t.Errorf("%d bytes kept, valid: %t", len(a.doc), gjson.ValidBytes(a.doc))
				}
				f := a.Facts()
				if (f.Usage == nil) != (tc.usage == nil) || f.Usage != nil && *f.Usage != *tc.usage || f.OutputBytes != tc.output {
					t.Errorf("in pieces of %d: usage %+v, %d bytes of output", size, f.Usage, f.OutputBytes)
				}
				if a.Whole() {
					t.Error("nothing is a whole document")
				}
			}
		})
	}
}

func (a *Abridger) write(t *testing.T, doc string, size int) {
	t.Helper()
	for len(doc) > 0 {
		n := min(size, len(doc))
		if _, err := a.Write([]byte(doc[:n])); err != nil {
			t.Fatal(err)
		}
		doc = doc[n:]
	}
}

func FuzzAbridger(f *testing.F) {
	f.Add([]byte(`{"a":"\\\"\u00e4","usage":{"input_tokens":5,"output_tokens":6}}`), 3)
	f.Fuzz(func(t *testing.T, doc []byte, size int) {
		if !json.Valid(doc) {
			return
		}
		var a Abridger
		a.write(t, string(doc), max(size, 1))
		if !a.Whole() && gjson.ParseBytes(doc).IsObject() {
			t.Error("a document is not whole")
		}
		if want := ParseRelayed(doc); len(doc) < maxKept && a.Facts().OutputBytes != want.OutputBytes {
			t.Error("what passed is not what was written")
		}
	})
}
