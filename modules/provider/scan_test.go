package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

const regularChunk = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}`

// scanSeeds are chunks as servers send them, and some that are nearly so.
var scanSeeds = []string{
	regularChunk,
	strings.Replace(regularChunk, `,"usage":null`, "", 1),
	strings.Replace(strings.Replace(regularChunk, `,"usage":null`, "", 1), `{"id"`, `{"usage":null,"id"`, 1),
	strings.Replace(strings.Replace(regularChunk, `,"usage":null`, "", 1), `{"id"`, `{ "usage" : null , "id"`, 1),
	strings.Replace(regularChunk, `" word"`, `"\u00e9\ud83d\ude00\n\"\\\/\b\f\r\t"`, 1),
	strings.Replace(regularChunk, `" word"`, `"\ud83d"`, 1),
	strings.Replace(regularChunk, `" word"`, `"\ud83d\u0041"`, 1),
	strings.Replace(regularChunk, `" word"`, `"\u00e"`, 1),
	strings.Replace(regularChunk, `" word"`, "\"\x01\"", 1),
	strings.Replace(regularChunk, `" word"`, "\"\xff\"", 1),
	strings.Replace(regularChunk, `" word"`, "\"\u2028é\"", 1),
	strings.Replace(regularChunk, `" word"`, `null`, 1),
	strings.Replace(regularChunk, `" word"`, `""`, 1),
	strings.Replace(regularChunk, `" word"`, `[{"type":"text","text":"a"}]`, 1),
	strings.Replace(regularChunk, `"content"`, `"role":"assistant","refusal":null,"tool_calls":[],"content"`, 1),
	strings.Replace(regularChunk, `"content"`, `"role":1,"content"`, 1),
	strings.Replace(regularChunk, `"content":" word"`, `"content":null,"reasoning_content":"ab","reasoning":"abc"`, 1),
	strings.Replace(regularChunk, `"content":" word"`, `"reasoning":"ab","reasoning_details":[{"text":"ab"}]`, 1),
	strings.Replace(regularChunk, `"content"`, `"cont\u0065nt"`, 1),
	strings.Replace(regularChunk, `"content"`, `"content":"twice","content"`, 1),
	strings.Replace(regularChunk, `"delta"`, `"delta":{"content":"twice"},"delta"`, 1),
	strings.Replace(regularChunk, `"model":"m"`, `"model":"m","model":"n"`, 1),
	strings.Replace(regularChunk, `"index":0`, `"index":1`, 1),
	strings.Replace(regularChunk, `"index":0`, `"index":0.0`, 1),
	strings.Replace(regularChunk, `"index":0,`, ``, 1),
	strings.Replace(regularChunk, `"finish_reason":null`, `"finish_reason":""`, 1),
	strings.Replace(regularChunk, `"finish_reason":null`, `"finish_reason":"stop"`, 1),
	strings.Replace(regularChunk, `"finish_reason":null`, `"error":{"message":"x"}`, 1),
	strings.Replace(regularChunk, `}]`, `},{"index":1,"delta":{"content":"b"}}]`, 1),
	strings.Replace(regularChunk, `"created":1`, `"created":-1.5e+10,"x":[true,false,{"a":[]},"\n",0.1]`, 1),
	strings.Replace(regularChunk, `"created":1`, `"created":01`, 1),
	strings.Replace(regularChunk, `"created":1`, `"created":1.`, 1),
	strings.Replace(regularChunk, `"created":1`, `"created":`+strings.Repeat("[", 40)+strings.Repeat("]", 40), 1),
	strings.Replace(regularChunk, `"created":1`, `"error":null`, 1),
	strings.Replace(regularChunk, `"usage":null`, `"usage":{"prompt_tokens":1,"completion_tokens":2}`, 1),
	strings.Replace(regularChunk, `,`, " , \t", 4),
	strings.Replace(regularChunk, `,`, ",\n", 1),
	strings.Replace(strings.Replace(regularChunk, `"delta"`, `"d"`, 1), `"created"`, `"delta"`, 1),
	strings.Replace(regularChunk, `"usage":null`, `"usage":null,"usage":null`, 1),
	regularChunk + "x", regularChunk + " ", " " + regularChunk, regularChunk[:len(regularChunk)-1], "", "{}", "[]", "null", `{"choices":[]}`,
}

// checkScan holds Scan against the parser that reads every chunk.
func checkScan(t *testing.T, raw []byte) {
	t.Helper()
	before := bytes.Clone(raw)
	var s Scanner
	c, ok := s.Scan(raw)
	if !bytes.Equal(raw, before) {
		t.Fatalf("Scan changed its input: %q", before)
	}
	if !ok {
		return
	}
	want, valid := ParseChunk(raw)
	if !valid {
		t.Fatalf("Scan takes what is no JSON object: %q", raw)
	}
	if !reflect.DeepEqual(c.Facts, want) {
		t.Errorf("%q:\n%+v, want\n%+v", raw, c.Facts, want)
	}
	root := gjson.ParseBytes(raw)
	if c.ID != root.Get("id").Str || c.Role != (root.Get("choices.0.delta.role").Str != "") {
		t.Errorf("%q: id %q, role %t", raw, c.ID, c.Role)
	}
	if _, _, _, isError := ErrorOf(raw); isError {
		t.Errorf("%q is an error", raw)
	}
	checkCut(t, raw, c)
}

// checkCut holds the cut of "usage":null against a deletion.
func checkCut(t *testing.T, raw []byte, c Scanned) {
	t.Helper()
	rest := append(bytes.Clone(raw[:c.UsageFrom]), raw[c.UsageTo:]...)
	want, err := sjson.DeleteBytes(raw, "usage")
	if err != nil {
		t.Fatal(err)
	}
	var a, b bytes.Buffer
	if err := json.Compact(&a, rest); err != nil {
		t.Fatalf("%q becomes %q: %v", raw, rest, err)
	}
	if err := json.Compact(&b, want); err != nil {
		t.Fatal(err)
	}
	if a.String() != b.String() {
		t.Errorf("%q becomes\n%q, want\n%q", raw, a.String(), b.String())
	}
}

func TestScan(t *testing.T) {
	for i, seed := range scanSeeds {
		t.Run(fmt.Sprint(i), func(t *testing.T) { checkScan(t, []byte(seed)) })
	}

	t.Run("a chunk of text is regular", func(t *testing.T) {
		for _, seed := range scanSeeds[:5] {
			var s Scanner
			if c, ok := s.Scan([]byte(seed)); !ok || c.Text == "" || c.ID != "chatcmpl-1" {
				t.Errorf("%t, %+v: %s", ok, c, seed)
			}
		}
	})
	t.Run("facts do not refer to the bytes", func(t *testing.T) {
		var s Scanner
		raw := []byte(regularChunk)
		c, _ := s.Scan(raw)
		clear(raw)
		if c.Text != " word" || c.Model != "m" || c.ID != "chatcmpl-1" {
			t.Errorf("%+v", c)
		}
	})
}

// TestScanMutations changes every byte of every seed, and cuts it everywhere.
func TestScanMutations(t *testing.T) {
	for _, seed := range scanSeeds {
		for i := range seed {
			checkScan(t, []byte(seed[:i]))
			for _, b := range []byte("\"\\{}[],:0 e\x00\n\xff") {
				mutated := []byte(seed)
				mutated[i] = b
				checkScan(t, mutated)
			}
		}
	}
}

func TestScanAllocations(t *testing.T) {
	var s Scanner
	for name, text := range map[string]string{"plain": " word", "escaped": `\n\"word\" \u00e9\ud83d\ude00`} {
		raw := []byte(strings.Replace(regularChunk, " word", text, 1))
		n := testing.AllocsPerRun(100, func() {
			if _, ok := s.Scan(raw); !ok {
				t.Fatal("not regular")
			}
		})
		if n > 1 {
			t.Errorf("%s: %v allocations, want 1 at most", name, n)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, seed := range scanSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkScan)
}

func BenchmarkScan(b *testing.B) {
	raw := []byte(regularChunk)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	b.Run("scan", func(b *testing.B) {
		var s Scanner
		for b.Loop() {
			s.Scan(raw)
		}
	})
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			ParseChunk(raw)
		}
	})
}
